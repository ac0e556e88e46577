//! The road of a transition, phase by phase.
//!
//! Nobody is promoted without a committed proof of the fence, and nobody is opened without a committed promotion.
//! Each function is idempotent in effect: a repeat finds another phase and is rejected.

use super::{Rejected, State};
use crate::{
    Epoch, Event, FenceQuorum, Group, GroupKind, GroupName, Lineage, Loss, MemberName, NodeId, Phase,
    PhaseRecord, Position, Primary, Proof, Revision, StartTransition, Transition, TransitionOutcome,
    WallTime,
};

/// What ended the fence phase.
pub(super) struct Fence {
    pub(super) proof: Proof,
    pub(super) end: Option<Position>,
    pub(super) drained_us: Option<u64>,
    pub(super) closed_at: WallTime,
    pub(super) rescue: Option<NodeId>,
    pub(super) lost: Option<Loss>,
}

/// What ended the rescue phase.
pub(super) struct Rescue {
    pub(super) end: Option<Position>,
    pub(super) fetched_bytes: u64,
    pub(super) lost: Loss,
    pub(super) note: String,
}

/// What ended the promote phase.
pub(super) struct Promotion<'a> {
    pub(super) lineage: &'a Lineage,
    pub(super) fence: &'a FenceQuorum,
    pub(super) witness: Option<NodeId>,
}

pub(super) fn start(
    state: &mut State,
    revision: Revision,
    start: &StartTransition,
) -> Result<Vec<Event>, Rejected> {
    let group = state.group_mut(&start.group)?;
    check_start(group, start)?;
    let mut events = Vec::new();
    if let Some(previous) = group.transition.take() {
        events.extend(supersede(group, previous, start.at));
    }
    let epoch = Epoch(revision.0);
    let mut transition = Transition {
        group: start.group.clone(),
        epoch,
        from: start.from.as_ref().map(|(member, _)| member.clone()),
        to: start.to.clone(),
        cause: start.cause,
        planned: start.planned,
        requested_by: start.requested_by.clone(),
        reason: start.reason.clone(),
        evidence: start.evidence.clone(),
        proof: None,
        expected: start.expected.clone(),
        to_run_id: start.to_run_id.clone(),
        end: start.end.clone(),
        rescue: start.rescue,
        rescued_bytes: 0,
        orphaned_bytes: None,
        phase: Phase::Fence,
        phase_since: start.at,
        phases: Vec::new(),
        detected_at: start.detected_at,
        started_at: start.at,
        closed_at: None,
        opened_at: None,
        lost: start.lost,
        loss_accepted: start.loss_accepted,
        outcome: None,
        failure: None,
    };
    events.push(Event::TransitionStarted {
        group: start.group.clone(),
        epoch,
        from: transition.from.clone(),
        to: transition.to.clone(),
        cause: start.cause,
    });
    if let Some(proof) = &start.proof {
        let fence = Fence {
            proof: proof.clone(),
            end: start.end.clone(),
            drained_us: None,
            closed_at: start.detected_at,
            rescue: start.rescue,
            lost: None,
        };
        events.extend(pass_fence(&mut transition, &fence, group.spec.kind, start.at));
    }
    group.blocked = None;
    group.transition = Some(transition);
    group.revision = revision;
    Ok(events)
}

fn check_start(group: &Group, start: &StartTransition) -> Result<(), Rejected> {
    let name = || start.group.clone();
    let Some(to) = group.spec.member(&start.to) else {
        return Err(Rejected::UnknownMember { group: name(), member: start.to.clone() });
    };
    if to.priority == 0 {
        return Err(Rejected::NeverPromoted { group: name(), member: start.to.clone() });
    }
    if group.paused.is_some() && start.cause.automatic() {
        return Err(Rejected::Paused { group: name() });
    }
    let consent = group.waits_for_consent() && !start.cause.automatic() && !start.planned;
    let in_the_way = |t: &&Transition| !may_be_superseded(t.phase, start.planned) && !consent;
    if let Some(t) = group.transition.as_ref().filter(in_the_way) {
        return Err(Rejected::TransitionInProgress { group: name(), epoch: t.epoch });
    }
    let found = group.primary.as_ref().map(|p| (p.member.clone(), p.epoch));
    if found != start.from {
        let of = |p: &Option<(_, Epoch)>| p.as_ref().map(|(_, e)| *e).unwrap_or_default();
        return Err(Rejected::StaleEpoch { group: name(), given: of(&start.from), found: of(&found) });
    }
    if start.planned && start.from.as_ref().is_some_and(|(member, _)| *member == start.to) {
        return Err(Rejected::AlreadyPrimary { group: name(), member: start.to.clone() });
    }
    Ok(())
}

/// Whether the next transition may begin before this one is over. A new primary can die before it is open: its
/// promotion is committed, so there is no way back, only on.
fn may_be_superseded(phase: Phase, by_planned: bool) -> bool {
    match phase {
        Phase::Settle => true,
        Phase::Redirect => !by_planned,
        Phase::Fence | Phase::Rescue | Phase::Promote | Phase::RollBack => false,
    }
}

