//! Who guards the present primary: its fence quorum, its witness, the holder of its stream.
//!
//! Between a transition's intent and the promotion nothing of this may change: the proof of the fence is worked out from it.

use super::{Rejected, State};
use crate::{Epoch, Event, FenceQuorum, GroupName, NodeId, Primary, Revision};

pub(super) fn change_fence(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    fence: &FenceQuorum,
) -> Result<Vec<Event>, Rejected> {
    let unknown = {
        let group = state.group_mut(name)?;
        fence.replicas.iter().find(|m| group.spec.member(m).is_none()).cloned()
    };
    if let Some(member) = unknown {
        return Err(Rejected::UnknownMember { group: name.clone(), member });
    }
    change(state, revision, name, epoch, |primary| {
        let same = primary.fence == *fence;
        primary.fence.clone_from(fence);
        let event = || Event::FenceChanged { group: name.clone(), epoch, fence: fence.clone() };
        (!same).then(event)
    })
}

pub(super) fn appoint_witness(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    node: Option<NodeId>,
) -> Result<Vec<Event>, Rejected> {
    change(state, revision, name, epoch, |primary| {
        let same = primary.witness == node;
        primary.witness = node;
        (!same).then(|| Event::WitnessAppointed { group: name.clone(), epoch, node })
    })
}

pub(super) fn appoint_holder(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    node: Option<NodeId>,
    degraded: bool,
) -> Result<Vec<Event>, Rejected> {
    change(state, revision, name, epoch, |primary| {
        let same = (primary.holder, primary.degraded) == (node, degraded);
        (primary.holder, primary.degraded) = (node, degraded);
        (!same).then(|| Event::HolderAppointed { group: name.clone(), epoch, node, degraded })
    })
}

fn change(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    change: impl FnOnce(&mut Primary) -> Option<Event>,
) -> Result<Vec<Event>, Rejected> {
    let group = state.group_mut(name)?;
    let found = group.epoch_last();
    if let Some(t) = group.transition.as_ref().filter(|t| t.epoch != epoch && t.phase.closes_the_door()) {
        return Err(Rejected::TransitionInProgress { group: name.clone(), epoch: t.epoch });
    }
    let Some(primary) = group.primary.as_mut().filter(|p| p.epoch == epoch) else {
        return Err(Rejected::StaleEpoch { group: name.clone(), given: epoch, found });
    };
    let Some(event) = change(primary) else { return Ok(vec![]) };
    group.revision = revision;
    Ok(vec![event])
}
