//! Silence: no answer for longer than `down_after`, at a quorum of sites.

use super::{current, findings};
use crate::view::{Observation, Reach, View};
use crate::{Evidence, GroupName, MemberName, Moment, SiteName};
use std::collections::BTreeSet;
use std::time::Duration;

/// Who has had no answer.
pub(super) struct Silence {
    /// Whether a quorum of sites has had none for longer than `down_after`.
    pub(super) quorum: bool,
    /// What those who see it down have seen.
    pub(super) evidence: Vec<Evidence>,
    /// The last answer that anybody had, or since when we look.
    pub(super) since: Option<Moment>,
}

pub(super) fn of(
    group: &GroupName,
    member: &MemberName,
    view: &View,
    now: Moment,
    down_after: Duration,
) -> Silence {
    let mut up: BTreeSet<&SiteName> = BTreeSet::new();
    let mut silent: BTreeSet<&SiteName> = BTreeSet::new();
    let mut evidence = Vec::new();
    let mut last_answer: Option<Moment> = None;
    for (id, site, o) in view.of(group, member) {
        let answered = last_up(o).unwrap_or(view.leading_since);
        last_answer = last_answer.max(Some(answered));
        // A node that has fallen silent itself has no voice.
        if !current(o.at, now) {
            continue;
        }
        let for_so_long = now.since(answered);
        if for_so_long <= down_after {
            up.insert(site);
        } else {
            silent.insert(site);
        }
        let observer = Some((id, site.clone()));
        evidence.extend(findings(&o.reach, for_so_long).into_iter().map(|finding| Evidence {
            observer: observer.clone(),
            member: member.clone(),
            finding,
        }));
    }
    let quorum = silent.difference(&up).count() >= view.site_quorum();
    let since = if evidence.is_empty() { None } else { last_answer };
    Silence { quorum, evidence, since }
}

fn last_up(o: &Observation) -> Option<Moment> {
    match &o.reach {
        Reach::Up(_) => Some(o.at),
        Reach::Down { .. } => o.last_up.as_ref().map(|(at, _)| *at),
    }
}
