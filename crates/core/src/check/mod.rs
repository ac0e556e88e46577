//! What must hold before an operator's wish becomes the intent of a transition. `--dry-run` prints these.

mod endpoint;
mod failover;
mod kafka;
mod switchover;

pub use failover::failover;
pub use switchover::switchover;

use crate::plan::Context;
use crate::view::View;
use crate::{Cause, Group, GroupName, MemberName, Moment, Phase, Primary, StartTransition, State, WallTime};

/// One condition and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, for tables and programs.
    pub name: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// What was found.
    pub detail: String,
}

/// A rule refuses the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The rule's name.
    pub code: &'static str,
    /// Why, and what to do.
    pub message: String,
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In which group.
    pub group: GroupName,
    /// The wanted primary; none lets us choose.
    pub to: Option<MemberName>,
    /// Who asks.
    pub requested_by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// Whether losing more than the budget is accepted: failover only.
    pub allow_data_loss: bool,
    /// `Operator`, or `Failback`: to the most preferred healthy member.
    pub cause: Cause,
}

/// The checks and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// All of them, passed or not.
    pub checks: Vec<Check>,
    /// The intent, or the first rule that refuses it.
    pub start: Result<StartTransition, Refusal>,
}

/// Collects checks; the first that fails is the refusal.
#[derive(Default)]
struct Checklist {
    checks: Vec<Check>,
    refusal: Option<Refusal>,
}

impl Checklist {
    /// Adds one. `detail` says what was found either way.
    fn check(&mut self, name: &'static str, passed: bool, detail: impl Into<String>) {
        let detail = detail.into();
        if !passed && self.refusal.is_none() {
            self.refusal = Some(Refusal { code: name, message: detail.clone() });
        }
        self.checks.push(Check { name, passed, detail });
    }

    fn finish(self, start: impl FnOnce() -> Option<StartTransition>) -> Checked {
        let nobody = Refusal { code: "candidate", message: "no member can be promoted".to_owned() };
        let start = match self.refusal {
            Some(refusal) => Err(refusal),
            None => start().ok_or(nobody),
        };
        Checked { checks: self.checks, start }
    }
}

/// The group and its primary, or the rule that says there is none.
fn group_and_primary<'a>(
    state: &'a State,
    request: &Request,
) -> Result<(&'a Group, Option<&'a Primary>), Refusal> {
    let Some(group) = state.groups.get(&request.group) else {
        let message = format!("there is no group {}; `primacy groups` lists them", request.group);
        return Err(Refusal { code: "unknown_group", message });
    };
    if let Some(to) = request.to.as_ref().filter(|to| group.spec.member(to).is_none()) {
        let message = format!("group {0} has no member {to}; `primacy status {0}` lists them", request.group);
        return Err(Refusal { code: "unknown_member", message });
    }
    Ok((group, group.primary.as_ref()))
}

/// No transition is in the way. One whose promotion is committed may be superseded by one that is not planned: its new
/// primary can fail before it is open.
fn no_transition(list: &mut Checklist, group: &Group, planned: bool) {
    let consent = group.waits_for_consent();
    let in_the_way =
        |phase: Phase| phase.closes_the_door() && (planned || !(consent || phase == Phase::Redirect));
    let under_way = group.transition.as_ref().filter(|t| in_the_way(t.phase));
    let detail = match under_way {
        None => "no other transition is under way".to_owned(),
        Some(t) => {
            format!("transition {} to {} is in phase {}; wait until it has ended", t.epoch, t.to, t.phase)
        }
    };
    list.check("transition_in_progress", under_way.is_none(), detail);
}

fn context<'a>(group: &'a Group, view: &'a View, now: Moment, wall: WallTime) -> Context<'a> {
    Context { group, view, now, wall }
}
