//! A failover by hand: unplanned, so it may lose data, but never without a fence.

use super::{Checked, Checklist, Refusal, Request, context, group_and_primary, no_transition};
use crate::detect::{self, CURRENT_WITHIN, Candidate, Health, Until, Verdict};
use crate::plan::{Asked, start};
use crate::view::View;
use crate::{
    FencePolicy, Group, GroupKind, Loss, MemberName, MemberSpec, Moment, Primary, Proof, StartTransition,
    State, WallTime,
};

/// The checks of a failover by hand.
///
/// # Errors
/// [`Refusal`] when the group or member does not exist.
pub fn failover(
    state: &State,
    view: &View,
    request: &Request,
    now: Moment,
    wall: WallTime,
) -> Result<Checked, Refusal> {
    let (group, primary) = group_and_primary(state, request)?;
    match group.spec.kind {
        GroupKind::Redis => {}
        GroupKind::Endpoint => {
            return Ok(super::endpoint::failover(&context(group, view, now, wall), primary, request));
        }
        GroupKind::Kafka => return Err(super::kafka::refused(group)),
    }
    let Some(primary) = primary else { return Ok(first_by_hand(group, view, request, now, wall)) };
    let mut list = Checklist::default();
    no_transition(&mut list, group, false);
    let verdict = detect::verdict(group, &primary.member, view, now);
    let proof = fence(&mut list, group, primary, &verdict, view, now);
    let chosen = choose(&mut list, group, primary, request, view, now);
    let ended = verdict.since.unwrap_or(now);
    let lost = match &chosen {
        Some(Chosen { candidate: c, certain: true }) => {
            let silent = verdict.health == Health::Silent;
            let until = if silent { Until::Notices } else { Until::Gone(ended) };
            detect::loss(group, view, c, until, now)
        }
        Some(_) | None => Loss::Unknown,
    };
    if chosen.is_some() {
        loss(&mut list, group, request, lost);
    }
    Ok(list.finish(|| {
        let Chosen { candidate, certain } = chosen?;
        let c = context(group, view, now, wall);
        let asked = Asked {
            cause: request.cause,
            planned: false,
            requested_by: Some(request.requested_by.clone()),
            reason: request.reason.clone(),
            loss_accepted: request.allow_data_loss,
        };
        let intent = start(&c, primary, &candidate, &verdict, proof, lost, asked);
        let expected = intent.expected.clone().filter(|_| certain);
        Some(StartTransition { expected, ..intent })
    }))
}

/// The fence, where it is proven already; a member that answers is asked in the transition itself.
fn fence(
    list: &mut Checklist,
    group: &Group,
    primary: &Primary,
    verdict: &Verdict,
    view: &View,
    now: Moment,
) -> Option<Proof> {
    let name = &primary.member;
    let waived = group.spec.fence == FencePolicy::None;
    let (passed, detail, proof) = match verdict.health {
        Health::Dead => {
            let proof = Proof::Detached { evidence: verdict.evidence.clone() };
            (true, format!("{name} is dead"), Some(proof))
        }
        Health::Up | Health::Restarted | Health::Demoted => {
            (true, format!("{name} answers and can be fenced"), None)
        }
        Health::Suspected | Health::Silent | Health::Unseen if waived => {
            (true, format!("{name} does not answer; the group says fence = \"none\""), Some(Proof::Waived))
        }
        Health::Silent if detect::can_be_waited_out(group, view, now) => {
            (true, format!("{name} does not answer and will be waited out"), None)
        }
        Health::Suspected | Health::Silent | Health::Unseen => {
            let why = format!(
                "{name} does not answer, and nothing proves that it accepts no writes: make sure that its process is gone \
                 (kill -9 it, or power off its host) and try again"
            );
            (false, why, None)
        }
    };
    list.check("fence_unproven", passed, detail);
    proof
}

struct Chosen<'a> {
    candidate: Candidate<'a>,
    /// Whether its data is of the primary's lineage.
    certain: bool,
}

