//! Groups of endpoints: stateless services that gates lead to.
//!
//! The phases are those of every transition, and nothing is done to a member in any of them: the gates follow what is
//! committed, and they are the fence. There is nothing to rescue and nobody to point elsewhere.

use super::fail_over::{Asked, block, nobody, unblock};
use super::{Context, Step, StepKind};
use crate::detect::{self, Health};
use crate::{
    BlockReason, Cause, Command, FailoverMode, FenceQuorum, GroupKind, Lineage, Loss, MemberSpec, Moment,
    Phase, Position, Primary, Proof, StartTransition, Transition,
};
use std::cmp::Reverse;
use std::time::Duration;

/// How long a candidate may leave open whether it answers, once the old primary is shut.
const PROMOTE_WITHIN: Duration = Duration::from_secs(3);

pub(super) fn steps(c: &Context<'_>) -> Vec<Step> {
    steps_of(c, fail_over)
}

/// The steps of a group in whose transitions nothing is done to a member; `look_after` is what its primary needs.
pub(super) fn steps_of(
    c: &Context<'_>,
    look_after: fn(&Context<'_>, &Primary) -> Option<(&'static str, Command)>,
) -> Vec<Step> {
    let under_way = c.group.transition.as_ref();
    if let Some(t) = under_way.filter(|t| t.phase.closes_the_door()) {
        return one(proceed(c, t));
    }
    if c.group.paused.is_some() {
        return vec![];
    }
    let step = match &c.group.primary {
        None => first(c),
        Some(primary) => look_after(c, primary),
    };
    one(step.or_else(|| under_way.and_then(|t| proceed(c, t))))
}

