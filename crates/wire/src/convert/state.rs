//! The content of snapshots.

use super::{FORMAT, check_format, each};
use crate::{WireError, v1};
use primacy_core::apply::Leadership;
use primacy_core::{EventBatch, Group, NodeId, Revision, State, Term};
use prost::Message;
use std::collections::{BTreeMap, VecDeque};

/// The bytes of a state.
pub fn encode_state(state: &State) -> Vec<u8> {
    v1::State::from(state).encode_to_vec()
}

/// The state of these bytes.
///
/// # Errors
/// Names the field that is missing or impossible; `state` where the bytes are no message at all.
pub fn decode_state(bytes: &[u8]) -> Result<State, WireError> {
    let state = v1::State::decode(bytes).map_err(|e| WireError::new("state", e.to_string()))?;
    State::try_from(state)
}

impl From<&State> for v1::State {
    fn from(state: &State) -> Self {
        Self {
            format: FORMAT,
            groups: state.groups.values().map(Into::into).collect(),
            leadership: state.leadership.as_ref().map(|l| v1::Leadership {
                node_id: l.node.0,
                term: l.term.0,
                revision: l.revision.0,
            }),
            revision: state.revision.0,
            events: state.events.iter().map(Into::into).collect(),
            compacted: state.compacted.0,
        }
    }
}

impl TryFrom<v1::State> for State {
    type Error = WireError;

    fn try_from(state: v1::State) -> Result<Self, WireError> {
        check_format(state.format)?;
        let events: VecDeque<EventBatch> = each(state.events, "events")?;
        check_order(&events, Revision(state.compacted), Revision(state.revision))?;
        Ok(Self {
            groups: by_name(each(state.groups, "groups")?)?,
            leadership: state.leadership.map(|l| Leadership {
                node: NodeId(l.node_id),
                term: Term(l.term),
                revision: Revision(l.revision),
            }),
            revision: Revision(state.revision),
            events,
            compacted: Revision(state.compacted),
        })
    }
}

fn by_name(groups: Vec<Group>) -> Result<BTreeMap<primacy_core::GroupName, Group>, WireError> {
    let mut named = BTreeMap::new();
    for (i, group) in groups.into_iter().enumerate() {
        let name = group.spec.name.clone();
        if named.insert(name.clone(), group).is_some() {
            return Err(WireError::new(format!("groups[{i}].spec.name"), format!("{name} is there twice")));
        }
    }
    Ok(named)
}

/// A watch finds its place by searching the batches, so they rise from `compacted` to `revision`.
fn check_order(
    events: &VecDeque<EventBatch>,
    compacted: Revision,
    revision: Revision,
) -> Result<(), WireError> {
    let mut before = None;
    for (i, batch) in events.iter().enumerate() {
        let rises = before.is_none_or(|b| b < batch.revision);
        if !rises || batch.revision < compacted || batch.revision > revision {
            let reason = format!("{} is out of order", batch.revision);
            return Err(WireError::new(format!("events[{i}].revision"), reason));
        }
        before = Some(batch.revision);
    }
    Ok(())
}
