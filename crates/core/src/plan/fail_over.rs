//! The primary is down: start a failover, or say why not.

use super::{Context, Step, StepKind};
use crate::detect::{self, Candidate, Health, Tail, Until, Verdict};
use crate::view::Reach;
use crate::{
    BlockReason, Cause, Command, Durability, FailoverMode, FencePolicy, Loss, Moment, Position, Primary,
    Proof, StartTransition, TransitionOutcome, WallTime,
};
use std::time::Duration;

const RULE: &str = "fail_over";
/// After a failover for silence was rolled back, because the primary answered after all, the next waits so long.
const HOLD_OFF: Duration = Duration::from_secs(5);
/// How long the node that holds the stream at another site may stay unheard before a dead primary is replaced without.
const HOLDER_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn steps(c: &Context<'_>) -> Vec<Step> {
    let Some(primary) = &c.group.primary else { return vec![] };
    let verdict = detect::verdict(c.group, &primary.member, c.view, c.now);
    let step = match decide(c, primary, &verdict) {
        Decision::Start(start) => Some(Command::StartTransition(start)),
        Decision::Block(reason) => block(c, reason),
        Decision::Healthy => unblock(c),
        Decision::Wait => None,
    };
    step.map(|command| Step { rule: RULE, kind: StepKind::Propose(command) }).into_iter().collect()
}

fn just_rolled_back(c: &Context<'_>) -> bool {
    let last = c.group.history.back();
    let rolled_back =
        last.is_some_and(|t| t.cause == Cause::Silence && t.outcome == Some(TransitionOutcome::RolledBack));
    let ended = c.view.phase_since.get(&c.group.spec.name);
    rolled_back && ended.is_some_and(|at| c.now.since(*at) < HOLD_OFF)
}

enum Decision {
    Start(Box<StartTransition>),
    Block(BlockReason),
    /// The primary answers as it should.
    Healthy,
    /// Nothing is certain yet.
    Wait,
}

fn decide(c: &Context<'_>, primary: &Primary, verdict: &Verdict) -> Decision {
    let (cause, proof) = match (verdict.health, c.group.spec.fence) {
        (Health::Up, _) => return Decision::Healthy,
        (Health::Suspected | Health::Unseen, _) => return Decision::Wait,
        (Health::Dead, _) => (Cause::Death, Some(Proof::Detached { evidence: verdict.evidence.clone() })),
        (Health::Silent, FencePolicy::None) => (Cause::Silence, Some(Proof::Waived)),
        (Health::Silent, _) if just_rolled_back(c) => return Decision::Wait,
        (Health::Silent, FencePolicy::Witness) if detect::can_be_waited_out(c.group, c.view, c.now) => {
            (Cause::Silence, None)
        }
        (Health::Silent, FencePolicy::Witness) => {
            return Decision::Block(BlockReason::FenceUnproven { member: primary.member.clone() });
        }
        (Health::Restarted | Health::Demoted, _) if out_of_reach(c, primary) => {
            return Decision::Block(BlockReason::FenceUnproven { member: primary.member.clone() });
        }
        // They answer: the fence is asked of them.
        (Health::Restarted, _) => (Cause::Death, None),
        (Health::Demoted, _) => (Cause::Demotion, None),
    };
    if c.group.spec.failover == FailoverMode::Manual {
        return Decision::Block(BlockReason::ManualFailover { member: primary.member.clone() });
    }
    let ended = verdict.since.unwrap_or(c.now);
    let candidates = detect::candidates(c.group, c.view, c.now);
    let Some(best) = candidates.first() else {
        return Decision::Block(BlockReason::NoCandidate { detail: nobody(c) });
    };
    if cause == Cause::Death && waits_for_holder(c, best, verdict) {
        return Decision::Wait;
    }
    let until = if cause == Cause::Silence { Until::Notices } else { Until::Gone(ended) };
    let lost = detect::loss(c.group, c.view, best, until, c.now);
    let budget = c.group.spec.max_loss;
    if !budget.allows(lost) {
        return Decision::Block(BlockReason::LossOverBudget { loss: lost, budget });
    }
    let asked = Asked::by_rule(cause);
    Decision::Start(Box::new(start(c, primary, best, verdict, proof, lost, asked)))
}

/// Whether it answers others and not this node, which would have to fence it.
fn out_of_reach(c: &Context<'_>, primary: &Primary) -> bool {
    let key = (c.group.spec.name.clone(), primary.member.clone());
    let mine = c.view.seen.get(&key).and_then(|seen| seen.get(&c.view.me));
    let answered = mine.map(|o| match (&o.reach, &o.last_up) {
        (Reach::Up(_), _) => o.at,
        (Reach::Down { .. }, last) => last.as_ref().map_or(c.view.leading_since, |(at, _)| *at),
    });
    answered.is_some_and(|at| c.now.since(at) > Duration::from_millis(c.group.spec.down_after_ms))
}

