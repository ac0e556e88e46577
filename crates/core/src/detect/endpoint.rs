//! What can be known of endpoints: whether they answer, and whether anything still leads to them.
//!
//! The problem: an endpoint cannot be asked to refuse anybody, and its silence says nothing of what it still does. The
//! idea: only gates lead to it, each under a lease, so they are its fence. It is shut when every node that may hold a
//! lease says that its gates are, or when every lease is over.

use super::{Candidate, Health, verdict};
use crate::view::View;
use crate::{Evidence, Finding, Group, MemberName, MemberSpec, Moment, NodeId, Proof, Transition, lease};
use std::time::Duration;

/// The code that stands for a refused write where gates are the fence.
const GATES_CLOSED: &str = "GATES_CLOSED";
/// A health check may take its time: an answer is good for so long while nobody's last word is another one.
const ANSWER_GOOD_FOR: Duration = Duration::from_secs(1);

/// A member that may be promoted: one that answers.
///
/// # Errors
/// Why it may not, in words.
pub fn candidate<'a>(
    group: &Group,
    member: &'a MemberSpec,
    view: &View,
    now: Moment,
) -> Result<Candidate<'a>, String> {
    let answer = view.freshest(&group.spec.name, &member.name);
    let answers = answer.is_some_and(|(at, _)| now.since(at) <= ANSWER_GOOD_FOR);
    match verdict(group, &member.name, view, now).health {
        Health::Up if answers => {
            Ok(Candidate { member, reach_bytes: 0, history: String::new(), in_lineage: true })
        }
        Health::Unseen => Err("has not been seen yet".to_owned()),
        Health::Up
        | Health::Dead
        | Health::Suspected
        | Health::Silent
        | Health::Restarted
        | Health::Demoted => Err("does not answer".to_owned()),
    }
}

/// Whether no gate leads anywhere in a group without a primary. Another group may have had the same name until now.
pub fn nothing_leads(group: &Group, view: &View, now: Moment) -> bool {
    let report = |node| view.gates.get(&(group.spec.name.clone(), node));
    let shut = |node| report(node).is_some_and(|r| r.epoch == group.epoch_last() && !r.open);
    lease::holders(group, view, now).into_iter().all(shut)
}

/// The proof that nothing leads to the old primary any more, once it is one.
///
/// # Errors
/// The nodes whose leases may not be over and that have not said yet that their gates are shut.
pub fn gates_shut(group: &Group, t: &Transition, view: &View, now: Moment) -> Result<Proof, Vec<NodeId>> {
    let shut = |node: &NodeId| lease::gates_shut(group, t, view, *node);
    let open: Vec<NodeId> = lease::holders(group, view, now).into_iter().filter(|node| !shut(node)).collect();
    if !open.is_empty() {
        return Err(open);
    }
    let begun = view.phase_since.get(&group.spec.name).copied().unwrap_or(view.leading_since);
    let acknowledged = lease::holders(group, view, begun).iter().all(shut);
    let proof = || Proof::Acknowledged { code: GATES_CLOSED.to_owned() };
    Ok(if acknowledged { proof() } else { waited_out(group, t, view, now) })
}

/// A node that held a lease when the fence began has said nothing, and its lease is over.
fn waited_out(group: &Group, t: &Transition, view: &View, now: Moment) -> Proof {
    let ms = now.since(lease::gates_over_at(group, t, view)).as_millis() as u64;
    let over = |member: &MemberName| Evidence {
        observer: None,
        member: member.clone(),
        finding: Finding::LeaseOver { ms },
    };
    Proof::Expired { evidence: t.from.iter().map(over).collect(), min_replicas: 0, undetached: 0 }
}