fn supersede(group: &mut Group, mut previous: Transition, at: WallTime) -> Vec<Event> {
    if previous.phase == Phase::Settle {
        return finish_settled(group, previous, "the next transition began before every member was back", at);
    }
    let failure = match group.blocked.as_ref().filter(|_| previous.phase != Phase::Redirect) {
        Some(blocked) => {
            previous.lost = Loss::Exact(0);
            blocked.reason.to_string()
        }
        None => format!("{} failed before it was open", previous.to),
    };
    previous.failure = Some(failure.clone());
    let passed = record(&mut previous, failure.clone(), at);
    vec![passed, finish(group, previous, TransitionOutcome::RolledBack, Some(failure))]
}

pub(super) fn confirm_fence(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    fence: &Fence,
    at: WallTime,
) -> Result<Vec<Event>, Rejected> {
    let (group, mut transition) = take(state, revision, name, epoch, Phase::Fence)?;
    let mut events = pass_fence(&mut transition, fence, group.spec.kind, at);
    group.transition = Some(transition);
    events.extend(goes_on(group));
    Ok(events)
}

/// What kept it from going on is over.
fn goes_on(group: &mut Group) -> Option<Event> {
    group.blocked.take().map(|_| Event::GroupUnblocked { group: group.spec.name.clone() })
}

/// Passes Fence; and Rescue as well, when the candidate has all or there is nobody to fetch anything from.
fn pass_fence(transition: &mut Transition, fence: &Fence, kind: GroupKind, at: WallTime) -> Vec<Event> {
    transition.proof = Some(fence.proof.clone());
    transition.closed_at = Some(fence.closed_at);
    if fence.end.is_some() {
        transition.end.clone_from(&fence.end);
    }
    transition.lost = fence.lost.unwrap_or(transition.lost);
    let drained_us = fence.drained_us.unwrap_or(0);
    let fenced_at = at.before(std::time::Duration::from_micros(drained_us));
    let mut events = vec![pass(transition, Phase::Rescue, fence.proof.word().to_owned(), fenced_at)];
    transition.rescue = fence.rescue;
    if transition.rescue.is_some() {
        return events;
    }
    let note = match (fence.drained_us, &transition.end, transition.cause) {
        (Some(_), Some(end), _) => {
            transition.lost = Loss::Exact(0);
            format!("{} at offset {}, like the old primary", transition.to, end.offset_bytes)
        }
        (_, _, crate::Cause::Initial) => "nothing to fetch".to_owned(),
        _ if kind != GroupKind::Redis => "stateless, nothing to fetch".to_owned(),
        _ => transition.lost.to_string(),
    };
    events.push(pass(transition, Phase::Promote, note, at));
    events
}

pub(super) fn confirm_rescue(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    rescue: Rescue,
    at: WallTime,
) -> Result<Vec<Event>, Rejected> {
    let (group, mut transition) = take(state, revision, name, epoch, Phase::Rescue)?;
    let Rescue { end, fetched_bytes, lost, note } = rescue;
    if end.is_some() {
        transition.end = end;
    }
    (transition.rescued_bytes, transition.lost) = (fetched_bytes, lost);
    let mut events = vec![pass(&mut transition, Phase::Promote, note, at)];
    group.transition = Some(transition);
    events.extend(goes_on(group));
    Ok(events)
}

pub(super) fn confirm_promotion(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    promotion: &Promotion<'_>,
    at: WallTime,
) -> Result<Vec<Event>, Rejected> {
    let (group, mut transition) = take(state, revision, name, epoch, Phase::Promote)?;
    let mut events = vec![pass(&mut transition, Phase::Redirect, "verified".to_owned(), at)];
    let previous = group.primary.as_ref().and_then(|p| group.spec.member(&p.member));
    let previous = previous.filter(|m| m.name != transition.to).map(|m| (m.name.clone(), m.address.clone()));
    if let Some(member) = group.spec.member(&transition.to) {
        events.push(Event::PrimaryChanged {
            group: name.clone(),
            epoch,
            member: member.name.clone(),
            site: member.site.clone(),
            address: member.address.clone(),
            previous,
        });
    }
    group.primary = Some(Primary {
        member: transition.to.clone(),
        epoch,
        lineage: promotion.lineage.clone(),
        since: at,
        fence: promotion.fence.clone(),
        witness: promotion.witness,
        holder: None,
        degraded: false,
    });
    group.transition = Some(transition);
    events.extend(goes_on(group));
    Ok(events)
}

pub(super) fn confirm_open(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    at: WallTime,
) -> Result<Vec<Event>, Rejected> {
    let (group, mut transition) = take(state, revision, name, epoch, Phase::Redirect)?;
    transition.opened_at = Some(at);
    let note = format!("{} open", transition.to);
    let events = vec![pass(&mut transition, Phase::Settle, note, at)];
    group.transition = Some(transition);
    Ok(events)
}

