//! What a snapshot covers, and what is in it.

use super::entry::{membership_from, membership_to, registration_from};
use super::{log_id_from, log_id_to, required};
use bytes::Bytes;
use primacy_core::{NodeId, State};
use primacy_storage::{SnapshotMeta, StoredMembership};
use primacy_wire::{WireError, v1};
use prost::Message;
use std::collections::BTreeMap;

/// The only encoding so far of a snapshot's content.
const FORMAT: u32 = 1;

pub(crate) fn meta_to(meta: &SnapshotMeta) -> v1::RaftSnapshotMeta {
    let membership = &meta.last_membership;
    v1::RaftSnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_to),
        membership: Some(v1::RaftStoredMembership {
            log_id: membership.log_id().as_ref().map(log_id_to),
            membership: Some(membership_to(membership.membership())),
        }),
    }
}

pub(crate) fn meta_from(sent: v1::RaftSnapshotMeta) -> Result<SnapshotMeta, WireError> {
    let stored = required(sent.membership, "membership")?;
    let membership = required(stored.membership, "membership.membership")?;
    let membership = membership_from(membership).map_err(|e| e.within("membership.membership"))?;
    Ok(SnapshotMeta {
        last_log_id: sent.last_log_id.map(log_id_from),
        last_membership: StoredMembership::new(stored.log_id.map(log_id_from), membership),
    })
}

/// The bytes of a snapshot: the state and the registered stores.
pub(crate) fn snapshot_to(state: &State, registry: &BTreeMap<NodeId, u64>) -> Bytes {
    let registrations =
        registry.iter().map(|(node, store_id)| v1::RaftRegistration { node: node.0, store_id: *store_id });
    v1::RaftSnapshot {
        format: FORMAT,
        state: primacy_wire::encode_state(state),
        registrations: registrations.collect(),
    }
    .encode_to_vec()
    .into()
}

pub(crate) fn snapshot_from(bytes: Bytes) -> Result<(State, BTreeMap<NodeId, u64>), WireError> {
    let sent = v1::RaftSnapshot::decode(bytes).map_err(|e| WireError::new("snapshot", e.to_string()))?;
    if sent.format != FORMAT {
        let reason = format!("is {}, this version knows {FORMAT}", sent.format);
        return Err(WireError::new("snapshot.format", reason));
    }
    let state = primacy_wire::decode_state(&sent.state).map_err(|e| e.within("snapshot.state"))?;
    let registry = sent.registrations.iter().map(registration_from).collect::<Result<_, _>>()?;
    Ok((state, registry))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use primacy_core::{Command, Term, WallTime};
    use primacy_storage::{Membership, NodeInfo, log_id};
    use std::collections::BTreeSet;

    #[test]
    fn the_content_comes_back() {
        let mut state = State::default();
        let command = Command::AssumeLeadership { node: NodeId(1), term: Term(2), at: WallTime(3) };
        state.apply(7, &command).unwrap();
        let registry = BTreeMap::from([(NodeId(1), 11), (NodeId(2), u64::MAX)]);
        assert_eq!(snapshot_from(snapshot_to(&state, &registry)).unwrap(), (state, registry));
    }

    #[test]
    fn a_later_format_is_refused() {
        let later = v1::RaftSnapshot { format: 2, ..v1::RaftSnapshot::default() }.encode_to_vec();
        assert_eq!(snapshot_from(later.into()).unwrap_err().field, "snapshot.format");
        assert_eq!(snapshot_from(vec![0xff].into()).unwrap_err().field, "snapshot");
    }

    #[test]
    fn what_it_covers_comes_back() {
        let nodes = BTreeMap::from(
            [1, 2, 3, 4]
                .map(|id| (id, NodeInfo { site: format!("site-{id}"), address: format!("host-{id}:7400") })),
        );
        let half_way = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 4])];
        let membership = Membership::new(half_way, nodes).unwrap();
        for meta in [
            SnapshotMeta::default(),
            SnapshotMeta {
                last_log_id: Some(log_id(3, 9)),
                last_membership: StoredMembership::new(Some(log_id(2, 5)), membership),
            },
        ] {
            assert_eq!(meta_from(meta_to(&meta)).unwrap(), meta);
        }
    }
}
