//! Turns what the loop knows into what others are told.

use super::engine::{Copied, Engine, PREPARING, READING, WRITING};
use super::part::{Part, Phase};
use super::{Lag, Mode, PartitionStatus, Progress, TopicState, TopicStatus};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// A lag of fewer seconds is what a live mirror has.
const LIVE_SECONDS: f64 = 2.0;

/// How much what was measured last counts.
const WEIGHT: f64 = 0.2;

/// Partitions that are named with what goes wrong in them; there may be thousands.
const PARTITIONS_NAMED: usize = 5;

/// How much is copied, and how fast lately.
#[derive(Debug, Default)]
pub(super) struct Meter {
    records: u64,
    bytes: u64,
    measured: Option<(Instant, u64, u64)>,
    records_per_second: f64,
    bytes_per_second: f64,
}

impl Meter {
    pub(super) fn copied(&mut self, records: i32, bytes: usize) {
        self.records += u64::from(records.unsigned_abs());
        self.bytes += bytes as u64;
    }

    /// The mean size of a record, as it crosses.
    fn record_bytes(&self) -> f64 {
        if self.records == 0 { 0.0 } else { self.bytes as f64 / self.records as f64 }
    }

    fn measure(&mut self, now: Instant) {
        if let Some((at, records, bytes)) = self.measured {
            let seconds = now.saturating_duration_since(at).as_secs_f64().max(1e-3);
            let blend = |old: f64, new: u64| old + WEIGHT * (new as f64 / seconds - old);
            self.records_per_second = blend(self.records_per_second, self.records - records);
            self.bytes_per_second = blend(self.bytes_per_second, self.bytes - bytes);
        }
        self.measured = Some((now, self.records, self.bytes));
    }
}

/// Tells the state of everything.
pub(super) fn publish(engine: &mut Engine, now: Instant) {
    engine.meter.measure(now);
    let (meter, parts) = (&engine.meter, &engine.parts);
    let size = meter.record_bytes();
    let topics =
        engine.topics.iter().map(|(name, topic)| (name.to_string(), describe(topic, parts, size, now)));
    let topics: BTreeMap<_, _> = topics.collect();
    let lag = topics.values().flat_map(|t| t.partitions.values()).fold(Lag::default(), |sum, p| Lag {
        records: sum.records + p.lag.records,
        bytes: sum.bytes + p.lag.bytes,
        seconds: sum.seconds.max(p.lag.seconds),
    });
    let progress = progress(parts, meter);
    let mode = mode(parts, lag);
    // Lanes that carry nothing any more say nothing; what is not fetched is asked for.
    let heard = engine.pulls.values().filter(|pull| pull.busy).filter_map(|pull| pull.heard);
    let sampled = heard.chain(engine.looked).min();
    let troubles = troubles(engine);
    engine.context.status.send_modify(|status| {
        status.topics = topics;
        status.lag = lag;
        status.progress = progress;
        status.mode = mode;
        status.sampled = sampled.or(status.sampled);
        let of_ours = [READING, WRITING, PREPARING];
        status.problems.retain(|doing, _| !of_ours.iter().any(|ours| doing.starts_with(ours)));
        status.problems.extend(troubles);
    });
}

/// What goes wrong, by what is being done with which topic, with the partitions that it concerns.
fn troubles(engine: &Engine) -> BTreeMap<String, String> {
    const LEADERLESS: &str =
        "nobody leads it; bring the brokers back that hold it, or their disks, of which one may be full";
    let known = engine.troubles.iter().map(|((doing, part), why)| (*doing, *part, why.as_str()));
    let parts = engine.parts.iter().enumerate().filter(|(_, part)| part.phase != Phase::Stopped);
    let leaderless = parts.flat_map(|(index, part)| {
        let there = engine.is_on_both_sides(&part.place);
        let at_source = (there && part.source_leader.is_none()).then_some((READING, index, LEADERLESS));
        let at_target = (there && part.target_leader.is_none() && !engine.is_unproven(&part.place))
            .then_some((WRITING, index, LEADERLESS));
        at_source.into_iter().chain(at_target)
    });
    let mut grouped: BTreeMap<(String, &str), Vec<i32>> = BTreeMap::new();
    for (doing, part, why) in known.chain(leaderless) {
        let (topic, partition) = &engine.parts[part].place;
        grouped.entry((format!("{doing}{topic}"), why)).or_default().push(*partition);
    }
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for ((doing, why), mut partitions) in grouped {
        partitions.sort_unstable();
        let more = if partitions.len() > PARTITIONS_NAMED { ", ..." } else { "" };
        let named: Vec<_> = partitions.iter().take(PARTITIONS_NAMED).map(ToString::to_string).collect();
        let words = format!("{why} (partition {}{more})", named.join(", "));
        told.entry(doing).and_modify(|told| *told = format!("{told}; {words}")).or_insert(words);
    }
    told
}

fn describe(topic: &Copied, parts: &[Part], record_bytes: f64, now: Instant) -> TopicStatus {
    let partitions = topic.parts.iter().filter_map(|(number, part)| {
        let part = parts.get(*part)?;
        let target_end = (part.generation > 0 || part.is_running()).then_some(part.acked);
        let lag = part.lag(record_bytes, now);
        let copied_to = target_end.is_some().then_some(part.reached);
        Some((*number, PartitionStatus { source_end: part.source_end, target_end, copied_to, lag }))
    });
    let running = topic.parts.values().all(|part| parts.get(*part).is_some_and(Part::is_running));
    let state = match &topic.unaligned {
        Some(why) => TopicState::Unaligned(why.clone()),
        None if running => moved(topic, parts).unwrap_or(TopicState::Aligned),
        None => TopicState::Verifying,
    };
    TopicStatus { state, partitions: partitions.collect() }
}

/// Where offsets begin to differ, if they do.
fn moved(topic: &Copied, parts: &[Part]) -> Option<TopicState> {
    topic.parts.iter().find_map(|(partition, part)| {
        let translation = parts.get(*part)?.translation.as_ref()?;
        let offset = translation.lock().unwrap_or_else(PoisonError::into_inner).first_gap();
        Some(TopicState::Translated { partition: *partition, offset })
    })
}

fn progress(parts: &[Part], meter: &Meter) -> Progress {
    let running = parts.iter().filter(|part| part.is_running());
    let (done, total) = running.fold((0, 0), |(done, total), part| {
        let end = part.source_end.unwrap_or(part.reached).max(part.reached);
        (done + (part.reached - part.from), total + (end - part.from))
    });
    let left = (total - done) as f64;
    let pace = meter.records_per_second;
    let eta = if left <= 0.0 {
        Some(Duration::ZERO)
    } else {
        (pace > 1.0).then(|| Duration::from_secs_f64((left / pace).min(1e9)))
    };
    Progress {
        done_records: done.cast_unsigned(),
        total_records: total.cast_unsigned(),
        eta,
        records_per_second: pace,
        bytes_per_second: meter.bytes_per_second,
    }
}

fn mode(parts: &[Part], lag: Lag) -> Mode {
    let settling = parts.iter().any(|part| matches!(part.phase, Phase::Preparing));
    let behind = |part: &&Part| part.is_running() && part.source_end.is_some_and(|end| end > part.reached);
    if parts.is_empty() || (!settling && lag.seconds < LIVE_SECONDS) {
        return Mode::Live;
    }
    if parts.iter().filter(behind).any(|part| part.first_copy) { Mode::Full } else { Mode::Incremental }
}
