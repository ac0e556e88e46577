//! Entries of the log and memberships.

use super::{log_id_from, log_id_to, required};
use primacy_core::{NodeId, SiteName};
use primacy_storage::{EncodedCommand, Entry, Membership, NodeInfo, Payload, Proposal};
use primacy_wire::v1::raft_entry::Payload as Sent;
use primacy_wire::{WireError, v1};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn entry_to(entry: &Entry) -> v1::RaftEntry {
    let payload = match &entry.payload {
        Payload::Blank => Sent::Blank(v1::RaftBlank {}),
        Payload::Normal(Proposal::Command(command)) => Sent::Command(command.bytes().clone()),
        Payload::Normal(Proposal::RegisterNode { node, store_id }) => {
            Sent::Registration(v1::RaftRegistration { node: node.0, store_id: *store_id })
        }
        Payload::Membership(membership) => Sent::Membership(membership_to(membership)),
    };
    v1::RaftEntry { log_id: Some(log_id_to(&entry.log_id)), payload: Some(payload) }
}

pub(super) fn entry_from(entry: v1::RaftEntry) -> Result<Entry, WireError> {
    let log_id = log_id_from(required(entry.log_id, "log_id")?);
    let payload = match required(entry.payload, "payload")? {
        Sent::Blank(v1::RaftBlank {}) => Payload::Blank,
        Sent::Command(bytes) => Payload::Normal(Proposal::Command(
            EncodedCommand::decode(bytes).map_err(|e| e.within("command"))?,
        )),
        Sent::Registration(registration) => {
            let (node, store_id) = registration_from(&registration)?;
            Payload::Normal(Proposal::RegisterNode { node, store_id })
        }
        Sent::Membership(membership) => {
            Payload::Membership(membership_from(membership).map_err(|e| e.within("membership"))?)
        }
    };
    Ok(Entry { log_id, payload })
}

pub(super) fn registration_from(sent: &v1::RaftRegistration) -> Result<(NodeId, u64), WireError> {
    if sent.node == 0 || sent.store_id == 0 {
        return Err(WireError::new("registration", "node or store_id is 0"));
    }
    Ok((NodeId(sent.node), sent.store_id))
}

pub(super) fn membership_to(membership: &Membership) -> v1::RaftMembership {
    let voters = membership.get_joint_config().iter();
    let nodes = membership.nodes();
    v1::RaftMembership {
        voters: voters.map(|ids| v1::RaftVoters { ids: ids.iter().copied().collect() }).collect(),
        nodes: nodes
            .map(|(id, info)| v1::RaftNode {
                id: *id,
                site: info.site.clone(),
                address: info.address.clone(),
            })
            .collect(),
    }
}

pub(super) fn membership_from(sent: v1::RaftMembership) -> Result<Membership, WireError> {
    let mut nodes = BTreeMap::new();
    for node in sent.nodes {
        let field = format!("nodes[{}]", nodes.len());
        if node.id == 0 || node.address.is_empty() {
            return Err(WireError::new(field, "has no id or no address"));
        }
        SiteName::new(&node.site).map_err(|e| WireError::new(format!("{field}.site"), e.to_string()))?;
        if nodes.insert(node.id, NodeInfo { site: node.site, address: node.address }).is_some() {
            return Err(WireError::new(field, "is there twice"));
        }
    }
    let voters: Vec<BTreeSet<u64>> =
        sent.voters.into_iter().map(|set| set.ids.into_iter().collect()).collect();
    if voters.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    if voters.is_empty() || voters.len() > 2 {
        return Err(WireError::new("voters", format!("{} sets; there are one or two", voters.len())));
    }
    Membership::new(voters, nodes).map_err(|e| WireError::new("voters", e.to_string()))
}
