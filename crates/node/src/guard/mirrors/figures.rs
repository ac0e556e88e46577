//! What a mirror says of itself, for the leader and for the metrics of this node.

use metrics::gauge;
use primacy_core::view::{MirrorItem, MirrorLag, MirrorMode, MirrorReport};
use primacy_core::{Epoch, GroupName, MemberName, Moment};
use primacy_kafka::MirrorStatus;
use primacy_kafka::mirror::{GroupStatus, Lag, Mode, Side, TopicState, TopicStatus};
use std::cmp::Reverse;

/// Of what did not work, so many are told at once.
const PROBLEMS_TOLD: usize = 3;

/// The report of a mirror at `at`.
pub(super) fn report_of(status: &MirrorStatus, epoch: Epoch, running: bool, at: Moment) -> MirrorReport {
    let mut topics: Vec<MirrorItem> =
        status.topics.iter().map(|(name, topic)| of_topic(name, topic)).collect();
    let mut groups: Vec<MirrorItem> =
        status.groups.iter().map(|(name, group)| of_group(name, group)).collect();
    MirrorReport {
        at,
        epoch,
        running,
        mode: match status.mode {
            // Nothing is live that was never heard.
            Mode::Connecting => MirrorMode::Connecting,
            Mode::Live if status.sampled.is_none() => MirrorMode::Connecting,
            Mode::Full => MirrorMode::Full,
            Mode::Incremental => MirrorMode::Incremental,
            Mode::Live => MirrorMode::Live,
        },
        done_records: status.progress.done_records,
        total_records: status.progress.total_records,
        eta_ms: status.progress.eta.map(|eta| eta.as_millis() as u64),
        records_per_second: status.progress.records_per_second.round() as u64,
        bytes_per_second: status.progress.bytes_per_second.round() as u64,
        lag: of_lag(&status.lag),
        sampled_at: status.age().map(|age| at.before(age)),
        writes_as: status.writes_as.clone(),
        trouble: status.stopped.clone().or_else(|| silent(status)).or_else(|| failed(status)),
        topic_count: topics.len() as u64,
        topics: first(&mut topics),
        group_count: groups.len() as u64,
        groups: first(&mut groups),
    }
}

/// Which side does not answer, and why.
fn silent(status: &MirrorStatus) -> Option<String> {
    let of = |which: &str, side: &Side| {
        let error = side.error.as_ref().filter(|_| !side.reachable)?;
        Some(format!("its {which} does not answer: {error}"))
    };
    of("source", &status.source).or_else(|| of("target", &status.target))
}

/// What was tried and did not work, and will be tried again.
fn failed(status: &MirrorStatus) -> Option<String> {
    let told = status.problems.iter().map(|(what, why)| format!("{what}: {why}"));
    let told: Vec<String> = told.take(PROBLEMS_TOLD).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn of_lag(lag: &Lag) -> MirrorLag {
    MirrorLag { records: lag.records, bytes: lag.bytes, ms: (lag.seconds * 1e3).round() as u64 }
}

fn of_topic(name: &str, topic: &TopicStatus) -> MirrorItem {
    let (state, problem) = match &topic.state {
        TopicState::Verifying => ("verifying", None),
        TopicState::Aligned => ("aligned", None),
        TopicState::Translated { .. } => ("translated", None),
        TopicState::Unaligned(why) => ("unaligned", Some(why.to_string())),
    };
    let lags = topic.partitions.values().map(|p| of_lag(&p.lag));
    let lag = lags.fold(MirrorLag::default(), |sum, lag| MirrorLag {
        records: sum.records + lag.records,
        bytes: sum.bytes + lag.bytes,
        ms: sum.ms.max(lag.ms),
    });
    let partitions = topic.partitions.len() as u64;
    MirrorItem { name: name.to_owned(), partitions, lag, problem, state: state.to_owned() }
}

fn of_group(name: &str, group: &GroupStatus) -> MirrorItem {
    MirrorItem {
        name: name.to_owned(),
        partitions: group.partitions.into(),
        lag: MirrorLag { records: group.behind_records, ..MirrorLag::default() },
        problem: group.problem.clone(),
        state: String::new(),
    }
}

/// Those that need to be named: with trouble first, then by what they lack.
fn first(items: &mut Vec<MirrorItem>) -> Vec<MirrorItem> {
    items.sort_by_key(|item| (item.problem.is_none(), item.state == "aligned", Reverse(item.lag.records)));
    items.truncate(MirrorReport::ITEMS_MAX);
    std::mem::take(items)
}

/// Writes down how a mirror is.
pub(super) fn record(group: &GroupName, member: &MemberName, report: &MirrorReport, at: Moment) {
    let labels = [("group", group.to_string()), ("member", member.to_string())];
    let unaligned = report.topics.iter().filter(|topic| topic.problem.is_some()).count();
    gauge!("primacy_mirror_running", &labels).set(f64::from(u8::from(report.running)));
    gauge!("primacy_mirror_lag_records", &labels).set(report.lag.records as f64);
    gauge!("primacy_mirror_lag_bytes", &labels).set(report.lag.bytes as f64);
    gauge!("primacy_mirror_lag_seconds", &labels).set(report.lag.ms as f64 / 1e3);
    gauge!("primacy_mirror_done_ratio", &labels).set(report.done_permille() as f64 / 1e3);
    gauge!("primacy_mirror_bytes_per_second", &labels).set(report.bytes_per_second as f64);
    gauge!("primacy_mirror_unaligned_topics", &labels).set(unaligned as f64);
    let translated = report.topics.iter().filter(|topic| topic.state == "translated").count();
    gauge!("primacy_mirror_translated_topics", &labels).set(translated as f64);
    if let Some(sampled) = report.sampled_at {
        gauge!("primacy_mirror_sample_age_seconds", &labels).set(at.since(sampled).as_secs_f64());
    }
    for mode in [MirrorMode::Connecting, MirrorMode::Full, MirrorMode::Incremental, MirrorMode::Live] {
        let [group, member] = labels.clone();
        let labels = [group, member, ("mode", mode.word().to_owned())];
        gauge!("primacy_mirror_mode", &labels).set(f64::from(u8::from(mode == report.mode)));
    }
}

/// Writes down partitions and consumer groups too, because whoever looks for a stuck one needs them.
pub(super) fn record_parts(group: &GroupName, member: &MemberName, status: &MirrorStatus) {
    let labels = [("group", group.to_string()), ("member", member.to_string())];
    for (topic, of_topic) in &status.topics {
        for (partition, of_partition) in &of_topic.partitions {
            let [group, member] = labels.clone();
            let labels = [group, member, ("topic", topic.clone()), ("partition", partition.to_string())];
            gauge!("primacy_mirror_partition_lag_records", &labels).set(of_partition.lag.records as f64);
        }
    }
    for (consumers, of_group) in &status.groups {
        let [group, member] = labels.clone();
        let labels = [group, member, ("consumer_group", consumers.clone())];
        gauge!("primacy_mirror_group_behind_records", &labels).set(of_group.behind_records as f64);
    }
}
