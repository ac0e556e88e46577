//! Groups of Kafka clusters: one is active, and mirrors make the others like it.
//!
//! The first active cluster is the most preferred one that answers. What was copied to another is of use only once
//! clients can be led there, which this version does not do, so nothing replaces it: when it is silent the group waits
//! for it, and says so.

use super::fail_over::{block, unblock};
use super::{Context, Step};
use crate::detect::{self, Health};
use crate::{BlockReason, Command, MemberName, Primary, StandbyLag};

pub(super) fn steps(c: &Context<'_>) -> Vec<Step> {
    super::endpoint::steps_of(c, watch)
}

/// Says that the active cluster is silent, and that it is not any more.
fn watch(c: &Context<'_>, primary: &Primary) -> Option<(&'static str, Command)> {
    let command = match detect::verdict(c.group, &primary.member, c.view, c.now).health {
        Health::Up => unblock(c),
        Health::Suspected | Health::Unseen => None,
        Health::Silent | Health::Dead | Health::Restarted | Health::Demoted => down(c, primary),
    };
    Some(("watch_cluster", command?))
}

/// Says so once, with what was known of the standbys then: status has what is known since.
fn down(c: &Context<'_>, primary: &Primary) -> Option<Command> {
    let said = c.group.blocked.as_ref().map(|blocked| &blocked.reason);
    if matches!(said, Some(BlockReason::ClusterDown { member, .. }) if *member == primary.member) {
        return None;
    }
    let others = c.group.spec.members.iter().filter(|m| m.name != primary.member);
    let standbys = others.filter_map(|m| lag(c, primary, &m.name)).collect();
    block(c, BlockReason::ClusterDown { member: primary.member.clone(), standbys })
}

/// By the report of the node that runs the mirror into a standby, else by the latest one.
fn lag(c: &Context<'_>, primary: &Primary, member: &MemberName) -> Option<StandbyLag> {
    let reports = c.view.mirrors.get(&(c.group.spec.name.clone(), member.clone()))?;
    let of_epoch = reports.values().filter(|report| report.epoch == primary.epoch);
    let report = of_epoch.max_by_key(|report| (report.running, report.sampled_at, report.at))?;
    let age = c.now.since(report.sampled_at?);
    Some(StandbyLag {
        member: member.clone(),
        records: report.lag.records,
        sample_age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
    })
}
