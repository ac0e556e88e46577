//! Kafka clusters and the mirrors between them: which kind of work a mirror does, how far it is, what is missing.

use crate::screen::units::{bytes, count, millis, plural};
use primacy_wire::v1;
use primacy_wire::v1::server_status::{Cluster, Partitions};
use serde::Serialize;

/// A bar on a terminal has so many places.
const BAR_WIDTH: u64 = 24;
/// How many topics and groups with something to tell get a line.
const ITEMS_SHOWN: usize = 5;

/// What a Kafka cluster answered last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct KafkaReport {
    pub(crate) cluster_id: String,
    /// `reachable`, `degraded` or `unreachable`.
    pub(crate) state: String,
    pub(crate) brokers: u64,
    pub(crate) controller: Option<i32>,
    pub(crate) topics: u64,
    pub(crate) partitions: u64,
    /// The sum of the offsets at which all partitions end.
    pub(crate) end_records: u64,
    pub(crate) leaderless: PartitionsReport,
    pub(crate) under_replicated: PartitionsReport,
    pub(crate) problems: Vec<String>,
}

/// Partitions, of which the first few are named.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct PartitionsReport {
    pub(crate) count: u64,
    pub(crate) first: Vec<String>,
}

/// What the active cluster has and the standby lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct LagReport {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) ms: u64,
}

/// A topic or a consumer group of a mirror.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MirrorItemReport {
    pub(crate) name: String,
    /// `aligned`, `translated`, `verifying` or `unaligned`; none for a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    pub(crate) partitions: u64,
    pub(crate) lag: LagReport,
    pub(crate) problem: Option<String>,
}

/// The mirror into a member.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MirrorLinkReport {
    /// The node that runs it, or ran it last.
    pub(crate) node: u64,
    pub(crate) running: bool,
    /// `connecting`, `full`, `incremental` or `live`.
    pub(crate) mode: String,
    pub(crate) done_records: u64,
    pub(crate) total_records: u64,
    pub(crate) eta_ms: Option<u64>,
    pub(crate) records_per_second: u64,
    pub(crate) bytes_per_second: u64,
    pub(crate) lag: LagReport,
    /// How old the figures of lag are; none when the active cluster was never heard.
    pub(crate) sample_age_ms: Option<u64>,
    pub(crate) trouble: Option<String>,
    /// The user as whom it writes, where brokers refuse what earlier owners send; none where that is detected.
    pub(crate) writes_as: Option<String>,
    pub(crate) topic_count: u64,
    /// With trouble or lag first; not all of many.
    pub(crate) topics: Vec<MirrorItemReport>,
    pub(crate) group_count: u64,
    pub(crate) groups: Vec<MirrorItemReport>,
}

impl KafkaReport {
    pub(crate) fn of(status: v1::ClusterMemberStatus, reachable: bool) -> Option<KafkaReport> {
        let answer: Cluster = status.answer?;
        let (leaderless, under_replicated) = (listed(answer.leaderless), listed(answer.under_replicated));
        let state = match (reachable, leaderless.count + under_replicated.count) {
            (false, _) => "unreachable",
            (true, 0) => "reachable",
            (true, _) => "degraded",
        };
        Some(KafkaReport {
            cluster_id: status.cluster_id,
            state: state.to_owned(),
            brokers: answer.brokers,
            controller: answer.controller,
            topics: answer.topics,
            partitions: answer.partitions,
            end_records: answer.end_records,
            leaderless,
            under_replicated,
            problems: answer.problems,
        })
    }

    pub(crate) fn line(&self, member: &str) -> String {
        format!(
            "cluster {member}: {}, {}, {}, {}, {}, id {}",
            self.state,
            plural(self.brokers, "broker"),
            plural(self.topics, "topic"),
            plural(self.partitions, "partition"),
            plural(self.end_records, "record"),
            self.cluster_id
        )
    }
}

fn listed(partitions: Option<Partitions>) -> PartitionsReport {
    partitions.map_or_else(PartitionsReport::default, |p| PartitionsReport { count: p.count, first: p.first })
}

