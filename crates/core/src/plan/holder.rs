//! Who holds the stream at another site, for replies that must survive the loss of the primary's whole site.
//!
//! The problem: a gate lets a reply go because a node elsewhere has the stream that covers it, so after the loss of the
//! site it must be known who that node is. The idea: it is committed before any reply relies on it, and so is every
//! change to going on without one. The present holder stays while it can acknowledge, because each change makes replies
//! wait until the next one has caught up. A degraded group may keep its holder: when that acknowledges again, the
//! change back makes nobody wait.

use super::{Context, Step, StepKind};
use crate::detect;
use crate::{Command, Durability, MemberSpec, Moment, NodeId, OnNoSite, Primary, SiteName};
use std::cmp::Reverse;
use std::time::Duration;

const RULE: &str = "holder";
/// A holder whose node says nothing for so long is replaced.
const AWAY: Duration = Duration::from_secs(2);
/// One that is heard and acknowledges nothing for so long is replaced, if another can be given the stream.
const IDLE: Duration = Duration::from_millis(1_500);

/// What to commit about the holder. Only while the primary serves: what holds the stream of a dead one is all there is.
pub(super) fn steps(c: &Context<'_>, primary: &Primary, member: &MemberSpec) -> Vec<Step> {
    let (node, degraded) = match c.group.spec.durability {
        Durability::Site => wanted(c, primary, &member.site),
        Durability::Async | Durability::Local => (None, false),
    };
    if (node, degraded) == (primary.holder, primary.degraded) {
        return vec![];
    }
    let (group, epoch) = (c.group.spec.name.clone(), primary.epoch);
    let command = Command::AppointHolder { group, epoch, node, degraded, at: c.wall };
    vec![Step { rule: RULE, kind: StepKind::Propose(command) }]
}

/// Who should hold the stream, and whether gates should go on without.
fn wanted(c: &Context<'_>, primary: &Primary, site: &SiteName) -> (Option<NodeId>, bool) {
    let unable_for = unable_since(c, primary).map(|since| c.now.since(since));
    let present = primary.holder.filter(|id| is_elsewhere(c, *id, site) && heard(c, *id));
    let idle = unable_for.is_some_and(|d| d >= IDLE);
    let (fed, refuses) = (can_be_fed(c, site), c.group.spec.on_no_site == OnNoSite::Refuse);
    let node = match present {
        Some(id) if idle && fed => another(c, primary, site).or(Some(id)),
        // Its gates close: nobody could acknowledge anything.
        Some(_) if idle && refuses => None,
        Some(id) => Some(id),
        None if refuses && !fed => None,
        None => another(c, primary, site),
    };
    let degraded = match (c.group.spec.on_no_site, unable_for) {
        (OnNoSite::Refuse, _) | (OnNoSite::Degrade, None) => false,
        (OnNoSite::Degrade, Some(unable)) => {
            let nobody_new = node.is_none() || node == primary.holder;
            primary.degraded || (nobody_new && unable >= Duration::from_millis(c.group.spec.down_after_ms))
        }
    };
    (node, degraded)
}

/// Since when nobody acknowledges the stream elsewhere, as far as this leader can know; none while the holder does.
fn unable_since(c: &Context<'_>, primary: &Primary) -> Option<Moment> {
    let appointed = c.view.holder_since.get(&c.group.spec.name).copied().unwrap_or(c.now);
    let known = appointed.max(c.view.leading_since);
    match (primary.holder, c.view.holder(c.group)) {
        (Some(id), Some((_, report))) if report.covers && !report.sealed => {
            let last = c.view.heard.get(&id).copied().unwrap_or(known);
            (!heard(c, id)).then_some(last)
        }
        (_, Some((_, report))) => Some(report.since.max(appointed)),
        (_, None) => Some(known),
    }
}

/// Whether a holder has somebody to get the stream from, and something to join it to.
fn can_be_fed(c: &Context<'_>, site: &SiteName) -> bool {
    c.view.witness(c.group).is_some_and(|(_, report)| report.attached) && best_site(c, site).is_some()
}

/// A node that is heard at another site than the primary's: beside the best candidate if there is one.
fn another(c: &Context<'_>, primary: &Primary, site: &SiteName) -> Option<NodeId> {
    let best = best_site(c, site);
    let others = c.view.nodes.iter().filter(|(id, at)| *at != site && Some(**id) != primary.holder);
    let others = others.filter(|(id, _)| heard(c, **id));
    others.min_by_key(|(id, at)| (Reverse(best == Some(*at)), **id)).map(|(id, _)| *id)
}

/// The site of the best candidate elsewhere.
fn best_site<'a>(c: &'a Context<'_>, site: &SiteName) -> Option<&'a SiteName> {
    let candidates = detect::candidates(c.group, c.view, c.now);
    candidates.into_iter().map(|candidate| &candidate.member.site).find(|at| *at != site)
}

fn is_elsewhere(c: &Context<'_>, node: NodeId, site: &SiteName) -> bool {
    c.view.nodes.get(&node).is_some_and(|at| at != site)
}

fn heard(c: &Context<'_>, node: NodeId) -> bool {
    c.view.heard.get(&node).is_some_and(|at| c.now.since(*at) <= AWAY)
}
