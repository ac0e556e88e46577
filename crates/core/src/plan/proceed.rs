//! A transition goes on: one action a phase, or back when it cannot.

use super::fail_over::block;
use super::keep_order::{followers, strays};
use super::{Context, Step, guard};
use crate::detect::{self, Health, Tail, Until, Verdict};
use crate::view::{MemberRole, MemberStatus};
use crate::{
    ActionKey, ActionKind, BlockReason, Cause, Command, FencePolicy, Loss, MemberName, MemberSpec, Moment,
    NodeId, Phase, Primary, Promotion, Proof, Transition,
};
use std::time::Duration;

/// How long a fence, with its drain, may take before a switchover is rolled back. The old primary refuses writes
/// meanwhile, and the whole must end well within `repl-timeout`.
const FENCE_WITHIN: Duration = Duration::from_millis(1_500);
/// How long a transition may stay before its promotion.
const PROMOTE_WITHIN: Duration = Duration::from_secs(3);
/// How long standbys may be away before the waiting out is given up.
const WAIT_OUT_WITHIN: Duration = Duration::from_secs(10);
/// How long the tail may take to reach the candidate.
const RESCUE_WITHIN: Duration = Duration::from_secs(2);
/// After so many attempts the tail is read from another node that has it, if there is one.
const RESCUES_BEFORE_ANOTHER: u32 = 2;
/// A rescue that failed, and without which too much would be lost, is tried again so often.
const RESCUE_AGAIN: Duration = Duration::from_secs(5);
/// How often an action is tried before the transition is given up.
const TRIES_MAX: u32 = 5;
/// How long the old primary may stay away before the transition counts as settled without it.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn steps(c: &Context<'_>) -> Vec<Step> {
    let Some(t) = &c.group.transition else { return vec![] };
    match t.phase {
        Phase::Fence => fence(c, t),
        Phase::Rescue => rescue(c, t),
        Phase::Promote => promote(c, t),
        Phase::Redirect => redirect(c, t),
        Phase::Settle => settle(c, t),
        Phase::RollBack => roll_back(c, t),
    }
}

fn fence(c: &Context<'_>, t: &Transition) -> Vec<Step> {
    const RULE: &str = "fence";
    let Some(from) = old_primary(c, t) else {
        return give_up(c, t, RULE, "the old primary is no longer a member".to_owned());
    };
    let verdict = detect::verdict(c.group, &from.name, c.view, c.now);
    match verdict.health {
        Health::Dead if t.planned => {
            return give_up(c, t, RULE, format!("{} died during the switchover", from.name));
        }
        Health::Dead => {
            let ended = verdict.since.unwrap_or(c.now);
            let proof = Proof::Detached { evidence: verdict.evidence };
            // One that was silent before may have been served behind a firewall until it died.
            let gone = if t.cause == Cause::Silence { c.now } else { ended };
            return confirm_fence(c, t, RULE, proof, Until::Gone(gone), ended);
        }
        Health::Silent if !t.planned && c.group.spec.fence == FencePolicy::None => {
            let silent = verdict.since.unwrap_or(c.now);
            return confirm_fence(c, t, RULE, Proof::Waived, Until::Notices, silent);
        }
        Health::Silent | Health::Suspected if waits_out(c, t, from) => return wait_out(c, t, from, &verdict),
        Health::Up if !t.planned && t.cause == Cause::Silence => {
            return give_up(c, t, RULE, format!("{} answers again", from.name));
        }
        Health::Up
        | Health::Suspected
        | Health::Silent
        | Health::Restarted
        | Health::Demoted
        | Health::Unseen => {}
    }
    if let Some(why) = hopeless(c, t, &from.name, "fence", FENCE_WITHIN) {
        return give_up(c, t, RULE, why);
    }
    let to = c.group.spec.member(&t.to);
    // Silence is what a quorum of sites finds: one of the others may have met the next process already.
    let itself = answer_of(c, t, from).is_some_and(|s| is_itself(c, s) && s.is_primary());
    let drain = to.filter(|_| t.planned || itself).map(|m| (m.name.clone(), m.address.clone()));
    let kind = ActionKind::Fence { drain, within: FENCE_WITHIN };
    c.perform(RULE, t.epoch, from, kind).into_iter().collect()
}

