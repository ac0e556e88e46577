//! Between openraft's types and the stored messages. What does not decode is a fault, never a default.

use super::{Fault, Key, SCHEMA_VERSION};
use crate::proposal::{EncodedCommand, Proposal};
use crate::{Entry, LogId, Membership, NodeInfo, Payload, SnapshotMeta, StoredMembership, Vote, log_id};
use bytes::Bytes;
use primacy_core::NodeId;
use primacy_wire::v1;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Where the log begins and ends, and what was promised beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// Counts the batches.
    pub(crate) batch: u64,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    /// What the first entry after `purged` names as its predecessor.
    pub(crate) purged_link: u32,
    /// The last entry, or `purged` when there is none.
    pub(crate) last: Option<LogId>,
    pub(crate) last_link: u32,
}

fn log_id_to(id: &LogId) -> v1::StoredLogId {
    v1::StoredLogId { term: id.leader_id.term, index: id.index }
}

fn log_id_from(id: v1::StoredLogId) -> LogId {
    log_id(id.term, id.index)
}

pub(crate) fn encode_state(state: &State) -> Vec<u8> {
    let vote = state.vote.as_ref().map(|vote| v1::StoredVote {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    });
    v1::StoredState {
        batch: state.batch,
        vote,
        committed: state.committed.as_ref().map(log_id_to),
        purged: state.purged.as_ref().map(log_id_to),
        purged_link: state.purged_link,
        last: state.last.as_ref().map(log_id_to),
        last_link: state.last_link,
    }
    .encode_to_vec()
}

pub(crate) fn decode_state(body: Bytes) -> Result<State, Fault> {
    let stored = v1::StoredState::decode(body).map_err(|e| Fault::new(Key::State, e.to_string()))?;
    let vote = stored.vote.map(|vote| {
        let with = if vote.committed { Vote::new_committed } else { Vote::new };
        with(vote.term, vote.node)
    });
    Ok(State {
        batch: stored.batch,
        vote,
        committed: stored.committed.map(log_id_from),
        purged: stored.purged.map(log_id_from),
        purged_link: stored.purged_link,
        last: stored.last.map(log_id_from),
        last_link: stored.last_link,
    })
}

/// The bytes of an entry and their checksum, by which the next one names it.
pub(crate) fn encode_entry(entry: &Entry, previous_link: u32) -> (Vec<u8>, u32) {
    use v1::stored_entry::Payload as Stored;
    let payload = match &entry.payload {
        Payload::Blank => Stored::Blank(v1::StoredBlank {}),
        Payload::Normal(Proposal::Command(command)) => Stored::Command(command.bytes().clone()),
        Payload::Normal(Proposal::RegisterNode { node, store_id }) => {
            Stored::RegisterNode(v1::StoredRegistration { node: node.0, store_id: *store_id })
        }
        Payload::Membership(membership) => Stored::Membership(membership_to(membership)),
    };
    let log_id = &entry.log_id;
    let stored = v1::StoredEntry {
        term: log_id.leader_id.term,
        index: log_id.index,
        previous_link,
        payload: Some(payload),
    };
    let bytes = stored.encode_to_vec();
    let checksum = crc32fast::hash(&bytes);
    (bytes, checksum)
}

/// An entry, the checksum by which it names its predecessor, and its own.
pub(crate) struct Linked {
    pub(crate) entry: Entry,
    pub(crate) previous_link: u32,
    pub(crate) checksum: u32,
}

/// The entry that was kept under `index`.
pub(crate) fn decode_entry(index: u64, body: Bytes) -> Result<Linked, Fault> {
    use v1::stored_entry::Payload as Stored;
    let name = Key::Entry(index);
    let checksum = crc32fast::hash(&body);
    let stored = v1::StoredEntry::decode(body).map_err(|e| Fault::new(name, e.to_string()))?;
    let payload = match stored.payload {
        None => return Err(Fault::new(name, "its payload is of a kind that this version does not know")),
        Some(Stored::Blank(_)) => Payload::Blank,
        Some(Stored::Command(bytes)) => Payload::Normal(Proposal::Command(
            EncodedCommand::decode(bytes).map_err(|e| Fault::new(name, e.to_string()))?,
        )),
        Some(Stored::RegisterNode(v1::StoredRegistration { node, store_id })) => {
            Payload::Normal(Proposal::RegisterNode { node: NodeId(node), store_id })
        }
        Some(Stored::Membership(stored)) => Payload::Membership(membership_from(name, stored)?),
    };
    if stored.index != index {
        return Err(Fault::new(name, format!("it says that it is entry {}", stored.index)));
    }
    let log_id = log_id(stored.term, index);
    Ok(Linked { entry: Entry { log_id, payload }, previous_link: stored.previous_link, checksum })
}

fn membership_to(membership: &Membership) -> v1::StoredMembership {
    let configs = membership.get_joint_config().iter();
    let nodes = membership.nodes().map(|(id, node)| v1::StoredNode {
        id: *id,
        site: node.site.clone(),
        address: node.address.clone(),
    });
    v1::StoredMembership {
        configs: configs.map(|ids| v1::StoredVoters { ids: ids.iter().copied().collect() }).collect(),
        nodes: nodes.collect(),
    }
}

fn membership_from(name: impl Into<String>, stored: v1::StoredMembership) -> Result<Membership, Fault> {
    let nodes: BTreeMap<u64, NodeInfo> = stored
        .nodes
        .into_iter()
        .map(|node| (node.id, NodeInfo { site: node.site, address: node.address }))
        .collect();
    let configs: Vec<BTreeSet<u64>> =
        stored.configs.into_iter().map(|voters| voters.ids.into_iter().collect()).collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|e| Fault::new(name, e.to_string()))
}

/// The head of a snapshot file.
pub(crate) fn encode_snapshot(meta: &SnapshotMeta, data: &[u8]) -> Vec<u8> {
    v1::StoredSnapshot {
        last: meta.last_log_id.as_ref().map(log_id_to),
        membership_at: meta.last_membership.log_id().as_ref().map(log_id_to),
        membership: Some(membership_to(meta.last_membership.membership())),
        length: data.len() as u64,
        crc32: crc32fast::hash(data),
    }
    .encode_to_vec()
}

pub(crate) struct SnapshotHead {
    pub(crate) meta: SnapshotMeta,
    pub(crate) length: u64,
    pub(crate) crc32: u32,
}

pub(crate) fn decode_snapshot(name: &str, body: Bytes) -> Result<SnapshotHead, Fault> {
    let stored = v1::StoredSnapshot::decode(body).map_err(|e| Fault::new(name, e.to_string()))?;
    let membership = stored.membership.ok_or_else(|| Fault::new(name, "it has no membership"))?;
    let last_membership =
        StoredMembership::new(stored.membership_at.map(log_id_from), membership_from(name, membership)?);
    let meta = SnapshotMeta { last_log_id: stored.last.map(log_id_from), last_membership };
    Ok(SnapshotHead { meta, length: stored.length, crc32: stored.crc32 })
}

/// Whose store it is.
pub(crate) fn encode_identity(cluster: &str, node: NodeId, store_id: u64) -> Vec<u8> {
    let cluster = cluster.to_owned();
    v1::StoredIdentity { schema: SCHEMA_VERSION, cluster, node: node.0, store_id }.encode_to_vec()
}

pub(crate) fn decode_identity(name: &str, body: Bytes) -> Result<v1::StoredIdentity, Fault> {
    v1::StoredIdentity::decode(body).map_err(|e| Fault::new(name, e.to_string()))
}
