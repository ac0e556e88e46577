//! What nodes say of Kafka clusters and of the mirrors between them, on its way to the leader. Ages, not moments: see
//! [`crate::sighting`].

use crate::convert::{chosen, mirror, parsed};
use crate::v1::server_status::{Cluster, Partitions};
use crate::{WireError, v1};
use primacy_core::view::{ClusterStatus, MirrorItem, MirrorLag, MirrorMode, MirrorReport, PartitionList};
use primacy_core::{Epoch, GroupName, MemberName, Moment};
use std::time::Duration;

mirror!(MirrorMode { Connecting, Full, Incremental, Live });

impl From<&PartitionList> for Partitions {
    fn from(list: &PartitionList) -> Self {
        Self { count: list.count, first: list.first.clone() }
    }
}

impl From<Partitions> for PartitionList {
    fn from(list: Partitions) -> Self {
        Self { count: list.count, first: list.first }
    }
}

impl From<&ClusterStatus> for Cluster {
    fn from(status: &ClusterStatus) -> Self {
        Self {
            brokers: status.brokers,
            controller: status.controller,
            topics: status.topics,
            partitions: status.partitions,
            end_records: status.end_records,
            leaderless: Some((&status.leaderless).into()),
            under_replicated: Some((&status.under_replicated).into()),
            problems: status.problems.clone(),
        }
    }
}

impl From<Cluster> for ClusterStatus {
    fn from(cluster: Cluster) -> Self {
        Self {
            brokers: cluster.brokers,
            controller: cluster.controller,
            topics: cluster.topics,
            partitions: cluster.partitions,
            end_records: cluster.end_records,
            leaderless: cluster.leaderless.map(Into::into).unwrap_or_default(),
            under_replicated: cluster.under_replicated.map(Into::into).unwrap_or_default(),
            problems: cluster.problems,
        }
    }
}

impl From<MirrorLag> for v1::MirrorLag {
    fn from(lag: MirrorLag) -> Self {
        Self { records: lag.records, bytes: lag.bytes, ms: lag.ms }
    }
}

impl From<v1::MirrorLag> for MirrorLag {
    fn from(lag: v1::MirrorLag) -> Self {
        Self { records: lag.records, bytes: lag.bytes, ms: lag.ms }
    }
}

impl From<&MirrorItem> for v1::MirrorItem {
    fn from(item: &MirrorItem) -> Self {
        Self {
            name: item.name.clone(),
            partitions: item.partitions,
            lag: Some(item.lag.into()),
            problem: item.problem.clone(),
            state: item.state.clone(),
        }
    }
}

impl From<v1::MirrorItem> for MirrorItem {
    fn from(item: v1::MirrorItem) -> Self {
        Self {
            name: item.name,
            partitions: item.partitions,
            lag: item.lag.map(Into::into).unwrap_or_default(),
            problem: item.problem,
            state: item.state,
        }
    }
}

/// A report as this node made it or knows it, sent at `now` of this node.
pub fn to_wire(
    group: &GroupName,
    member: &MemberName,
    report: &MirrorReport,
    now: Moment,
) -> v1::MirrorReport {
    let age_us = |at: Moment| now.since(at).as_micros() as u64;
    v1::MirrorReport {
        group: group.as_str().to_owned(),
        member: member.as_str().to_owned(),
        epoch: report.epoch.0,
        age_us: age_us(report.at),
        running: report.running,
        mode: v1::MirrorMode::from(report.mode).into(),
        done_records: report.done_records,
        total_records: report.total_records,
        eta_ms: report.eta_ms,
        records_per_second: report.records_per_second,
        bytes_per_second: report.bytes_per_second,
        lag: Some(report.lag.into()),
        sampled_age_us: report.sampled_at.map(age_us),
        trouble: report.trouble.clone(),
        writes_as: report.writes_as.clone(),
        topics: report.topics.iter().map(Into::into).collect(),
        topic_count: report.topic_count,
        groups: report.groups.iter().map(Into::into).collect(),
        group_count: report.group_count,
    }
}

/// The report in this node's monotonic time, sent at `sent`.
///
/// # Errors
/// Names the field that is impossible.
pub fn from_wire(
    report: v1::MirrorReport,
    sent: Moment,
) -> Result<(GroupName, MemberName, MirrorReport), WireError> {
    let at = |age_us: u64| sent.before(Duration::from_micros(age_us));
    let (group, member) = (parsed(&report.group, "group")?, parsed(&report.member, "member")?);
    let report = MirrorReport {
        at: at(report.age_us),
        epoch: Epoch(report.epoch),
        running: report.running,
        mode: chosen::<v1::MirrorMode, _>(report.mode, "mode")?,
        done_records: report.done_records,
        total_records: report.total_records,
        eta_ms: report.eta_ms,
        records_per_second: report.records_per_second,
        bytes_per_second: report.bytes_per_second,
        lag: report.lag.map(Into::into).unwrap_or_default(),
        sampled_at: report.sampled_age_us.map(at),
        trouble: report.trouble,
        writes_as: report.writes_as,
        topics: report.topics.into_iter().map(Into::into).collect(),
        topic_count: report.topic_count,
        groups: report.groups.into_iter().map(Into::into).collect(),
        group_count: report.group_count,
    };
    Ok((group, member, report))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_report_comes_back_as_it_was_and_an_unknown_mode_is_refused() {
        let now = Moment(9_000_000);
        let (group, member) = (GroupName::new("events").unwrap(), MemberName::new("west").unwrap());
        let lag = MirrorLag { records: 3, bytes: 300, ms: 12 };
        let item = MirrorItem {
            name: "orders".to_owned(),
            partitions: 6,
            lag,
            problem: Some("why; remedy".to_owned()),
            state: "unaligned".to_owned(),
        };
        let report = MirrorReport {
            at: Moment(8_000_000),
            epoch: Epoch(7),
            running: true,
            mode: MirrorMode::Incremental,
            done_records: 10,
            total_records: 40,
            eta_ms: Some(5_000),
            records_per_second: 6,
            bytes_per_second: 600,
            lag,
            sampled_at: Some(Moment(7_500_000)),
            trouble: None,
            writes_as: Some("primacy-mirror-2".into()),
            topics: vec![item.clone()],
            topic_count: 1,
            groups: vec![item],
            group_count: 1,
        };
        assert_eq!(report.done_permille(), 250);
        let sent = to_wire(&group, &member, &report, now);
        assert_eq!(from_wire(sent.clone(), now).unwrap(), (group, member, report));
        assert_eq!(from_wire(v1::MirrorReport { mode: 9, ..sent }, now).unwrap_err().field, "mode");
    }

    #[test]
    fn a_cluster_comes_back_as_it_was() {
        let mut leaderless = PartitionList::default();
        leaderless.push("orders", 3);
        let status = ClusterStatus {
            brokers: 3,
            controller: Some(1),
            topics: 2,
            partitions: 12,
            end_records: 99,
            leaderless,
            under_replicated: PartitionList::default(),
            problems: vec!["no right".to_owned()],
        };
        assert_eq!(ClusterStatus::from(Cluster::from(&status)), status);
    }
}