fn confirm_fence(
    c: &Context<'_>,
    t: &Transition,
    rule: &'static str,
    proof: Proof,
    until: Until,
    closed: Moment,
) -> Vec<Step> {
    let lost = lost_by_now(c, t, until);
    if !t.may_lose(lost, c.group.spec.max_loss) {
        return over_budget(c, rule, lost);
    }
    let command = Command::ConfirmFence {
        group: t.group.clone(),
        epoch: t.epoch,
        proof,
        end: None,
        drained_us: None,
        closed_at: c.wall.before(c.now.since(closed)),
        rescue: detect::tail(c.group, c.view, &t.to, c.now).holder(),
        lost: Some(lost),
        at: c.wall,
    };
    Context::propose(rule, command)
}

/// The estimate again, with what can be had of the tail by now: the node that had it may be gone since the intent. A
/// leader that never heard the old primary goes by what was committed of it.
fn lost_by_now(c: &Context<'_>, t: &Transition, until: Until) -> Loss {
    let candidates = detect::candidates(c.group, c.view, c.now);
    let Some(to) = candidates.iter().find(|candidate| candidate.member.name == t.to) else { return t.lost };
    match detect::loss(c.group, c.view, to, until, c.now) {
        Loss::Unknown if detect::tail(c.group, c.view, &t.to, c.now) != Tail::None => t.lost,
        Loss::Unknown => t.lost_short_of(to.reach_bytes),
        known @ (Loss::Exact(_) | Loss::AtMost(_)) => known,
    }
}

/// The candidate is not the process that was chosen: what it holds now was not looked at.
fn restarted(c: &Context<'_>, t: &Transition, to: &MemberSpec) -> Option<String> {
    let status = answer_of(c, t, to)?;
    let other = t.to_run_id.as_ref().is_some_and(|chosen| *chosen != status.run_id);
    other.then(|| format!("{} was restarted before it was promoted", to.name))
}

/// It waits: an operator may accept the loss, and until then what is missing may come back.
fn over_budget(c: &Context<'_>, rule: &'static str, loss: Loss) -> Vec<Step> {
    let reason = BlockReason::LossOverBudget { loss, budget: c.group.spec.max_loss };
    block(c, reason).map(|command| Context::propose(rule, command)).unwrap_or_default()
}

/// The old primary turns out to be alive, and so has all that would be lost.
fn is_back(c: &Context<'_>, t: &Transition) -> Option<String> {
    let from = old_primary(c, t)?;
    let back = answer_of(c, t, from).is_some_and(|s| is_itself(c, s) && s.is_primary());
    back.then(|| format!("{} answers again", from.name))
}

/// Whether the old primary must be waited out: nobody has an answer of it.
fn waits_out(c: &Context<'_>, t: &Transition, from: &MemberSpec) -> bool {
    !t.planned && answer_of(c, t, from).is_none() && c.group.spec.fence == FencePolicy::Witness
}

/// What a member says of itself now, if it says anything.
fn answer_of<'a>(c: &Context<'a>, t: &Transition, m: &MemberSpec) -> Option<&'a MemberStatus> {
    let (at, status) = c.view.freshest(&t.group, &m.name)?;
    (c.now.since(at) <= detect::CURRENT_WITHIN).then_some(status)
}

/// Whether it is the process that was made primary.
fn is_itself(c: &Context<'_>, status: &MemberStatus) -> bool {
    c.group.primary.as_ref().is_some_and(|p| p.lineage.run_id == status.run_id)
}

/// The old primary is silent. Whoever keeps it open is taken away, and then it is given the time to notice. All the
/// while it is asked to refuse writes, should it hear us after all, and ended where a node on its host may do that.
fn wait_out(c: &Context<'_>, t: &Transition, from: &MemberSpec, verdict: &Verdict) -> Vec<Step> {
    const RULE: &str = "wait_out";
    if let Some(proof) = detect::expired(c.group, t, c.view, c.now) {
        let silent = verdict.since.unwrap_or(c.now);
        return confirm_fence(c, t, RULE, proof, Until::Shut(c.now), silent);
    }
    let stuck = c.now.since(phase_since(c)) >= WAIT_OUT_WITHIN;
    if stuck && !detect::can_be_waited_out(c.group, c.view, c.now) {
        let failure = format!("{} does not answer, and too few of its standbys do", from.name);
        return give_up(c, t, RULE, failure);
    }
    let mut steps: Vec<Step> = kill(c, t, from).into_iter().collect();
    let taken = detect::to_take_away(c.group, t, c.view, c.now);
    steps.extend(taken.filter_map(|m| c.perform(RULE, t.epoch, m, ActionKind::Detach)));
    let kind = ActionKind::Fence { drain: None, within: FENCE_WITHIN };
    steps.extend(c.perform(RULE, t.epoch, from, kind));
    steps
}

