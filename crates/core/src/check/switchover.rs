//! A switchover is planned and loses nothing, so it starts only when all of this holds.

use super::{Checked, Checklist, Refusal, Request, context, group_and_primary, no_transition};
use crate::detect::{self, CURRENT_WITHIN, Candidate, Health};
use crate::plan::{Asked, start};
use crate::view::{MemberRole, View};
use crate::{
    Cause, Group, GroupKind, Loss, MemberName, MemberSpec, Moment, Primary, SiteName, State, WallTime,
};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// How far a candidate may lag at the start: what it can catch up with while writes are refused.
const LAG_MAX_BYTES: u64 = 8 << 20;

/// The checks of a switchover.
///
/// # Errors
/// [`Refusal`] when the group or member does not exist, or there is no primary to switch from.
pub fn switchover(
    state: &State,
    view: &View,
    request: &Request,
    now: Moment,
    wall: WallTime,
) -> Result<Checked, Refusal> {
    let (group, primary) = group_and_primary(state, request)?;
    let Some(primary) = primary else {
        let message = format!("group {0} has no primary yet; `primacy status {0}` says why", request.group);
        return Err(Refusal { code: "no_primary", message });
    };
    match group.spec.kind {
        GroupKind::Redis => {}
        GroupKind::Endpoint => {
            return Ok(super::endpoint::switchover(&context(group, view, now, wall), primary, request));
        }
        GroupKind::Kafka => return Err(super::kafka::refused(group)),
    }
    let mut list = Checklist::default();
    no_transition(&mut list, group, true);
    nodes_report(&mut list, view, now);
    primary_serves(&mut list, group, primary, view, now);
    let candidates = detect::candidates(group, view, now);
    let to = target(group, primary, request, &candidates);
    let chosen = candidate(&mut list, group, to, &candidates, view, now);
    if let Some(chosen) = chosen {
        link_and_lag(&mut list, group, primary, chosen, view, now);
    }
    Ok(list.finish(|| {
        let c = context(group, view, now, wall);
        let asked = Asked {
            cause: request.cause,
            planned: true,
            requested_by: Some(request.requested_by.clone()),
            reason: request.reason.clone(),
            loss_accepted: false,
        };
        let verdict = detect::verdict(group, &primary.member, view, now);
        chosen.map(|best| start(&c, primary, best, &verdict, None, Loss::Exact(0), asked))
    }))
}

/// Who is meant: the named member, or the most preferred one. A failback means the most preferred of all, which may
/// be the primary already.
pub(super) fn target<'a>(
    group: &'a Group,
    primary: &Primary,
    request: &'a Request,
    candidates: &[Candidate<'a>],
) -> Option<&'a MemberName> {
    if let Some(to) = &request.to {
        return Some(to);
    }
    let able = |m: &&MemberSpec| candidates.iter().any(|c| c.member.name == m.name);
    let is_primary = |m: &&MemberSpec| m.name == primary.member;
    let members = group.spec.members.iter();
    let wanted = members.filter(|m| able(m) || (request.cause == Cause::Failback && is_primary(m)));
    wanted.min_by_key(|m| Reverse(m.priority)).map(|m| &m.name)
}

/// Every voting node is heard: a node that is away could see something else.
pub(super) fn nodes_report(list: &mut Checklist, view: &View, now: Moment) {
    let heard = |id| view.heard.get(id).is_some_and(|at| now.since(*at) <= CURRENT_WITHIN);
    let away: Vec<String> =
        view.nodes.iter().filter(|(id, _)| !heard(*id)).map(|(id, site)| format!("n{id} ({site})")).collect();
    let sites: BTreeSet<&SiteName> = view.nodes.iter().filter(|(id, _)| heard(*id)).map(|(_, s)| s).collect();
    let enough = sites.len() >= view.site_quorum();
    let detail = if away.is_empty() {
        format!("{} of {} nodes report", view.nodes.len(), view.nodes.len())
    } else {
        format!(
            "{} do not report; {} of {} sites are heard",
            away.join(", "),
            sites.len(),
            view.sites().len()
        )
    };
    list.check("nodes_report", enough, detail);
}

fn primary_serves(list: &mut Checklist, group: &Group, primary: &Primary, view: &View, now: Moment) {
    let name = &primary.member;
    let health = detect::verdict(group, name, view, now).health;
    let detail = match health {
        Health::Up => format!("{name} serves"),
        other => format!(
            "{name} is {}: a switchover needs it; see `primacy failover {}`",
            other.word(),
            group.spec.name
        ),
    };
    list.check("primary_serves", health == Health::Up, detail);
    reachable(list, "primary_reachable", group, name, view, now);
}

/// A quorum of sites reaches a member.
pub(super) fn reachable(
    list: &mut Checklist,
    check: &'static str,
    group: &Group,
    member: &MemberName,
    view: &View,
    now: Moment,
) {
    let sees = view
        .of(&group.spec.name, member)
        .filter(|(_, _, o)| o.status().is_some() && now.since(o.at) <= CURRENT_WITHIN);
    let sites: BTreeSet<&SiteName> = sees.map(|(_, site, _)| site).collect();
    let detail = format!("{member} is reached from {} of {} sites", sites.len(), view.sites().len());
    list.check(check, sites.len() >= view.site_quorum(), detail);
}

fn candidate<'a, 'b>(
    list: &mut Checklist,
    group: &Group,
    to: Option<&MemberName>,
    candidates: &'b [Candidate<'a>],
    view: &View,
    now: Moment,
) -> Option<&'b Candidate<'a>> {
    let Some(to) = to else {
        let why = group.spec.members.iter().filter_map(|m| {
            let why = detect::why_not(group, &m.name, view, now)?;
            Some(format!("{} {why}", m.name))
        });
        list.check(
            "candidate",
            false,
            format!("no member can be promoted: {}", why.collect::<Vec<_>>().join("; ")),
        );
        return None;
    };
    if group.primary.as_ref().is_some_and(|p| p.member == *to) {
        list.check("already_primary", false, format!("{to} is the primary already"));
        return None;
    }
    let found = candidates.iter().find(|c| c.member.name == *to);
    let detail = match detect::why_not(group, to, view, now) {
        Some(why) => format!("{to} {why}"),
        None => format!("{to} can be promoted"),
    };
    list.check("candidate", found.is_some(), detail);
    reachable(list, "candidate_reachable", group, to, view, now);
    found
}

fn link_and_lag(
    list: &mut Checklist,
    group: &Group,
    primary: &Primary,
    chosen: &Candidate<'_>,
    view: &View,
    now: Moment,
) {
    let (name, to) = (&group.spec.name, &chosen.member.name);
    let link_up = view.freshest(name, to).is_some_and(|(at, s)| {
        now.since(at) <= CURRENT_WITHIN && matches!(&s.role, MemberRole::Replica { link_up: true, .. })
    });
    let detail = if link_up { "is up" } else { "is down; wait until it has synchronised" };
    list.check("link_up", link_up && chosen.in_lineage, format!("replication link of {to} {detail}"));
    let at_primary = view.freshest(name, &primary.member).map_or(0, |(_, s)| s.offset_bytes);
    let lag = at_primary.saturating_sub(chosen.reach_bytes);
    let detail = format!("{to} is {lag} bytes behind (at most {LAG_MAX_BYTES})");
    list.check("lag", lag <= LAG_MAX_BYTES, detail);
}