fn choose<'a>(
    list: &mut Checklist,
    group: &'a Group,
    primary: &Primary,
    request: &Request,
    view: &View,
    now: Moment,
) -> Option<Chosen<'a>> {
    let candidates = detect::candidates(group, view, now);
    let wanted = |c: &Candidate<'_>| request.to.as_ref().is_none_or(|to| c.member.name == *to);
    if let Some(candidate) = candidates.into_iter().find(wanted) {
        list.check("candidate", true, format!("{} can be promoted", candidate.member.name));
        return Some(Chosen { candidate, certain: true });
    }
    // A primary that came back as another process may be taken as it is, too.
    let changed = matches!(
        detect::verdict(group, &primary.member, view, now).health,
        Health::Restarted | Health::Demoted
    );
    let usable = |to: &&MemberName| **to != primary.member || changed;
    let foreign = request.to.as_ref().filter(usable).filter(|_| request.allow_data_loss);
    let any = foreign.and_then(|to| of_any_history(group, to, view, now));
    let (passed, detail) = match (&any, &request.to) {
        (Some(c), _) => {
            (true, format!("{} is promoted with what it holds: --allow-data-loss", c.member.name))
        }
        (None, Some(to)) => {
            let why =
                detect::why_not(group, to, view, now).unwrap_or_else(|| "cannot be promoted".to_owned());
            (false, format!("{to} {why}"))
        }
        (None, None) => {
            let why = group.spec.members.iter().filter(|m| m.name != primary.member);
            let why = why
                .filter_map(|m| Some(format!("{} {}", m.name, detect::why_not(group, &m.name, view, now)?)));
            let why = why.collect::<Vec<_>>().join("; ");
            (false, format!("no member can be promoted: {why}; name one with --to, and --allow-data-loss"))
        }
    };
    list.check("candidate", passed, detail);
    any.map(|candidate| Chosen { candidate, certain: false })
}

/// A member that answers, whatever its history.
fn of_any_history<'a>(group: &'a Group, to: &MemberName, view: &View, now: Moment) -> Option<Candidate<'a>> {
    let member: &MemberSpec = group.spec.member(to).filter(|m| m.priority > 0)?;
    let (at, status) = view.freshest(&group.spec.name, to)?;
    let usable = now.since(at) <= CURRENT_WITHIN && !status.loading;
    let (reach_bytes, history) = (status.reach_bytes(), status.replid.clone());
    usable.then_some(Candidate { member, reach_bytes, history, in_lineage: false })
}

fn loss(list: &mut Checklist, group: &Group, request: &Request, lost: Loss) {
    let budget = group.spec.max_loss;
    let within = budget.allows(lost);
    let detail = if within {
        format!("would lose {} (budget {budget})", amount(lost))
    } else if request.allow_data_loss {
        format!("would lose {}: accepted by --allow-data-loss", amount(lost))
    } else {
        format!("would lose {}, the budget is {budget}; --allow-data-loss accepts it", amount(lost))
    };
    list.check("loss_over_budget", within || request.allow_data_loss, detail);
}

fn amount(lost: Loss) -> String {
    match lost {
        Loss::Exact(n) => format!("{n} bytes"),
        Loss::AtMost(n) => format!("up to {n} bytes"),
        Loss::Unknown => "an unknown amount".to_owned(),
    }
}

/// The first primary, named by an operator because the members do not say which it should be.
fn first_by_hand(group: &Group, view: &View, request: &Request, now: Moment, wall: WallTime) -> Checked {
    let mut list = Checklist::default();
    no_transition(&mut list, group, false);
    let named = request.to.is_some();
    list.check(
        "first_primary",
        named,
        match &request.to {
            Some(to) => format!("{to} becomes the first primary"),
            None => "the group has no primary yet: name one with --to".to_owned(),
        },
    );
    let accepted = "what the other members hold is discarded: --allow-data-loss accepts it";
    list.check("loss_over_budget", request.allow_data_loss, accepted);
    let chosen = request.to.as_ref().and_then(|to| of_any_history(group, to, view, now));
    if let Some(to) = &request.to {
        let usable = chosen.is_some();
        let detail = if usable { "answers" } else { "does not answer, is loading, or has priority 0" };
        list.check("candidate", usable, format!("{to} {detail}"));
    }
    list.finish(|| {
        let candidate = chosen?;
        Some(StartTransition {
            group: group.spec.name.clone(),
            from: None,
            to: candidate.member.name.clone(),
            cause: request.cause,
            planned: false,
            requested_by: Some(request.requested_by.clone()),
            reason: request.reason.clone(),
            evidence: vec![],
            proof: Some(Proof::Vacant),
            expected: None,
            to_run_id: None,
            end: None,
            rescue: None,
            lost: Loss::Unknown,
            loss_accepted: true,
            detected_at: wall,
            at: wall,
        })
    })
}