fn kill(c: &Context<'_>, t: &Transition, from: &MemberSpec) -> Option<Step> {
    let (_, last) = c.view.last_of_primary(c.group).filter(|_| c.group.spec.may_kill)?;
    let kind = ActionKind::Kill { run_id: last.run_id.clone(), pid: last.pid };
    c.perform("kill", t.epoch, from, kind)
}

/// The candidate reads what was kept of the stream, within a bound: from the node that was committed for it, and where
/// that does not answer from another that has it.
fn rescue(c: &Context<'_>, t: &Transition) -> Vec<Step> {
    const RULE: &str = "rescue";
    let (Some(to), Some(committed), Some(primary)) = (c.group.spec.member(&t.to), t.rescue, &c.group.primary)
    else {
        return give_up(c, t, RULE, format!("{} is no longer a member", t.to));
    };
    if detect::verdict(c.group, &to.name, c.view, c.now).health == Health::Dead {
        return give_up(c, t, RULE, format!("{} died before it was promoted", t.to));
    }
    if let Some(why) = restarted(c, t, to) {
        return give_up(c, t, RULE, why);
    }
    let away = c.view.heard.get(&committed).is_none_or(|at| c.now.since(*at) > detect::CURRENT_WITHIN);
    let key = ActionKey { group: t.group.clone(), epoch: t.epoch, member: to.name.clone(), word: "rescue" };
    let tried = c.view.failures.get(&key).map_or(0, |f| f.count);
    let instead = detect::copy(c.group, c.view, &to.name, c.now).map(|(node, _)| node);
    let instead = instead.filter(|node| *node != committed && (away || tried >= RESCUES_BEFORE_ANOTHER));
    let times = if instead.is_some() { 2 } else { 1 };
    let why = hopeless_after(c, t, &to.name, "rescue", RESCUE_WITHIN * times, TRIES_MAX * times);
    let holder = instead.unwrap_or(committed);
    if let Some(why) = why {
        let lost = without_tail(c, t, 0);
        if !t.may_lose(lost, c.group.spec.max_loss) {
            if let Some(why) = is_back(c, t) {
                return give_up(c, t, RULE, why);
            }
            let blocked = over_budget(c, RULE, lost);
            if !blocked.is_empty() {
                return blocked;
            }
            let tried_at = c.view.failures.get(&key).map(|f| f.at);
            if tried_at.is_some_and(|at| c.now.since(at) < RESCUE_AGAIN) {
                return vec![];
            }
            return c.perform(RULE, t.epoch, to, read_from(c, t, primary, to, holder)).into_iter().collect();
        }
        let command = Command::ConfirmRescue {
            group: t.group.clone(),
            epoch: t.epoch,
            end: None,
            fetched_bytes: 0,
            lost,
            note: format!("the tail of n{holder} could not be read: {why}"),
            at: c.wall,
        };
        return Context::propose(RULE, command);
    }
    c.perform(RULE, t.epoch, to, read_from(c, t, primary, to, holder)).into_iter().collect()
}

fn read_from(
    c: &Context<'_>,
    t: &Transition,
    primary: &Primary,
    to: &MemberSpec,
    holder: NodeId,
) -> ActionKind {
    // A leader that never heard the old primary goes by what was committed: that counted on the tail as well.
    let residue = match detect::residue(c.group, c.view) {
        known @ (Loss::Exact(_) | Loss::AtMost(_)) if detect::witness_saw_the_end(c.group, c.view) => known,
        _ => t.lost,
    };
    // What is lost once all is read is known now, if the old primary is proven dead: nothing is left to decide.
    let decided = matches!(t.proof, Some(Proof::Detached { .. }))
        && residue != Loss::Unknown
        && t.may_lose(residue, c.group.spec.max_loss);
    // The estimate had counted on the tail of the node that is committed for it.
    let counted_on = t.rescue == Some(holder);
    let lost =
        if counted_on { t.lost } else { without_tail(c, t, detect::copied_to(c.group, c.view, holder)) };
    ActionKind::Rescue {
        holder,
        site: to.site.clone(),
        of: primary.epoch,
        within: RESCUE_WITHIN,
        residue,
        lost,
        then: decided.then(|| promotion(c, t, to)),
    }
}