impl MirrorLinkReport {
    /// The lines under the members, with a bar where a person looks on.
    pub(crate) fn lines(&self, member: &str, bar: bool) -> Vec<String> {
        let mut lines = vec![format!("mirror to {member}: {}", self.words(bar))];
        let telling = |item: &&MirrorItemReport| item.problem.is_none() && item.lag.records > 0;
        for (what, items) in [("topic", &self.topics), ("group", &self.groups)] {
            let behind = items.iter().filter(telling).take(ITEMS_SHOWN);
            lines.extend(behind.map(|item| format!("  {what} {}: {}", item.name, item.lag.words())));
        }
        lines
    }

    fn words(&self, bar: bool) -> String {
        let at =
            if self.running { format!("by n{}", self.node) } else { format!("stopped, n{} last", self.node) };
        let age = match self.sample_age_ms {
            None => "the active cluster was not heard yet".to_owned(),
            Some(ms) => format!("{}, sample {} old", self.lag.words(), millis(ms as f64)),
        };
        let of = format!("{} {}{}", plural(self.topic_count, "topic"), self.alignment(), self.owners());
        match self.mode.as_str() {
            "full" | "incremental" => format!("{} copy {at}, {}; {age}; {of}", self.mode, self.progress(bar)),
            mode => {
                let speed = match self.records_per_second {
                    0 => String::new(),
                    n => format!(", {} records/s", count(n)),
                };
                format!("{mode} {at}, {age}{speed}; {of}")
            }
        }
    }

    /// The same without the numbers that move all the time.
    pub(crate) fn rest(&mut self) {
        (self.done_records, self.total_records, self.eta_ms) = (0, 0, None);
        (self.records_per_second, self.bytes_per_second) = (0, 0);
        (self.lag, self.sample_age_ms) = (LagReport::default(), None);
        for item in self.topics.iter_mut().chain(&mut self.groups) {
            item.lag = LagReport::default();
        }
    }

    /// How a standby is protected from earlier owners that still write.
    fn owners(&self) -> String {
        match &self.writes_as {
            Some(user) => format!("; writes as {user}, earlier owners are shut out"),
            None if self.is_of_others() => String::new(),
            None => "; earlier owners are detected".to_owned(),
        }
    }

    /// Whether somebody else copies.
    fn is_of_others(&self) -> bool {
        self.topics.iter().any(|topic| topic.state.is_none())
    }

    fn alignment(&self) -> String {
        let of = |state: &str| self.topics.iter().filter(|t| t.state.as_deref() == Some(state)).count();
        if self.is_of_others() {
            return "watched".to_owned();
        }
        match (of("unaligned"), of("verifying"), of("translated")) {
            (0, 0, 0) => "aligned".to_owned(),
            (0, 0, translated) => format!("({translated} translated)"),
            (0, verifying, _) => format!("({verifying} being verified)"),
            (unaligned, _, _) => format!("({unaligned} unaligned)"),
        }
    }

    fn progress(&self, bar: bool) -> String {
        let done = self.done_records.min(self.total_records);
        let part = |of: u64| (done * of).checked_div(self.total_records).unwrap_or(of);
        let drawn = if bar {
            let filled = part(BAR_WIDTH);
            let (full, empty) = ("#".repeat(filled as usize), "-".repeat((BAR_WIDTH - filled) as usize));
            format!("[{full}{empty}] ")
        } else {
            String::new()
        };
        let left = match self.eta_ms {
            None => String::new(),
            Some(ms) => format!(", about {} s left", ms.div_ceil(1_000)),
        };
        format!(
            "{drawn}{} %, {} of {} records, {}/s{left}",
            part(100),
            count(done),
            count(self.total_records),
            bytes(self.bytes_per_second)
        )
    }
}

impl LagReport {
    pub(crate) fn words(&self) -> String {
        match self.records {
            0 => "nothing behind".to_owned(),
            n => {
                format!("{} behind ({}, {})", plural(n, "record"), bytes(self.bytes), millis(self.ms as f64))
            }
        }
    }
}

impl From<v1::MirrorLag> for LagReport {
    fn from(lag: v1::MirrorLag) -> Self {
        LagReport { records: lag.records, bytes: lag.bytes, ms: lag.ms }
    }
}

