//! What to do next, worked out from scratch each time from the committed state and what the nodes see.
//!
//! Level-triggered: a new leader needs nothing but the state to go on with a half-done transition. Intent precedes
//! effect: an action is planned only for a phase that is committed. One file a rule; the first rule that has
//! something to do for a group wins.

mod assume;
mod conclude;
mod endpoint;
mod fail_over;
mod first_primary;
mod guard;
mod holder;
mod kafka;
mod keep_order;
mod proceed;

pub use conclude::conclude;
pub(crate) use endpoint::start as start_endpoint;
pub(crate) use fail_over::{Asked, start};

use crate::view::View;
use crate::{
    Action, ActionKey, ActionKind, Command, Group, GroupKind, GroupName, MemberSpec, Moment, Phase, State,
    WallTime,
};
use std::time::Duration;

/// What a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Propose this to the log.
    Propose(Command),
    /// Do this to a member.
    Perform(Action),
}

/// One thing to do, and the rule that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule's name.
    pub rule: &'static str,
    /// What to do.
    pub kind: StepKind,
}

/// What to do now, and when to look again at the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The rule of the first step; `steady` when there is none.
    pub rule: &'static str,
    /// In order.
    pub steps: Vec<Step>,
    /// None: only when something changes.
    pub wake_at: Option<Moment>,
}

/// What a rule works with.
pub(crate) struct Context<'a> {
    pub(crate) group: &'a Group,
    pub(crate) view: &'a View,
    pub(crate) now: Moment,
    pub(crate) wall: WallTime,
}

/// The plan for all groups.
pub fn plan(state: &State, view: &View, now: Moment, wall: WallTime) -> Plan {
    let mut all = Plan { rule: "steady", steps: vec![], wake_at: None };
    if let Some(step) = assume::step(state, view, wall) {
        return Plan { rule: step.rule, steps: vec![step], wake_at: None };
    }
    for name in state.groups.keys() {
        let one = plan_group(state, name, view, now, wall);
        all.wake_at = [all.wake_at, one.wake_at].into_iter().flatten().min();
        all.steps.extend(one.steps);
    }
    all.rule = all.steps.first().map_or("steady", |s| s.rule);
    all
}

/// The plan for one group.
pub fn plan_group(state: &State, name: &GroupName, view: &View, now: Moment, wall: WallTime) -> Plan {
    if let Some(step) = assume::step(state, view, wall) {
        return Plan { rule: step.rule, steps: vec![step], wake_at: None };
    }
    let Some(group) = state.groups.get(name) else {
        return Plan { rule: "steady", steps: vec![], wake_at: None };
    };
    let context = Context { group, view, now, wall };
    let steps = context.steps();
    let rule = steps.first().map_or("steady", |s| s.rule);
    Plan { rule, steps, wake_at: Some(context.wake_at()) }
}

impl Context<'_> {
    fn steps(&self) -> Vec<Step> {
        match self.group.spec.kind {
            GroupKind::Redis => {}
            GroupKind::Endpoint => return endpoint::steps(self),
            GroupKind::Kafka => return kafka::steps(self),
        }
        let under_way = self.group.transition.as_ref().filter(|t| t.phase.closes_the_door());
        if under_way.is_some() {
            return proceed::steps(self);
        }
        if self.group.paused.is_some() {
            return vec![];
        }
        let steps = match self.group.primary {
            None => first_primary::steps(self),
            Some(_) => fail_over::steps(self),
        };
        if !steps.is_empty() {
            return steps;
        }
        let settling = proceed::steps(self);
        if settling.is_empty() { keep_order::steps(self) } else { settling }
    }

    /// Retries and timeouts need another look even when nothing is reported.
    fn wake_at(&self) -> Moment {
        let name = &self.group.spec.name;
        let retry = self.view.failures.iter().filter(|(key, _)| key.group == *name);
        let retry = retry.map(|(_, f)| f.at.after(backoff(f.count))).filter(|at| *at > self.now).min();
        let busy =
            self.group.transition.is_some() || self.group.primary.is_none() || self.doubts_the_primary();
        let look_again = self.now.after(if busy { BUSY_EVERY } else { STEADY_EVERY });
        let expiry = self.group.transition.as_ref().filter(|t| t.phase == Phase::Fence && !t.planned);
        let expiry = expiry.map(|t| crate::detect::expires_at(self.group, t, self.view));
        let known = retry.into_iter().chain(expiry).filter(|at| *at > self.now);
        known.fold(look_again, Moment::min)
    }

    /// Whether anybody has something to say against the primary: silence becomes a verdict with nothing but time.
    fn doubts_the_primary(&self) -> bool {
        let primary = self.group.primary.as_ref();
        primary.is_some_and(|p| {
            !crate::detect::verdict(self.group, &p.member, self.view, self.now).evidence.is_empty()
        })
    }

    /// An action under `epoch`, unless it runs already or has just failed.
    fn perform(
        &self,
        rule: &'static str,
        epoch: crate::Epoch,
        member: &MemberSpec,
        kind: ActionKind,
    ) -> Option<Step> {
        let action = Action {
            group: self.group.spec.name.clone(),
            epoch,
            member: member.name.clone(),
            address: member.address.clone(),
            kind,
        };
        let key = action.key();
        if self.view.running.contains(&key) || self.waits(&key) {
            return None;
        }
        Some(Step { rule, kind: StepKind::Perform(action) })
    }

    fn waits(&self, key: &ActionKey) -> bool {
        let failed = self.view.failures.get(key).is_some_and(|f| self.now < f.at.after(backoff(f.count)));
        let seen = self.view.freshest(&key.group, &key.member).map(|(at, _)| at);
        let shows = |done: &Moment| {
            seen.is_some_and(|at| at >= done.after(SHOWS_AFTER)) || self.now >= done.after(REPEAT_AFTER)
        };
        failed || self.view.done.get(key).is_some_and(|done| !shows(done))
    }

    fn propose(rule: &'static str, command: Command) -> Vec<Step> {
        vec![Step { rule, kind: StepKind::Propose(command) }]
    }
}

/// An action that worked is not repeated before the observations can show that it did: one from another site may have
/// been made before it and arrive after it.
const SHOWS_AFTER: Duration = Duration::from_millis(100);
const REPEAT_AFTER: Duration = Duration::from_millis(500);
const BUSY_EVERY: Duration = Duration::from_millis(50);
const STEADY_EVERY: Duration = Duration::from_millis(500);

/// How long an action that failed `count` times in a row waits: 20 ms doubled each time, at most a second.
fn backoff(count: u32) -> Duration {
    Duration::from_millis((20_u64 << count.saturating_sub(1).min(6)).min(1_000))
}
