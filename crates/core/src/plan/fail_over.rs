//! The primary is down: start a failover, or say why not.

use super::{Context, Step, StepKind};
use crate::detect::{self, Candidate, Health, Verdict};
use crate::view::LinkEnd;
use crate::{
    BlockReason, Cause, Command, FailoverMode, FencePolicy, Loss, MemberName, Moment, NodeId, Position, Primary,
    Proof, StartTransition, WallTime,
};

const RULE: &str = "fail_over";

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
        (Health::Silent, FencePolicy::Witness) if detect::can_be_waited_out(c.group, c.view, c.now) => {
            (Cause::Silence, None)
        }
        (Health::Silent, FencePolicy::Witness) => {
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
    let lost = detect::estimate(c.group, c.view, best.reach_bytes, closes_at(c, cause, ended));
    let budget = c.group.spec.max_loss;
    if !budget.allows(lost) {
        return Decision::Block(BlockReason::LossOverBudget { loss: lost, budget });
    }
    let asked = Asked { cause, planned: false, requested_by: None, reason: None };
    Decision::Start(Box::new(start(c, primary, best, verdict, proof, lost, asked)))
}

/// Until when the old primary may have accepted writes: one that is only silent goes on until it notices that it is alone,
/// but where its own witness is heard, and has heard nothing from it, it stopped with its last byte.
fn closes_at(c: &Context<'_>, cause: Cause, ended: Moment) -> Moment {
    if cause != Cause::Silence {
        return ended;
    }
    let alone = c.now.after(c.view.times.passive_bound);
    let beside = c.view.witness(c.group).filter(|(_, r)| c.now.since(r.at) <= detect::CURRENT_WITHIN);
    beside.map_or(alone, |(_, r)| r.heard_at.max(ended))
}

/// The node whose tail a candidate must read before it is promoted; none where it has all of it already, or there is none
/// that would join what it has.
pub(super) fn rescue_from(c: &Context<'_>, to: &MemberName) -> Option<NodeId> {
    let primary = c.group.primary.as_ref()?;
    let (node, report) = c.view.witness(c.group)?;
    let heard = c.view.heard.get(&node).is_some_and(|at| c.now.since(*at) <= detect::CURRENT_WITHIN);
    if !heard || report.replid.as_ref() != Some(&primary.lineage.start.replid) {
        return None;
    }
    let (at, status) = c.view.freshest(&c.group.spec.name, to)?;
    let reach = status.reach_bytes();
    if reach < report.start_bytes {
        return None;
    }
    let has_all = report.ended == Some(LinkEnd::Eof)
        && status.replid == primary.lineage.start.replid
        && reach >= report.end_bytes
        && at >= report.heard_at;
    (!has_all).then_some(node)
}

/// What a start says besides the facts.
pub(crate) struct Asked {
    pub(crate) cause: Cause,
    pub(crate) planned: bool,
    pub(crate) requested_by: Option<String>,
    pub(crate) reason: Option<String>,
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
    let rescue = proof.as_ref().and_then(|_| rescue_from(c, &best.member.name));
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
        end,
        rescue,
        lost,
        detected_at: wall_of(c, verdict.since.unwrap_or(c.now)),
        at: c.wall,
    }
}

/// The leader's wall clock at a moment of its monotonic clock.
fn wall_of(c: &Context<'_>, moment: Moment) -> WallTime {
    c.wall.before(c.now.since(moment))
}

/// Why each member is not eligible, without numbers that change from look to look.
fn nobody(c: &Context<'_>) -> String {
    let others = c.group.spec.members.iter().filter_map(|m| {
        let why = detect::why_not(c.group, &m.name, c.view, c.now)?;
        let is_primary = c.group.primary.as_ref().is_some_and(|p| p.member == m.name);
        (!is_primary).then(|| format!("{} {why}", m.name))
    });
    others.collect::<Vec<_>>().join("; ")
}

fn block(c: &Context<'_>, reason: BlockReason) -> Option<Command> {
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

fn unblock(c: &Context<'_>) -> Option<Command> {
    c.group.blocked.as_ref().map(|_| Command::Unblock { group: c.group.spec.name.clone(), at: c.wall })
}
