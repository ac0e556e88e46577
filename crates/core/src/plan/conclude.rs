//! What came of an action, as the commands that say so. The epoch in them makes a late one harmless.

use crate::{
    Action, ActionKind, Cause, Command, FencePolicy, FenceQuorum, Group, Loss, MemberName, Outcome, Phase,
    Position, Promoted, Proof, State, Transition, WallTime,
};
use std::time::Duration;

/// The commands that an outcome turns into, in order; none where the next observation says it anyway.
///
/// `started` is when the action began, `at` is now, both by the leader's wall clock.
pub fn conclude(
    state: &State,
    action: &Action,
    outcome: &Outcome,
    started: WallTime,
    at: WallTime,
) -> Vec<Command> {
    let Some(group) = state.groups.get(&action.group) else { return vec![] };
    if let Outcome::FenceSet { min_replicas, refused } = outcome {
        return fence_set(group, action, *min_replicas, refused, at).into_iter().collect();
    }
    let transition = group.transition.as_ref().filter(|t| t.epoch == action.epoch);
    let Some(transition) = transition else { return vec![] };
    if let (Outcome::Rescued { end, fetched_bytes, complete, promoted }, Phase::Rescue) =
        (outcome, transition.phase)
    {
        let promoting = promoted.as_ref().map_or(Duration::ZERO, |(_, took)| *took);
        let rescued_at = at.before(promoting);
        let rescued = rescued(group, transition, action, end, *fetched_bytes, *complete, rescued_at);
        let promoted = promoted.as_ref().and_then(|(promoted, _)| confirm(group, action, promoted, at));
        return [rescued].into_iter().chain(promoted).collect();
    }
    single(group, transition, action, outcome, started, at).into_iter().collect()
}

fn single(
    group_state: &Group,
    transition: &Transition,
    action: &Action,
    outcome: &Outcome,
    started: WallTime,
    at: WallTime,
) -> Option<Command> {
    let (group, epoch) = (action.group.clone(), action.epoch);
    match (outcome, transition.phase) {
        (Outcome::Fenced { code, run_id, end, drained_us }, Phase::Fence) => {
            let lineage = &group_state.primary.as_ref()?.lineage;
            let drained = matches!(&action.kind, ActionKind::Fence { drain: Some(_), .. });
            if let Some(failure) = no_way_on(transition, drained, *run_id == lineage.run_id, *drained_us) {
                return Some(Command::RollBack { group, epoch, failure, at });
            }
            let proof = Proof::Acknowledged { code: code.clone() };
            let ours = *run_id == lineage.run_id
                && (end.replid == lineage.start.replid || lineage.previous.as_ref() == Some(&end.replid));
            let (end, drained_us) = (ours.then(|| end.clone()), *drained_us);
            Some(Command::ConfirmFence {
                group,
                epoch,
                proof,
                end,
                drained_us,
                closed_at: started,
                // What a drained candidate has is all there is.
                rescue: transition.rescue.filter(|_| drained_us.is_none()),
                lost: None,
                at,
            })
        }
        (Outcome::Promoted(promoted), Phase::Promote) => confirm(group_state, action, promoted, at),
        (Outcome::Opened, Phase::Redirect) => Some(Command::ConfirmOpen { group, epoch, at }),
        (Outcome::Lifted, Phase::RollBack) => Some(Command::ConfirmRollBack { group, epoch, at }),
        (
            Outcome::Fenced { .. }
            | Outcome::Promoted(_)
            | Outcome::Opened
            | Outcome::Lifted
            | Outcome::Detached
            | Outcome::Killed
            | Outcome::Rescued { .. }
            | Outcome::FenceSet { .. }
            | Outcome::Following,
            _,
        ) => None,
    }
}

