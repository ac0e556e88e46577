//! Switchover and failover of an endpoint by hand: it has nothing to lose, so what counts is that the gates hear of it
//! and that the candidate answers.

use super::switchover::{nodes_report, reachable, target};
use super::{Checked, Checklist, Request, no_transition};
use crate::detect::{self, CURRENT_WITHIN};
use crate::plan::{Asked, Context, start_endpoint};
use crate::{MemberName, MemberSpec, Primary, lease};

pub(super) fn switchover(c: &Context<'_>, primary: &Primary, request: &Request) -> Checked {
    let mut list = Checklist::default();
    no_transition(&mut list, c.group, true);
    nodes_report(&mut list, c.view, c.now);
    gates_hear(&mut list, c);
    let candidates = detect::candidates(c.group, c.view, c.now);
    let to = target(c.group, primary, request, &candidates);
    let chosen = candidate(&mut list, c, Some(primary), to);
    if let Some(to) = chosen {
        reachable(&mut list, "candidate_reachable", c.group, &to.name, c.view, c.now);
    }
    let asked = asked(request, true);
    list.finish(|| Some(start_endpoint(c, Some(primary), chosen?, asked)))
}

pub(super) fn failover(c: &Context<'_>, primary: Option<&Primary>, request: &Request) -> Checked {
    let mut list = Checklist::default();
    no_transition(&mut list, c.group, true);
    if let Some(primary) = primary {
        let left = lease::over_at(c.group, c.view).since(c.now).as_millis();
        let detail = format!("the gates to {} close, or their leases end within {left} ms", primary.member);
        list.check("fence_unproven", true, detail);
    } else {
        let shut = detect::nothing_leads(c.group, c.view, c.now);
        let detail =
            if shut { "no gate leads anywhere" } else { "not every gate is known to be shut; try again" };
        list.check("fence_unproven", shut, detail);
    }
    let candidates = detect::candidates(c.group, c.view, c.now);
    let to = match (&request.to, primary) {
        (None, Some(primary)) => target(c.group, primary, request, &candidates),
        (to, _) => to.as_ref(),
    };
    let chosen = candidate(&mut list, c, primary, to);
    let asked = asked(request, false);
    list.finish(|| Some(start_endpoint(c, primary, chosen?, asked)))
}

fn asked(request: &Request, planned: bool) -> Asked {
    Asked {
        cause: request.cause,
        planned,
        requested_by: Some(request.requested_by.clone()),
        reason: request.reason.clone(),
        loss_accepted: false,
    }
}

/// A node that holds a lease and is not heard cannot say that its gates are shut: its lease would have to be waited out.
fn gates_hear(list: &mut Checklist, c: &Context<'_>) {
    let heard = |id| c.view.heard.get(id).is_some_and(|at| c.now.since(*at) <= CURRENT_WITHIN);
    let holders = lease::holders(c.group, c.view, c.now);
    let away: Vec<String> = holders.iter().filter(|id| !heard(*id)).map(|id| format!("n{id}")).collect();
    let detail = if away.is_empty() {
        format!("{} nodes may hold a lease, and all are heard", holders.len())
    } else {
        let left = lease::over_at(c.group, c.view).since(c.now).as_millis();
        format!(
            "{} may lead clients to it and is not heard; its lease ends within {left} ms",
            away.join(", ")
        )
    };
    list.check("gates", away.is_empty(), detail);
}

fn candidate<'a>(
    list: &mut Checklist,
    c: &Context<'a>,
    primary: Option<&Primary>,
    to: Option<&MemberName>,
) -> Option<&'a MemberSpec> {
    let group = c.group;
    let Some(to) = to else {
        let others = group.spec.members.iter().filter(|m| primary.is_none_or(|p| p.member != m.name));
        let why = others.filter_map(|m| Some(format!("{} {}", m.name, unfit(c, m)?)));
        let why = why.collect::<Vec<_>>().join("; ");
        list.check("candidate", false, format!("name a member that answers with --to; {why}"));
        return None;
    };
    if primary.is_some_and(|p| p.member == *to) {
        list.check("already_primary", false, format!("{to} is the primary already"));
        return None;
    }
    let member = group.spec.member(to)?;
    let unfit = unfit(c, member);
    let detail = unfit.as_ref().map_or_else(|| format!("{to} answers"), |why| format!("{to} {why}"));
    list.check("candidate", unfit.is_none(), detail);
    Some(member)
}

fn unfit(c: &Context<'_>, member: &MemberSpec) -> Option<String> {
    if member.priority == 0 {
        return Some("has priority 0".to_owned());
    }
    detect::endpoint(c.group, member, c.view, c.now).err()
}