pub(super) fn settle(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    note: &str,
    at: WallTime,
) -> Result<Vec<Event>, Rejected> {
    let (group, transition) = take(state, revision, name, epoch, Phase::Settle)?;
    Ok(finish_settled(group, transition, note, at))
}

fn finish_settled(group: &mut Group, mut transition: Transition, note: &str, at: WallTime) -> Vec<Event> {
    let passed = record(&mut transition, note.to_owned(), at);
    vec![passed, finish(group, transition, TransitionOutcome::Settled, None)]
}

pub(super) fn roll_back(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    failure: &str,
    at: WallTime,
) -> Result<Vec<Event>, Rejected> {
    let group = state.group_mut(name)?;
    let found = group.transition.as_ref().map_or(Phase::Settle, |t| t.phase);
    let needed = match found {
        Phase::Fence | Phase::Rescue | Phase::Promote => found,
        // Once a promotion is committed the way back is another transition.
        Phase::Redirect | Phase::Settle | Phase::RollBack => Phase::Promote,
    };
    let (group, mut transition) = take(state, revision, name, epoch, needed)?;
    transition.failure = Some(failure.to_owned());
    let mut events = vec![pass(&mut transition, Phase::RollBack, failure.to_owned(), at)];
    group.transition = Some(transition);
    events.extend(goes_on(group));
    Ok(events)
}

pub(super) fn confirm_roll_back(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    at: WallTime,
) -> Result<Vec<Event>, Rejected> {
    let (group, mut transition) = take(state, revision, name, epoch, Phase::RollBack)?;
    transition.opened_at = Some(at);
    transition.lost = Loss::Exact(0);
    let passed = record(&mut transition, "the old primary stays".to_owned(), at);
    let failure = transition.failure.clone();
    Ok(vec![passed, finish(group, transition, TransitionOutcome::RolledBack, failure)])
}

/// What the old primary of a transition brought back, whether or not it has ended meanwhile.
pub(super) fn record_orphaned(
    state: &mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    member: &MemberName,
    bytes: u64,
) -> Result<Vec<Event>, Rejected> {
    let group = state.group_mut(name)?;
    let found = group.epoch_last();
    let ended = group.history.iter_mut().rev();
    let transition = group.transition.iter_mut().chain(ended).find(|t| t.epoch == epoch);
    let Some(t) = transition.filter(|t| t.from.as_ref() == Some(member)) else {
        return Err(Rejected::StaleEpoch { group: name.clone(), given: epoch, found });
    };
    if t.orphaned_bytes.is_some_and(|known| known >= bytes) {
        return Ok(vec![]);
    }
    t.orphaned_bytes = Some(bytes);
    group.revision = revision;
    Ok(vec![Event::OrphanedFound { group: name.clone(), epoch, member: member.clone(), bytes }])
}

/// The transition of that epoch in that phase, taken out of its group.
fn take<'a>(
    state: &'a mut State,
    revision: Revision,
    name: &GroupName,
    epoch: Epoch,
    needed: Phase,
) -> Result<(&'a mut Group, Transition), Rejected> {
    let group = state.group_mut(name)?;
    let found = group.epoch_last();
    let stale = || Rejected::StaleEpoch { group: name.clone(), given: epoch, found };
    match group.transition.take() {
        Some(t) if t.epoch == epoch && t.phase == needed => {
            group.revision = revision;
            Ok((group, t))
        }
        Some(t) => {
            let wrong = Rejected::WrongPhase { group: name.clone(), epoch, found: t.phase, needed };
            let refused = if t.epoch == epoch { wrong } else { stale() };
            group.transition = Some(t);
            Err(refused)
        }
        None => Err(stale()),
    }
}

/// Ends the present phase and enters `next`.
fn pass(transition: &mut Transition, next: Phase, note: String, at: WallTime) -> Event {
    let event = record(transition, note, at);
    transition.phase = next;
    transition.phase_since = at;
    event
}

fn record(transition: &mut Transition, note: String, at: WallTime) -> Event {
    let us = at.since(transition.phase_since).as_micros() as u64;
    let phase = transition.phase;
    transition.phases.push(PhaseRecord { phase, started_at: transition.phase_since, us, note: note.clone() });
    Event::PhasePassed { group: transition.group.clone(), epoch: transition.epoch, phase, us, note }
}

fn finish(
    group: &mut Group,
    mut transition: Transition,
    outcome: TransitionOutcome,
    failure: Option<String>,
) -> Event {
    transition.outcome = Some(outcome);
    let event = Event::TransitionEnded {
        group: transition.group.clone(),
        epoch: transition.epoch,
        outcome,
        lost: transition.lost,
        failure,
    };
    group.history.push_back(transition);
    while group.history.len() > Group::HISTORY_MAX {
        group.history.pop_front();
    }
    event
}
