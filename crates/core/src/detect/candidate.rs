//! Who may become primary. Lineage first: an offset of another history is only a number.

use super::{CURRENT_WITHIN, Health, verdict};
use crate::view::{MemberRole, MemberStatus, View};
use crate::{Group, GroupKind, MemberName, MemberSpec, Moment, Primary};
use std::cmp::Reverse;

/// A member that may be promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Which.
    pub member: &'a MemberSpec,
    /// How far its data reaches, in bytes of the stream.
    pub reach_bytes: u64,
    /// The replication id that it must still hold when it is promoted.
    pub history: String,
    /// Whether its link was completed in the present lineage; otherwise it holds the previous one, not diverged.
    pub in_lineage: bool,
}

/// Those that may be promoted in place of the present primary, best first: who completed its link in the present
/// lineage, then the highest offset read live, then priority, then the order of the file.
pub fn candidates<'a>(group: &'a Group, view: &View, now: Moment) -> Vec<Candidate<'a>> {
    let Some(primary) = &group.primary else { return vec![] };
    let mut found: Vec<Candidate<'a>> =
        group.spec.members.iter().filter_map(|m| candidate(group, primary, m, view, now).ok()).collect();
    found.sort_by_key(|c| (Reverse(c.in_lineage), Reverse(c.reach_bytes), Reverse(c.member.priority)));
    found
}

/// Why a member may not be promoted; none when it may.
pub fn why_not(group: &Group, member: &MemberName, view: &View, now: Moment) -> Option<String> {
    let primary = group.primary.as_ref()?;
    let spec = group.spec.member(member)?;
    candidate(group, primary, spec, view, now).err()
}

fn candidate<'a>(
    group: &Group,
    primary: &Primary,
    member: &'a MemberSpec,
    view: &View,
    now: Moment,
) -> Result<Candidate<'a>, String> {
    if member.name == primary.member {
        return Err("is the primary".to_owned());
    }
    if member.priority == 0 {
        return Err("has priority 0".to_owned());
    }
    match group.spec.kind {
        GroupKind::Redis => {}
        GroupKind::Endpoint => return super::endpoint::candidate(group, member, view, now),
        GroupKind::Kafka => {
            return Err("is a Kafka cluster: this version makes no other one active".to_owned());
        }
    }
    let name = &group.spec.name;
    let fresh = view.freshest(name, &member.name).filter(|(at, _)| now.since(*at) <= CURRENT_WITHIN);
    let Some((_, status)) = fresh else {
        return Err(match verdict(group, &member.name, view, now).health {
            Health::Unseen => "has not been seen yet".to_owned(),
            Health::Dead => "is dead".to_owned(),
            Health::Up | Health::Suspected | Health::Silent | Health::Restarted | Health::Demoted => {
                "does not answer".to_owned()
            }
        });
    };
    if status.loading {
        return Err("is loading its data".to_owned());
    }
    if matches!(status.role, MemberRole::Primary { .. }) && !holds(status, primary) {
        return Err("is a primary of its own".to_owned());
    }
    let start = &primary.lineage.start;
    let reach_bytes = status.reach_bytes();
    if holds(status, primary) {
        let history = start.replid.clone();
        return Ok(Candidate { member, reach_bytes, history, in_lineage: true });
    }
    match &primary.lineage.previous {
        Some(previous) if status.replid == *previous && reach_bytes <= start.offset_bytes => {
            Ok(Candidate { member, reach_bytes, history: previous.clone(), in_lineage: false })
        }
        _ => Err("never completed its link in the present lineage".to_owned()),
    }
}

/// Whether a member's data is of the lineage that the primary's promotion began.
fn holds(status: &MemberStatus, primary: &Primary) -> bool {
    status.replid == primary.lineage.start.replid
}
