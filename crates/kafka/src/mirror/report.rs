//! Turns what the loop knows into what others are told.

use super::engine::{Copied, Engine, READING, WRITING};
use super::part::{Part, Phase};
use super::{Lag, Mode, PartitionStatus, Progress, TopicState, TopicStatus};
use std::time::{Duration, Instant};

/// A lag of fewer seconds is what a live mirror has.
const LIVE_SECONDS: f64 = 2.0;

/// How much what was measured last counts.
const WEIGHT: f64 = 0.2;

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
    let topics: std::collections::BTreeMap<_, _> = topics.collect();
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
    let troubles = engine.troubles.clone();
    engine.context.status.send_modify(|status| {
        status.topics = topics;
        status.lag = lag;
        status.progress = progress;
        status.mode = mode;
        status.sampled = sampled.or(status.sampled);
        status.problems.retain(|doing, _| !doing.starts_with(READING) && !doing.starts_with(WRITING));
        status.problems.extend(troubles);
    });
}

fn describe(topic: &Copied, parts: &[Part], record_bytes: f64, now: Instant) -> TopicStatus {
    let partitions = topic.parts.iter().filter_map(|(number, part)| {
        let part = parts.get(*part)?;
        let target_end = (part.generation > 0 || part.is_running()).then_some(part.acked);
        let lag = part.lag(record_bytes, now);
        Some((*number, PartitionStatus { source_end: part.source_end, target_end, lag }))
    });
    let running = topic.parts.values().all(|part| parts.get(*part).is_some_and(Part::is_running));
    let state = match &topic.unaligned {
        Some(why) => TopicState::Unaligned(why.clone()),
        None if running => TopicState::Aligned,
        None => TopicState::Verifying,
    };
    TopicStatus { state, partitions: partitions.collect() }
}

fn progress(parts: &[Part], meter: &Meter) -> Progress {
    let running = parts.iter().filter(|part| part.is_running());
    let (done, total) = running.fold((0, 0), |(done, total), part| {
        let end = part.source_end.unwrap_or(part.acked).max(part.acked);
        (done + (part.acked - part.from), total + (end - part.from))
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
    let behind = |part: &&Part| part.is_running() && part.source_end.is_some_and(|end| end > part.acked);
    if parts.is_empty() || (!settling && lag.seconds < LIVE_SECONDS) {
        return Mode::Live;
    }
    if parts.iter().filter(behind).any(|part| part.first_copy) { Mode::Full } else { Mode::Incremental }
}
