//! A group gets its first primary: the one that serves already, or the one that holds the data, or the preferred.
//!
//! Every member must have been seen, so that nobody's data is overwritten unasked. Where two members hold data of
//! different histories an operator decides.

use super::{Context, Step};
use crate::detect::CURRENT_WITHIN;
use crate::view::{MemberRole, MemberStatus};
use crate::{BlockReason, Cause, Command, Loss, MemberSpec, Proof, StartTransition};
use std::cmp::Reverse;
use std::time::Duration;

const RULE: &str = "first_primary";
/// How long members may stay unseen before the operator is told.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn steps(c: &Context<'_>) -> Vec<Step> {
    match choose(c) {
        Ok(member) => Context::propose(RULE, start(c, member)),
        Err(Undecided::NotSeenYet(_)) if c.now.since(c.view.leading_since) < PATIENCE => vec![],
        Err(Undecided::NotSeenYet(detail) | Undecided::Ambiguous(detail)) => {
            let reason = BlockReason::NoFirstPrimary { detail };
            if c.group.blocked.as_ref().is_some_and(|b| b.reason == reason) {
                return vec![];
            }
            let (group, epoch) = (c.group.spec.name.clone(), c.group.epoch_last());
            Context::propose(RULE, Command::Block { group, epoch, reason, at: c.wall })
        }
    }
}

enum Undecided {
    NotSeenYet(String),
    Ambiguous(String),
}

fn choose<'a>(c: &Context<'a>) -> Result<&'a MemberSpec, Undecided> {
    let mut seen: Vec<(&MemberSpec, &MemberStatus)> = Vec::new();
    let mut missing = Vec::new();
    for m in &c.group.spec.members {
        let fresh = c.view.freshest(&c.group.spec.name, &m.name);
        match fresh.filter(|(at, s)| c.now.since(*at) <= CURRENT_WITHIN && !s.loading) {
            Some((_, status)) => seen.push((m, status)),
            None => missing.push(m.name.as_str()),
        }
    }
    if !missing.is_empty() {
        return Err(Undecided::NotSeenYet(format!("{} cannot be reached", missing.join(", "))));
    }
    if let Some(member) = serving(&seen) {
        return Ok(member);
    }
    let eligible = || seen.iter().filter(|(m, _)| m.priority > 0);
    let with_data: Vec<_> = seen.iter().filter(|(_, s)| s.keys > 0).collect();
    let chosen = match with_data.as_slice() {
        [] => eligible().min_by_key(|(m, _)| Reverse(m.priority)),
        [(_, first), rest @ ..] => {
            if let Some((other, _)) = rest.iter().find(|(_, s)| s.replid != first.replid) {
                let detail =
                    format!("{} and {} hold data of different histories", with_data[0].0.name, other.name);
                return Err(Undecided::Ambiguous(detail));
            }
            eligible()
                .filter(|(_, s)| s.keys > 0)
                .min_by_key(|(m, s)| (Reverse(s.reach_bytes()), Reverse(m.priority)))
        }
    };
    let nobody = || Undecided::Ambiguous("the members that hold data have priority 0".to_owned());
    chosen.map(|(m, _)| *m).ok_or_else(nobody)
}

/// The one primary that all others follow: a deployment that ran before us is adopted as it is.
fn serving<'a>(seen: &[(&'a MemberSpec, &MemberStatus)]) -> Option<&'a MemberSpec> {
    let mut primaries = seen.iter().filter(|(_, s)| s.is_primary());
    let (member, _) = primaries.next()?;
    if primaries.next().is_some() || member.priority == 0 {
        return None;
    }
    let follows = |s: &MemberStatus| match &s.role {
        MemberRole::Replica { host, port, .. } => {
            *host == member.address.host && *port == member.address.port
        }
        MemberRole::Primary { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => false,
    };
    let all = seen.iter().filter(|(m, _)| m.name != member.name).all(|(_, s)| follows(s));
    all.then_some(*member)
}

fn start(c: &Context<'_>, to: &MemberSpec) -> Command {
    Command::StartTransition(Box::new(StartTransition {
        group: c.group.spec.name.clone(),
        from: None,
        to: to.name.clone(),
        cause: Cause::Initial,
        planned: false,
        requested_by: None,
        reason: None,
        evidence: vec![],
        proof: Some(Proof::Vacant),
        expected: None,
        to_run_id: None,
        end: None,
        rescue: None,
        lost: Loss::Exact(0),
        loss_accepted: false,
        detected_at: c.wall,
        at: c.wall,
    }))
}