/// What is lost when the tail that was counted on cannot be read, and the candidate gets as far as it is or to
/// `copied_to`.
fn without_tail(c: &Context<'_>, t: &Transition, copied_to: u64) -> Loss {
    let Some((_, status)) = c.view.freshest(&t.group, &t.to) else { return Loss::Unknown };
    let reach_bytes = status.reach_bytes().max(copied_to);
    let ended = match (&t.proof, t.closed_at) {
        (Some(Proof::Detached { .. }), Some(at)) => c.now.before(c.wall.since(at)),
        _ => c.now,
    };
    match (t.lost, detect::estimate(c.group, c.view, reach_bytes, ended)) {
        (Loss::Unknown, _) | (_, Loss::Unknown) => Loss::Unknown,
        (with, without) => {
            Loss::AtMost(with.bytes().unwrap_or_default().max(without.bytes().unwrap_or_default()))
        }
    }
}

fn promote(c: &Context<'_>, t: &Transition) -> Vec<Step> {
    const RULE: &str = "promote";
    let Some(to) = c.group.spec.member(&t.to) else {
        return give_up(c, t, RULE, format!("{} is no longer a member", t.to));
    };
    if detect::verdict(c.group, &to.name, c.view, c.now).health == Health::Dead {
        return give_up(c, t, RULE, format!("{} died before it was promoted", t.to));
    }
    if let Some(why) = restarted(c, t, to) {
        return give_up(c, t, RULE, why);
    }
    if !t.may_lose(t.lost, c.group.spec.max_loss) {
        return match is_back(c, t) {
            Some(why) => give_up(c, t, RULE, why),
            None => over_budget(c, RULE, t.lost),
        };
    }
    if let Some(why) = hopeless(c, t, &to.name, "promote", PROMOTE_WITHIN) {
        return give_up(c, t, RULE, why);
    }
    c.perform(RULE, t.epoch, to, ActionKind::Promote(promotion(c, t, to))).into_iter().collect()
}

fn promotion(c: &Context<'_>, t: &Transition, to: &MemberSpec) -> Promotion {
    let answers = |m: &&MemberSpec| {
        let fresh = c.view.freshest(&c.group.spec.name, &m.name);
        fresh.is_some_and(|(at, _)| c.now.since(at) <= detect::CURRENT_WITHIN)
    };
    let others: Vec<&MemberSpec> = c.group.spec.members.iter().filter(|m| m.name != to.name).collect();
    // Without a fence nobody counts, so nobody need be refused, nor admitted again later.
    let admitted = |m: &&MemberSpec| c.group.spec.fence == FencePolicy::None || answers(m);
    let names =
        |admit: bool| others.iter().filter(|m| admitted(m) == admit).map(|m| m.name.clone()).collect();
    Promotion {
        expected: t.expected.clone(),
        run_id: t.to_run_id.clone(),
        admit: names(true),
        refuse: names(false),
        witness: guard::witness_for(c, &to.site, None),
    }
}

/// The others are shut before the door of the new primary opens: whoever still accepts writes comes first.
fn redirect(c: &Context<'_>, t: &Transition) -> Vec<Step> {
    const RULE: &str = "redirect";
    // It may be gone before it is open: another takes over, or an operator is told.
    let instead = if c.group.paused.is_some() { vec![] } else { super::fail_over::steps(c) };
    if !instead.is_empty() {
        return instead;
    }
    let mut steps = followers(c, RULE);
    // The old primary is proven shut, whatever an observation from before the fence says.
    let open_elsewhere = strays(c).any(|m| Some(&m.name) != t.from.as_ref());
    let gone = matches!(
        detect::verdict(c.group, &t.to, c.view, c.now).health,
        Health::Dead | Health::Restarted | Health::Demoted
    );
    if let Some(to) = c.group.spec.member(&t.to).filter(|_| !open_elsewhere && !gone) {
        let min_replicas = c.group.primary.as_ref().map_or(0, |p| p.fence.min_replicas);
        steps.extend(c.perform(RULE, t.epoch, to, ActionKind::Open { min_replicas }));
    }
    steps
}

