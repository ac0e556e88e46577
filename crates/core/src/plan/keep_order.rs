//! Nothing is wrong with the primary: keep the others under it, shut, and its own door open.
//!
//! A member that accepts writes and is not the primary is shut first, whatever else there is to do: it came back
//! under an old epoch, or somebody changed it by hand.

use super::{Context, Step, StepKind, guard};
use crate::detect::{self, CURRENT_WITHIN, Health};
use crate::view::{MemberRole, MemberStatus, SHUT_MIN_REPLICAS};
use crate::{ActionKind, Command, MemberSpec, Primary};

pub(super) fn steps(c: &Context<'_>) -> Vec<Step> {
    let mut steps = followers(c, "follow");
    let reopened = reopen(c);
    if reopened.is_none() {
        steps.extend(guard::steps(c));
    }
    steps.extend(reopened);
    steps
}

/// Members that accept writes though another is primary.
pub(super) fn strays<'a>(c: &'a Context<'_>) -> impl Iterator<Item = &'a MemberSpec> {
    others(c).filter(|(_, status)| status.accepts_writes()).map(|(m, _)| m)
}

/// Shuts and points at the primary whoever answers and is not so yet, those who accept writes first.
pub(super) fn followers(c: &Context<'_>, rule: &'static str) -> Vec<Step> {
    let Some(primary) = &c.group.primary else { return vec![] };
    let Some(at) = c.group.spec.member(&primary.member) else { return vec![] };
    let mut wrong: Vec<(&MemberSpec, &MemberStatus)> =
        others(c).filter(|(_, status)| !follows(status, at)).collect();
    // The primary refuses who is not in its fence quorum: it is admitted first. What accepts writes is shut at once.
    wrong.retain(|(m, status)| guard::admitted(c.group, &m.name) || status.accepts_writes());
    wrong.sort_by_key(|(_, status)| !status.accepts_writes());
    let step = |(m, status): (&MemberSpec, &MemberStatus)| {
        let kind = ActionKind::Follow { primary: at.address.clone(), evict: status.is_primary() };
        c.perform(rule, primary.epoch, m, kind)
    };
    let orphaned = wrong.iter().find_map(|(m, status)| orphaned(c, primary, m, status));
    let steps = wrong.into_iter().filter_map(step);
    // What it holds is known from the same look; the door is not left open while that is written down.
    let mut steps: Vec<Step> = steps.collect();
    steps.extend(orphaned.map(|command| Step { rule, kind: StepKind::Propose(command) }));
    steps
}

/// What the old primary holds beyond what the present one took over: it is dropped when it follows.
fn orphaned(c: &Context<'_>, primary: &Primary, m: &MemberSpec, status: &MemberStatus) -> Option<Command> {
    let history = c.group.transition.iter().chain(c.group.history.iter().rev());
    let replaced = history.into_iter().find(|t| t.epoch == primary.epoch)?;
    let start = &primary.lineage.start;
    let same_history = primary.lineage.previous.as_ref() == Some(&status.replid);
    let bytes = status.reach_bytes().checked_sub(start.offset_bytes).filter(|n| *n > 0)?;
    // What it said before it was replaced says nothing of what it holds when it is back.
    let (seen_at, _) = c.view.freshest(&c.group.spec.name, &m.name)?;
    let back = c.view.primary_since.get(&c.group.spec.name).is_some_and(|since| seen_at > *since);
    let news = back && replaced.orphaned_bytes.is_none_or(|known| known < bytes);
    (replaced.from.as_ref() == Some(&m.name) && same_history && news).then(|| Command::RecordOrphaned {
        group: c.group.spec.name.clone(),
        epoch: primary.epoch,
        member: m.name.clone(),
        bytes,
        at: c.wall,
    })
}

fn follows(status: &MemberStatus, primary: &MemberSpec) -> bool {
    match &status.role {
        MemberRole::Replica { host, port, read_only, .. } => {
            *read_only
                && status.min_replicas == SHUT_MIN_REPLICAS
                && *host == primary.address.host
                && *port == primary.address.port
        }
        MemberRole::Primary { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => false,
    }
}

/// The door of a primary that is healthy but shut: left so by a leader that died, or by hand.
fn reopen(c: &Context<'_>) -> Option<Step> {
    let primary: &Primary = c.group.primary.as_ref()?;
    let member = c.group.spec.member(&primary.member)?;
    if detect::verdict(c.group, &member.name, c.view, c.now).health != Health::Up {
        return None;
    }
    let (_, status) = c.view.freshest(&c.group.spec.name, &member.name)?;
    // What is under way may have opened it since that look, with a higher number than is committed yet.
    if status.min_replicas != SHUT_MIN_REPLICAS || guard::is_under_way(c, primary, "set_fence") {
        return None;
    }
    let min_replicas = primary.fence.min_replicas;
    c.perform("reopen", primary.epoch, member, ActionKind::Open { min_replicas })
}

/// The members that answer and are not the primary.
fn others<'a>(c: &'a Context<'_>) -> impl Iterator<Item = (&'a MemberSpec, &'a MemberStatus)> {
    let primary = c.group.primary.as_ref().map(|p| &p.member);
    c.group.spec.members.iter().filter(move |m| Some(&m.name) != primary).filter_map(|m| {
        let (at, status) = c.view.freshest(&c.group.spec.name, &m.name)?;
        (c.now.since(at) <= CURRENT_WITHIN).then_some((m, status))
    })
}
