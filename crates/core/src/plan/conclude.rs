//! What came of an action, as the command that says so. The epoch in it makes a late one harmless.

use crate::{Action, ActionKind, Command, Outcome, Phase, Proof, State, WallTime};

/// The command that an outcome turns into; none where the next observation says it anyway.
///
/// `started` is when the action began, `at` is now, both by the leader's wall clock.
pub fn conclude(
    state: &State,
    action: &Action,
    outcome: &Outcome,
    started: WallTime,
    at: WallTime,
) -> Option<Command> {
    let group_state = state.groups.get(&action.group)?;
    let transition = group_state.transition.as_ref().filter(|t| t.epoch == action.epoch)?;
    let (group, epoch) = (action.group.clone(), action.epoch);
    match (outcome, transition.phase) {
        (Outcome::Fenced { code, end, drained_us }, Phase::Fence) => {
            let late =
                matches!(&action.kind, ActionKind::Fence { drain: Some(_), .. }) && drained_us.is_none();
            if transition.planned && late {
                let failure = format!("{} did not catch up with the old primary in time", transition.to);
                return Some(Command::RollBack { group, epoch, failure, at });
            }
            let proof = Proof::Acknowledged { code: code.clone() };
            let lineage = &group_state.primary.as_ref()?.lineage;
            let ours = end.replid == lineage.start.replid || lineage.previous.as_ref() == Some(&end.replid);
            let (end, drained_us) = (ours.then(|| end.clone()), *drained_us);
            Some(Command::ConfirmFence { group, epoch, proof, end, drained_us, closed_at: started, at })
        }
        (Outcome::Promoted { lineage }, Phase::Promote) => {
            Some(Command::ConfirmPromotion { group, epoch, lineage: lineage.clone(), at })
        }
        (Outcome::Opened, Phase::Redirect) => Some(Command::ConfirmOpen { group, epoch, at }),
        (Outcome::Lifted, Phase::RollBack) => Some(Command::ConfirmRollBack { group, epoch, at }),
        (
            Outcome::Fenced { .. }
            | Outcome::Promoted { .. }
            | Outcome::Opened
            | Outcome::Lifted
            | Outcome::Following,
            _,
        ) => None,
    }
}