fn settle(c: &Context<'_>, t: &Transition) -> Vec<Step> {
    const RULE: &str = "settle";
    let steps = followers(c, RULE);
    if !steps.is_empty() {
        return steps;
    }
    let away: Vec<&str> = c
        .group
        .spec
        .members
        .iter()
        .filter(|m| m.name != t.to && !attached(c, m))
        .map(|m| m.name.as_str())
        .collect();
    let waited = c.now.since(phase_since(c));
    let note = if away.is_empty() {
        "every member follows".to_owned()
    } else if waited >= SETTLE_WITHIN {
        format!("{} not back yet", away.join(", "))
    } else {
        return vec![];
    };
    let command = Command::Settle { group: t.group.clone(), epoch: t.epoch, note, at: c.wall };
    Context::propose(RULE, command)
}

fn roll_back(c: &Context<'_>, t: &Transition) -> Vec<Step> {
    const RULE: &str = "roll_back";
    let confirm = || {
        let command = Command::ConfirmRollBack { group: t.group.clone(), epoch: t.epoch, at: c.wall };
        Context::propose(RULE, command)
    };
    let Some(from) = old_primary(c, t) else { return confirm() };
    if answer_of(c, t, from).is_some_and(|s| !is_itself(c, s)) {
        return confirm();
    }
    match detect::verdict(c.group, &from.name, c.view, c.now).health {
        // It cannot be opened, or is not the one that was closed: the next plan deals with it.
        Health::Dead | Health::Restarted | Health::Demoted => return confirm(),
        Health::Silent if c.now.since(phase_since(c)) >= PROMOTE_WITHIN => return confirm(),
        Health::Up | Health::Suspected | Health::Silent | Health::Unseen => {}
    }
    let min_replicas = c.group.primary.as_ref().map_or(0, |p| p.fence.min_replicas);
    c.perform(RULE, t.epoch, from, ActionKind::Lift { min_replicas }).into_iter().collect()
}

fn give_up(c: &Context<'_>, t: &Transition, rule: &'static str, failure: String) -> Vec<Step> {
    let command = Command::RollBack { group: t.group.clone(), epoch: t.epoch, failure, at: c.wall };
    Context::propose(rule, command)
}

/// Why the phase's action will not work, when it will not.
fn hopeless(
    c: &Context<'_>,
    t: &Transition,
    member: &MemberName,
    word: &'static str,
    within: Duration,
) -> Option<String> {
    hopeless_after(c, t, member, word, within, TRIES_MAX)
}

fn hopeless_after(
    c: &Context<'_>,
    t: &Transition,
    member: &MemberName,
    word: &'static str,
    within: Duration,
    tries_max: u32,
) -> Option<String> {
    let key = ActionKey { group: t.group.clone(), epoch: t.epoch, member: member.clone(), word };
    if c.view.running.contains(&key) {
        return None;
    }
    let failure = c.view.failures.get(&key);
    if let Some(f) = failure.filter(|f| f.permanent || f.count >= tries_max) {
        return Some(f.message.clone());
    }
    let late = c.now.since(phase_since(c)) >= within;
    late.then(|| {
        let why = failure.map_or_else(|| "no answer".to_owned(), |f| f.message.clone());
        format!("{word} of {member} took longer than {} ms: {why}", within.as_millis())
    })
}

fn phase_since(c: &Context<'_>) -> Moment {
    c.view.phase_since.get(&c.group.spec.name).copied().unwrap_or(c.now)
}

fn old_primary<'a>(c: &Context<'a>, t: &Transition) -> Option<&'a MemberSpec> {
    t.from.as_ref().and_then(|from| c.group.spec.member(from))
}

/// Whether a member follows the primary and has completed its link.
fn attached(c: &Context<'_>, m: &MemberSpec) -> bool {
    let Some(primary) = &c.group.primary else { return false };
    // A link that says it is up after a full copy carries nothing yet: the primary's own list tells.
    let counted =
        c.view.freshest(&c.group.spec.name, &primary.member).is_some_and(|(_, s)| s.counts(&m.address));
    let Some((at, status)) = c.view.freshest(&c.group.spec.name, &m.name).filter(|_| counted) else {
        return false;
    };
    let link_up = matches!(&status.role, MemberRole::Replica { link_up: true, .. });
    c.now.since(at) <= detect::CURRENT_WITHIN && link_up && status.replid == primary.lineage.start.replid
}
