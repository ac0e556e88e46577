//! A new leader commits that it leads before it plans anything: what was planned before it is behind it in the log.

use super::{Step, StepKind};
use crate::view::View;
use crate::{Command, State, WallTime};

pub(super) fn step(state: &State, view: &View, wall: WallTime) -> Option<Step> {
    if state.leadership.is_some_and(|l| l.node == view.me && l.term == view.term) {
        return None;
    }
    let command = Command::AssumeLeadership { node: view.me, term: view.term, at: wall };
    Some(Step { rule: "assume_leadership", kind: StepKind::Propose(command) })
}
