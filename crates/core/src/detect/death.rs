//! Certain death: beyond what a firewall or a slow network could imitate.

use super::{Health, Verdict, current, findings};
use crate::view::{ConnectFailure, LinkEnd, MemberRole, Observation, Reach, View};
use crate::{Evidence, Finding, Group, MemberName, Moment, NodeId, SiteName};
use std::collections::BTreeSet;
use std::time::Duration;

/// The verdict `Dead`, if it is certain.
pub(super) fn certain(group: &Group, member: &MemberName, view: &View, now: Moment) -> Option<Verdict> {
    let name = &group.spec.name;
    // News of death counts only when nobody has had an answer since.
    let answered = view.of(name, member).filter(|(_, _, o)| o.status().is_some()).map(|(_, _, o)| o.at).max();
    let newer = |o: &Observation| answered.is_none_or(|at| o.at >= at);
    let votes: Vec<(NodeId, &SiteName, &Observation)> = view
        .of(name, member)
        .filter(|(_, _, o)| current(o.at, now) && newer(o) && (ended(o) || exited(o)))
        .collect();
    let sites: BTreeSet<&SiteName> = votes.iter().map(|(_, site, _)| *site).collect();
    let seen_to_exit = votes.iter().any(|(_, _, o)| exited(o));
    if !seen_to_exit && sites.len() < view.site_quorum() {
        return None;
    }
    let links_down = links(group, member, view, now)?;
    let mut evidence = Vec::new();
    for (id, site, o) in &votes {
        for finding in findings(&o.reach, Duration::ZERO) {
            let observer = Some((*id, (*site).clone()));
            evidence.push(Evidence { observer, member: member.clone(), finding });
        }
    }
    evidence.extend(links_down);
    let since = votes.iter().filter_map(|(_, _, o)| down_since(o)).min();
    Some(Verdict { health: Health::Dead, evidence, since })
}

/// The connection ended by EOF and a new one was refused since.
fn ended(o: &Observation) -> bool {
    matches!(&o.reach, Reach::Down { ended: Some(LinkEnd::Eof), connect: Some(ConnectFailure::Refused), .. })
}

/// A node on the same host saw the very process exit that last answered, and nobody listens in its place.
fn exited(o: &Observation) -> bool {
    match (&o.reach, &o.last_up) {
        (
            Reach::Down { exited_pid: Some(pid), connect: Some(ConnectFailure::Refused), .. },
            Some((_, last)),
        ) => *pid == last.pid,
        _ => false,
    }
}

fn down_since(o: &Observation) -> Option<Moment> {
    match &o.reach {
        Reach::Down { since, .. } => Some(*since),
        Reach::Up(_) => None,
    }
}

/// Every standby that answers must have lost its link, if the dead one was its primary; a link that is up disagrees.
/// None when one disagrees.
fn links(group: &Group, member: &MemberName, view: &View, now: Moment) -> Option<Vec<Evidence>> {
    let Some(primary) = group.primary.as_ref().filter(|p| p.member == *member) else { return Some(vec![]) };
    let address = group.spec.member(&primary.member).map(|m| &m.address);
    let mut down = Vec::new();
    for standby in group.spec.members.iter().filter(|m| m.name != *member) {
        let Some((at, status)) = view.freshest(&group.spec.name, &standby.name) else { continue };
        let MemberRole::Replica { host, port, link_up, .. } = &status.role else { continue };
        if !current(at, now) || address.is_none_or(|a| a.host != *host || a.port != *port) {
            continue;
        }
        if *link_up {
            return None;
        }
        let member = standby.name.clone();
        down.push(Evidence { observer: None, member, finding: Finding::ReplicaLinkDown });
    }
    Some(down)
}