fn one(step: Option<(&'static str, Command)>) -> Vec<Step> {
    step.map(|(rule, command)| Step { rule, kind: StepKind::Propose(command) }).into_iter().collect()
}

/// The most preferred member that answers, once it is known of all that are preferred to it that they do not.
fn first(c: &Context<'_>) -> Option<(&'static str, Command)> {
    const RULE: &str = "first_primary";
    if !detect::nothing_leads(c.group, c.view, c.now) {
        return None;
    }
    let mut preferred: Vec<&MemberSpec> = c.group.spec.members.iter().filter(|m| m.priority > 0).collect();
    preferred.sort_by_key(|m| Reverse(m.priority));
    for m in &preferred {
        if detect::endpoint(c.group, m, c.view, c.now).is_ok() {
            let asked = Asked::by_rule(Cause::Initial);
            let intent = start(c, None, m, asked);
            return Some((RULE, Command::StartTransition(Box::new(intent))));
        }
        match detect::verdict(c.group, &m.name, c.view, c.now).health {
            Health::Unseen | Health::Suspected | Health::Up => return None,
            Health::Silent | Health::Dead | Health::Restarted | Health::Demoted => {}
        }
    }
    let names: Vec<&str> = preferred.iter().map(|m| m.name.as_str()).collect();
    let reason = BlockReason::NoFirstPrimary { detail: format!("{} cannot be reached", names.join(", ")) };
    Some((RULE, block(c, reason)?))
}

fn fail_over(c: &Context<'_>, primary: &Primary) -> Option<(&'static str, Command)> {
    const RULE: &str = "fail_over";
    let verdict = detect::verdict(c.group, &primary.member, c.view, c.now);
    let command = match verdict.health {
        Health::Up => unblock(c),
        Health::Suspected | Health::Unseen => None,
        Health::Silent | Health::Dead | Health::Restarted | Health::Demoted => {
            if c.group.spec.failover == FailoverMode::Manual {
                block(c, BlockReason::ManualFailover { member: primary.member.clone() })
            } else if let Some(best) = detect::candidates(c.group, c.view, c.now).first() {
                let asked = Asked::by_rule(Cause::Silence);
                let intent = start(c, Some(primary), best.member, asked);
                Some(Command::StartTransition(Box::new(intent)))
            } else {
                block(c, BlockReason::NoCandidate { detail: nobody(c) })
            }
        }
    };
    Some((RULE, command?))
}

/// The intent that gates lead to `to`.
pub(crate) fn start(
    c: &Context<'_>,
    primary: Option<&Primary>,
    to: &MemberSpec,
    asked: Asked,
) -> StartTransition {
    let verdict = primary.map(|p| detect::verdict(c.group, &p.member, c.view, c.now));
    let since = verdict.as_ref().and_then(|v| v.since).unwrap_or(c.now);
    StartTransition {
        group: c.group.spec.name.clone(),
        from: primary.map(|p| (p.member.clone(), p.epoch)),
        to: to.name.clone(),
        cause: asked.cause,
        planned: asked.planned,
        requested_by: asked.requested_by,
        reason: asked.reason,
        evidence: verdict.map(|v| v.evidence).unwrap_or_default(),
        proof: primary.is_none().then_some(Proof::Vacant),
        expected: None,
        to_run_id: None,
        end: None,
        rescue: None,
        lost: Loss::Exact(0),
        loss_accepted: asked.loss_accepted,
        detected_at: c.wall.before(c.now.since(since)),
        at: c.wall,
    }
}

fn proceed(c: &Context<'_>, t: &Transition) -> Option<(&'static str, Command)> {
    let (group, epoch, at) = (t.group.clone(), t.epoch, c.wall);
    match t.phase {
        Phase::Fence => fence(c, t).map(|command| ("fence", command)),
        // A fence that names no tail passes this phase with its own.
        Phase::Rescue => None,
        Phase::Promote => promote(c, t).map(|command| ("promote", command)),
        Phase::Redirect => Some(("redirect", Command::ConfirmOpen { group, epoch, at })),
        Phase::Settle => {
            let note = match c.group.spec.kind {
                GroupKind::Kafka => format!("{} is the active cluster", t.to),
                GroupKind::Endpoint | GroupKind::Redis => format!("gates lead to {}", t.to),
            };
            Some(("settle", Command::Settle { group, epoch, note, at }))
        }
        Phase::RollBack => Some(("roll_back", Command::ConfirmRollBack { group, epoch, at })),
    }
}

/// Waits for the gates, or for the end of their leases, which is never far.
fn fence(c: &Context<'_>, t: &Transition) -> Option<Command> {
    if let Some(why) = gone(c, t) {
        return Some(give_up(c, t, why));
    }
    let proof = detect::gates_shut(c.group, t, c.view, c.now).ok()?;
    Some(Command::ConfirmFence {
        group: t.group.clone(),
        epoch: t.epoch,
        proof,
        end: None,
        drained_us: None,
        // One that does not answer served nobody since; one that does, until its gates heard of the intent.
        closed_at: if t.planned { t.started_at } else { t.detected_at },
        rescue: None,
        lost: None,
        at: c.wall,
    })
}

fn promote(c: &Context<'_>, t: &Transition) -> Option<Command> {
    let Some(to) = c.group.spec.member(&t.to) else {
        return Some(give_up(c, t, format!("{} is no longer a member", t.to)));
    };
    if let Err(why) = detect::endpoint(c.group, to, c.view, c.now) {
        let late = c.now.since(phase_since(c)) >= PROMOTE_WITHIN;
        let why = gone(c, t).or_else(|| late.then(|| format!("{} {why}", t.to)))?;
        return Some(give_up(c, t, why));
    }
    let nothing = Position { replid: String::new(), offset_bytes: 0 };
    // The id of a cluster; an endpoint has none.
    let answer = c.view.freshest(&t.group, &t.to);
    let run_id = answer.map(|(_, status)| status.run_id.clone()).unwrap_or_default();
    Some(Command::ConfirmPromotion {
        group: t.group.clone(),
        epoch: t.epoch,
        lineage: Lineage { run_id, start: nothing, previous: None },
        fence: FenceQuorum::default(),
        witness: None,
        at: c.wall,
    })
}

/// Why the candidate will not do, when it has fallen silent.
fn gone(c: &Context<'_>, t: &Transition) -> Option<String> {
    let silent = detect::verdict(c.group, &t.to, c.view, c.now).health == Health::Silent;
    silent.then(|| format!("{} does not answer any more", t.to))
}

fn give_up(c: &Context<'_>, t: &Transition, failure: String) -> Command {
    Command::RollBack { group: t.group.clone(), epoch: t.epoch, failure, at: c.wall }
}

fn phase_since(c: &Context<'_>) -> Moment {
    c.view.phase_since.get(&c.group.spec.name).copied().unwrap_or(c.now)
}