/// The promotion, with the fence quorum that came of it.
fn confirm(group: &Group, action: &Action, promoted: &Promoted, at: WallTime) -> Option<Command> {
    let (ActionKind::Promote(asked) | ActionKind::Rescue { then: Some(asked), .. }) = &action.kind else {
        return None;
    };
    let refused = |m: &&MemberName| !promoted.refused.contains(*m);
    let admitted = asked.refuse.iter().filter(refused).chain(&asked.admit).cloned().collect();
    let fence = match group.spec.fence {
        FencePolicy::Witness => FenceQuorum::at_first(admitted, asked.witness.is_some()),
        FencePolicy::None => FenceQuorum { min_replicas: 0, replicas: admitted },
    };
    Some(Command::ConfirmPromotion {
        group: action.group.clone(),
        epoch: action.epoch,
        lineage: promoted.lineage.clone(),
        fence,
        witness: asked.witness,
        at,
    })
}

/// Why a fence that was acknowledged leads nowhere: the transition rests on something else than what was found.
fn no_way_on(t: &Transition, drained: bool, same_process: bool, drained_us: Option<u64>) -> Option<String> {
    let from = t.from.as_ref().map_or("the primary", |m| m.as_str());
    if !same_process && (drained || t.cause == Cause::Silence) {
        // What it holds is not what the one before it had accepted: another transition is planned from that.
        return Some(format!("{from} is another process now"));
    }
    if t.planned && drained && drained_us.is_none() {
        return Some(format!("{} did not catch up with the old primary in time", t.to));
    }
    // It is alive, and what it accepted meanwhile is in nobody's hands but its own.
    (t.cause == Cause::Silence && !drained).then(|| format!("{from} answers again"))
}

/// The fence of a primary was changed and read back: what it refuses leaves the quorum, a higher number is committed.
fn fence_set(
    group: &Group,
    action: &Action,
    in_force: u64,
    refused: &[MemberName],
    at: WallTime,
) -> Option<Command> {
    let primary = group.primary.as_ref().filter(|p| p.epoch == action.epoch)?;
    let mut fence = primary.fence.clone();
    fence.replicas.retain(|m| !refused.contains(m));
    // A smaller quorum may need a lower number, which is committed before it is set.
    let ceiling = FenceQuorum::wanted(fence.replicas.len(), primary.witness.is_some());
    fence.min_replicas =
        if refused.is_empty() { in_force.max(fence.min_replicas) } else { fence.min_replicas.min(ceiling) };
    let (group, epoch) = (action.group.clone(), action.epoch);
    (fence != primary.fence).then_some(Command::ChangeFence { group, epoch, fence, at })
}

fn rescued(
    group: &Group,
    t: &Transition,
    action: &Action,
    end: &Position,
    fetched_bytes: u64,
    complete: bool,
    at: WallTime,
) -> Command {
    let (residue, counted, holder) = match &action.kind {
        ActionKind::Rescue { residue, lost, holder, .. } => (*residue, *lost, Some(*holder)),
        _ => (Loss::Unknown, Loss::Unknown, None),
    };
    let primary = group.primary.as_ref();
    let relied_on = primary.is_some_and(|p| holder.is_some() && p.holder == holder && !p.degraded);
    // A primary that lives can end a stream by EOF as well.
    let complete = complete && matches!(t.proof, Some(Proof::Detached { .. }));
    let lost = t.short_of(counted, end.offset_bytes);
    let (lost, note) = if complete {
        (
            residue,
            format!("{} has read the tail to its end at {}: {fetched_bytes} bytes", t.to, end.offset_bytes),
        )
    } else if relied_on && lost == counted {
        let note = format!(
            "{} has read all that another site held: {fetched_bytes} bytes; no reply relied on more",
            t.to
        );
        (lost, note)
    } else {
        (lost, format!("{} has read what was left of the tail: {fetched_bytes} bytes", t.to))
    };
    let (group, epoch, end) = (t.group.clone(), t.epoch, Some(end.clone()));
    Command::ConfirmRescue { group, epoch, end, fetched_bytes, lost, note, at }
}