/// Whether what replies relied on may be had in a moment: its node is not heard yet, and there is no other tail.
fn waits_for_holder(c: &Context<'_>, best: &Candidate<'_>, verdict: &Verdict) -> bool {
    // Of a process that was replaced it is known only when it last answered; a look at the next one says nothing of that.
    let gone_at = match verdict.health {
        Health::Restarted => c.view.last_of_primary(c.group).map(|(at, _)| at).unwrap_or_default(),
        _ => verdict.since.unwrap_or(c.now),
    };
    let waited = c.now.since(gone_at.max(c.view.leading_since));
    c.group.spec.durability == Durability::Site
        && waited < HOLDER_WITHIN
        && detect::holder_is_missing(c.group, c.view, c.now)
        && detect::tail(c.group, c.view, &best.member.name, c.now) == Tail::None
}

/// What a start says besides the facts.
pub(crate) struct Asked {
    pub(crate) cause: Cause,
    pub(crate) planned: bool,
    pub(crate) requested_by: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) loss_accepted: bool,
}

impl Asked {
    /// Nobody asked.
    pub(crate) fn by_rule(cause: Cause) -> Asked {
        Asked { cause, planned: false, requested_by: None, reason: None, loss_accepted: false }
    }
}

/// The intent to put `best` in the primary's place.
pub(crate) fn start(
    c: &Context<'_>,
    primary: &Primary,
    best: &Candidate<'_>,
    verdict: &Verdict,
    proof: Option<Proof>,
    lost: Loss,
    asked: Asked,
) -> StartTransition {
    let end = c
        .view
        .last_of_primary(c.group)
        .map(|(_, s)| Position { replid: s.replid.clone(), offset_bytes: s.offset_bytes });
    // A switchover is drained, and what a silent primary is to be replaced with is found when it has been waited out.
    let now_or_never = proof.is_some() || !(asked.planned || asked.cause == Cause::Silence);
    let tail = now_or_never.then(|| detect::tail(c.group, c.view, &best.member.name, c.now));
    let rescue = tail.and_then(Tail::holder);
    StartTransition {
        group: c.group.spec.name.clone(),
        from: Some((primary.member.clone(), primary.epoch)),
        to: best.member.name.clone(),
        cause: asked.cause,
        planned: asked.planned,
        requested_by: asked.requested_by,
        reason: asked.reason,
        evidence: verdict.evidence.clone(),
        proof,
        expected: Some(best.history.clone()),
        to_run_id: c.view.freshest(&c.group.spec.name, &best.member.name).map(|(_, s)| s.run_id.clone()),
        end,
        rescue,
        lost,
        loss_accepted: asked.loss_accepted,
        detected_at: wall_of(c, verdict.since.unwrap_or(c.now)),
        at: c.wall,
    }
}

/// The leader's wall clock at a moment of its monotonic clock.
fn wall_of(c: &Context<'_>, moment: Moment) -> WallTime {
    c.wall.before(c.now.since(moment))
}

/// Why each member is not eligible, without numbers that change from look to look.
pub(super) fn nobody(c: &Context<'_>) -> String {
    let others = c.group.spec.members.iter().filter_map(|m| {
        let why = detect::why_not(c.group, &m.name, c.view, c.now)?;
        let is_primary = c.group.primary.as_ref().is_some_and(|p| p.member == m.name);
        (!is_primary).then(|| format!("{} {why}", m.name))
    });
    others.collect::<Vec<_>>().join("; ")
}

pub(super) fn block(c: &Context<'_>, reason: BlockReason) -> Option<Command> {
    let known = c.group.blocked.as_ref().map(|b| &b.reason);
    // The estimate moves while the group waits; what was said first stands until the kind of reason changes.
    let same_kind = known.is_some_and(|k| k.code() == reason.code());
    let refined =
        same_kind && !matches!(reason, BlockReason::LossOverBudget { .. }) && known != Some(&reason);
    if same_kind && !refined {
        return None;
    }
    let (group, epoch) = (c.group.spec.name.clone(), c.group.epoch_last());
    Some(Command::Block { group, epoch, reason, at: c.wall })
}

pub(super) fn unblock(c: &Context<'_>) -> Option<Command> {
    c.group.blocked.as_ref().map(|_| Command::Unblock { group: c.group.spec.name.clone(), at: c.wall })
}