impl From<v1::MirrorItem> for MirrorItemReport {
    fn from(item: v1::MirrorItem) -> Self {
        MirrorItemReport {
            name: item.name,
            state: Some(item.state).filter(|state| !state.is_empty()),
            partitions: item.partitions,
            lag: item.lag.map(LagReport::from).unwrap_or_default(),
            problem: item.problem,
        }
    }
}

/// The report of a mirror; none where the answer lacks it.
pub(crate) fn link(status: v1::MirrorStatus) -> Option<MirrorLinkReport> {
    let report = status.report?;
    let mode = v1::MirrorMode::try_from(report.mode).ok().map(|mode| mode.as_str_name());
    Some(MirrorLinkReport {
        node: status.node_id,
        running: report.running,
        mode: super::word(mode, "MIRROR_MODE_"),
        done_records: report.done_records,
        total_records: report.total_records,
        eta_ms: report.eta_ms,
        records_per_second: report.records_per_second,
        bytes_per_second: report.bytes_per_second,
        lag: report.lag.map(LagReport::from).unwrap_or_default(),
        sample_age_ms: report.sampled_age_us.map(|us| us / 1_000),
        trouble: report.trouble,
        writes_as: report.writes_as,
        topic_count: report.topic_count,
        topics: report.topics.into_iter().map(Into::into).collect(),
        group_count: report.group_count,
        groups: report.groups.into_iter().map(Into::into).collect(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use expect_test::expect;

    fn mirror(mode: &str) -> MirrorLinkReport {
        let item = |name: &str, records| MirrorItemReport {
            name: name.into(),
            state: Some("aligned".into()),
            partitions: 6,
            lag: LagReport { records, bytes: records * 100, ms: 40 },
            problem: None,
        };
        MirrorLinkReport {
            node: 3,
            running: true,
            mode: mode.into(),
            done_records: 1_200_000,
            total_records: 2_400_000,
            eta_ms: Some(31_400),
            records_per_second: 2_013,
            bytes_per_second: 94_371_840,
            lag: LagReport { records: 340, bytes: 34_000, ms: 40 },
            sample_age_ms: Some(12),
            trouble: None,
            writes_as: None,
            topic_count: 2,
            topics: vec![item("orders", 340), item("clicks", 0)],
            group_count: 0,
            groups: vec![],
        }
    }

    #[test]
    fn each_kind_of_work_says_how_far_it_is() {
        let full = mirror("full").lines("west", true);
        let plain = mirror("incremental").lines("west", false);
        let shut = Some("primacy-mirror-2".into());
        let live = MirrorLinkReport { writes_as: shut, ..mirror("live") }.lines("west", true);
        let still = MirrorLinkReport {
            running: false,
            lag: LagReport::default(),
            sample_age_ms: None,
            topics: vec![],
            records_per_second: 0,
            ..mirror("connecting")
        };
        let all = [full, plain, live, still.lines("west", false)].concat().join("\n");
        expect![[r"
            mirror to west: full copy by n3, [############------------] 50 %, 1,200,000 of 2,400,000 records, 90 MiB/s, about 32 s left; 340 records behind (33 KiB, 40 ms), sample 12 ms old; 2 topics aligned; earlier owners are detected
              topic orders: 340 records behind (33 KiB, 40 ms)
            mirror to west: incremental copy by n3, 50 %, 1,200,000 of 2,400,000 records, 90 MiB/s, about 32 s left; 340 records behind (33 KiB, 40 ms), sample 12 ms old; 2 topics aligned; earlier owners are detected
              topic orders: 340 records behind (33 KiB, 40 ms)
            mirror to west: live by n3, 340 records behind (33 KiB, 40 ms), sample 12 ms old, 2,013 records/s; 2 topics aligned; writes as primacy-mirror-2, earlier owners are shut out
              topic orders: 340 records behind (33 KiB, 40 ms)
            mirror to west: connecting stopped, n3 last, the active cluster was not heard yet; 2 topics aligned; earlier owners are detected"]]
        .assert_eq(&all);
    }
}
