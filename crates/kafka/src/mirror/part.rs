//! One partition on its way: what is fetched, sent and acknowledged. Pure; time is an argument.

use super::Lag;
use super::context::SharedTranslation;
use super::judge::{Kept, Moved};
use super::translation::Translation;
use crate::batch::{self, Producer};
use crate::calls::Place;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// Requests for one partition under way at once: brokers remember so many batches of a producer, and can tell a
/// repeated one from a new one only among them.
const SENT_MAX: usize = 5;

/// More bytes that wait for the target, and no more are fetched for this partition.
const QUEUED_BYTES_MAX: usize = 4 << 20;

/// Where a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has to be found out where copying begins, not before this time.
    Waiting(Instant),
    /// That is being found out.
    Preparing,
    /// Records are copied.
    Running,
    /// It is left alone.
    Stopped,
}

/// Which offsets of the source a batch stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) from: i64,
    pub(super) end: i64,
    /// Whether compaction took some of its records.
    pub(super) thinned: bool,
}

/// A batch that is to be at `base` on the target.
#[derive(Debug)]
struct Queued {
    base: i64,
    count: i32,
    origin: Origin,
    /// The offset of the source up to which there is nothing more behind it.
    end: i64,
    bytes: Bytes,
    /// Its share of the buffer, given back with the last batch of a fetch.
    _share: Arc<OwnedSemaphorePermit>,
}

/// A partition.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) place: Place,
    pub(super) source_leader: Option<i32>,
    pub(super) target_leader: Option<i32>,
    pub(super) phase: Phase,
    /// Counts how often copying began: what was asked before is not listened to.
    pub(super) generation: u64,
    /// The offset that is fetched next.
    pub(super) next: i64,
    /// The offset that the next batch will have at the target: `next`, unless gaps are left out.
    target_next: i64,
    /// Up to which offset of the source the target has acknowledged all there is: `acked`, unless gaps are left out.
    pub(super) reached: i64,
    /// Where records are, once gaps were left out.
    pub(super) translation: Option<SharedTranslation>,
    /// Where the source's log begins: inside of a batch, when that is beyond `next`.
    pub(super) source_start: i64,
    /// The end of what the target has acknowledged.
    pub(super) acked: i64,
    /// Where this copy began.
    pub(super) from: i64,
    /// Whether the target held nothing when it began.
    pub(super) first_copy: bool,
    pub(super) source_end: Option<i64>,
    pub(super) kept: Option<Kept>,
    /// As whom it is written, and the sequence number of the next batch.
    producer: Producer,
    sequence: i32,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    /// How many of the queue's first are sent, and how many of those not answered.
    sent: usize,
    outstanding: usize,
    /// One of them failed: when all are answered they are sent again, not before the time.
    failed: Option<Instant>,
    clock: LagClock,
}

impl Part {
    pub(super) fn new(place: Place, now: Instant) -> Part {
        Part {
            place,
            source_leader: None,
            target_leader: None,
            phase: Phase::Waiting(now),
            generation: 0,
            next: 0,
            target_next: 0,
            reached: 0,
            translation: None,
            source_start: 0,
            acked: 0,
            from: 0,
            first_copy: false,
            source_end: None,
            kept: None,
            producer: Producer { id: -1, epoch: -1 },
            sequence: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            sent: 0,
            outstanding: 0,
            failed: None,
            clock: LagClock::default(),
        }
    }

    /// Whether it wrote as this producer already, so that sequence numbers cannot begin again.
    pub(super) fn has_written_as(&self, producer: Producer) -> bool {
        self.producer.id == producer.id && self.producer.epoch >= producer.epoch && self.sequence != 0
    }

    /// Forgets what is under way; it will be found out anew where copying begins.
    pub(super) fn restart(&mut self, at: Instant) {
        self.leave(Phase::Waiting(at));
    }

    /// Leaves the partition alone.
    pub(super) fn stop(&mut self) {
        self.leave(Phase::Stopped);
    }

    fn leave(&mut self, phase: Phase) {
        if self.is_running() {
            self.kept = self.kept_now();
        }
        self.phase = phase;
        self.generation += 1;
        self.queue.clear();
        self.queued_bytes = 0;
        self.sent = 0;
        self.outstanding = 0;
        self.failed = None;
    }

    /// What is known of both sides now.
    pub(super) fn kept_now(&self) -> Option<Kept> {
        let moved = self.translation.as_ref().map(|translation| Moved {
            reached: self.reached,
            translation: translation.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        });
        Some(Kept { offset: self.acked, moved, ..self.kept.clone()? })
    }

    /// Copies from `next` on, which comes to `target_next`.
    pub(super) fn run(
        &mut self,
        next: i64,
        target_next: i64,
        translation: Option<SharedTranslation>,
        producer: Producer,
    ) {
        self.phase = Phase::Running;
        self.next = next;
        self.reached = next;
        self.from = next;
        self.target_next = target_next;
        self.acked = target_next;
        self.translation = translation;
        self.producer = producer;
        self.sequence = 0;
        self.clock = LagClock::default();
    }

    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// The offset to ask the source for.
    pub(super) fn wanted(&self) -> i64 {
        self.next.max(self.source_start)
    }

    /// Whether more may be fetched.
    pub(super) fn has_room(&self) -> bool {
        self.queued_bytes < QUEUED_BYTES_MAX
    }

    /// Whether the target holds exactly what was acknowledged.
    pub(super) fn is_idle(&self) -> bool {
        self.is_running() && self.queue.is_empty()
    }

    /// Takes over a batch that comes next.
    pub(super) fn enqueue(
        &mut self,
        mut bytes: BytesMut,
        count: i32,
        origin: Origin,
        share: &Arc<OwnedSemaphorePermit>,
    ) {
        batch::stamp(&mut bytes, self.producer, self.sequence);
        self.sequence = batch::next_sequence(self.sequence, count);
        self.queued_bytes += bytes.len();
        self.queue.push_back(Queued {
            base: self.target_next,
            count,
            origin,
            end: origin.end,
            bytes: bytes.freeze(),
            _share: share.clone(),
        });
        self.target_next += i64::from(count);
        self.next = origin.end;
    }

    /// Goes past offsets without a record, so that the target has others from here on.
    pub(super) fn leave_out(&mut self, end: i64) {
        self.next = self.next.max(end);
        if self.translation.is_none() {
            // What is under way is equal too, and is noted when it is acknowledged.
            self.translation = Some(Arc::new(Mutex::new(Translation::equal_up_to(self.acked))));
        }
        if let Some(last) = self.queue.back_mut() {
            last.end = self.next;
        } else {
            self.reached = self.next;
            self.clock.reached(self.reached);
        }
    }

    /// The batch to send next, if one may be sent now; it counts as sent.
    pub(super) fn send(&mut self, now: Instant) -> Option<(i64, Bytes)> {
        if !self.is_running() {
            return None;
        }
        if self.failed.is_some_and(|until| self.outstanding == 0 && until <= now) {
            self.failed = None;
            self.sent = 0;
        }
        if self.failed.is_some() || self.outstanding >= SENT_MAX {
            return None;
        }
        let queued = self.queue.get(self.sent)?;
        self.sent += 1;
        self.outstanding += 1;
        Some((queued.base, queued.bytes.clone()))
    }

    /// Whether [`send`](Self::send) would give something.
    pub(super) fn can_send(&self, now: Instant) -> bool {
        let ready = match self.failed {
            Some(until) => self.outstanding == 0 && until <= now && !self.queue.is_empty(),
            None => self.outstanding < SENT_MAX && self.sent < self.queue.len(),
        };
        ready && self.is_running()
    }

    /// One of those sent was answered and is at its place.
    pub(super) fn taken(&mut self, base: i64) {
        self.outstanding = self.outstanding.saturating_sub(1);
        // After a failure all are sent again; the broker knows those that it has.
        if self.failed.is_some() || self.queue.front().is_none_or(|first| first.base != base) {
            return;
        }
        if let Some(first) = self.queue.pop_front() {
            self.queued_bytes -= first.bytes.len();
            self.sent = self.sent.saturating_sub(1);
            self.acked = first.base + i64::from(first.count);
            self.reached = first.end;
            if let Some(translation) = &self.translation {
                let mut translation = translation.lock().unwrap_or_else(PoisonError::into_inner);
                let Origin { from, end, thinned } = first.origin;
                if thinned {
                    translation.note_thinned(from, end, first.base, i64::from(first.count));
                } else {
                    translation.note(from, first.base, i64::from(first.count));
                }
            }
            self.clock.reached(self.reached);
        }
    }

    /// One of those sent was not taken, or nobody knows.
    pub(super) fn again(&mut self, until: Instant) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.failed = Some(self.failed.map_or(until, |at| at.max(until)));
    }

    /// Whether one of those sent failed, so that what follows it must.
    pub(super) fn is_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The source said where its log ends.
    pub(super) fn heard(&mut self, end: i64, now: Instant) {
        self.source_end = Some(end);
        self.clock.heard(end, self.reached, now);
    }

    pub(super) fn lag(&self, record_bytes: f64, now: Instant) -> Lag {
        let records = self.source_end.map_or(0, |end| (end - self.reached).max(0)).cast_unsigned();
        let bytes = (records as f64 * record_bytes) as u64;
        Lag { records, bytes, seconds: self.clock.age(now).as_secs_f64() }
    }
}

/// For how long the oldest record that is missing has been known: no clock but ours is needed.
#[derive(Debug, Default)]
struct LagClock {
    /// When the source's end was first heard to be beyond what was reached, in order.
    marks: VecDeque<(Instant, i64)>,
}

impl LagClock {
    const MARKS_MAX: usize = 64;

    fn heard(&mut self, end: i64, reached: i64, now: Instant) {
        if end <= reached || self.marks.back().is_some_and(|(_, last)| *last >= end) {
            return;
        }
        let full = self.marks.len() >= Self::MARKS_MAX;
        match self.marks.back_mut() {
            Some((_, last)) if full => *last = end,
            _ => self.marks.push_back((now, end)),
        }
    }

    fn reached(&mut self, offset: i64) {
        while self.marks.front().is_some_and(|(_, end)| *end <= offset) {
            self.marks.pop_front();
        }
    }

    fn age(&self, now: Instant) -> Duration {
        self.marks.front().map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(*since))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::batch::filler;
    use tokio::sync::Semaphore;

    const OURS: Producer = Producer { id: 1, epoch: 0 };

    fn running(next: i64, batches: &[i32]) -> (Part, Instant) {
        let now = Instant::now();
        let mut part = Part::new(("orders".into(), 0), now);
        part.run(next, next, None, OURS);
        let share = Arc::new(Arc::new(Semaphore::new(10)).try_acquire_many_owned(1).unwrap());
        for count in batches {
            let end = part.next + i64::from(*count);
            let origin = Origin { from: part.next, end, thinned: false };
            part.enqueue(filler(0, *count, None, 0), *count, origin, &share);
        }
        (part, now)
    }

    fn sent(part: &mut Part, now: Instant) -> Vec<i64> {
        std::iter::from_fn(|| part.send(now).map(|(base, _)| base)).collect()
    }

    #[test]
    fn five_are_under_way_and_acknowledged_in_order() {
        let (mut part, now) = running(100, &[10, 5, 1, 1, 1, 1]);
        assert_eq!(sent(&mut part, now), [100, 110, 115, 116, 117]);
        part.taken(100);
        assert_eq!((part.acked, part.next), (110, 119));
        assert_eq!(sent(&mut part, now), [118]);
    }

    #[test]
    fn after_a_failure_all_are_sent_again_once_all_are_answered() {
        let (mut part, now) = running(0, &[1, 1, 1]);
        assert_eq!(sent(&mut part, now), [0, 1, 2]);
        part.again(now);
        part.taken(1);
        assert!(!part.can_send(now));
        part.again(now);
        assert!(part.can_send(now));
        assert_eq!((part.acked, sent(&mut part, now)), (0, vec![0, 1, 2]));
        for base in 0..3 {
            part.taken(base);
        }
        assert!(part.is_idle());
        assert_eq!(part.acked, 3);
    }

    #[test]
    fn behind_a_gap_records_come_to_other_offsets_and_lag_counts_those_of_the_source() {
        let (mut part, now) = running(100, &[10]);
        part.leave_out(111);
        let share = Arc::new(Arc::new(Semaphore::new(10)).try_acquire_many_owned(1).unwrap());
        let origin = Origin { from: 111, end: 116, thinned: false };
        part.enqueue(filler(0, 5, None, 0), 5, origin, &share);
        part.heard(120, now);
        assert_eq!(sent(&mut part, now), [100, 110]);
        part.taken(100);
        assert_eq!((part.acked, part.reached, part.lag(1.0, now).records), (110, 111, 9));
        part.taken(110);
        part.leave_out(120);
        assert_eq!((part.acked, part.reached, part.lag(1.0, now).records), (115, 120, 0));
        let translation = part.translation.clone().unwrap();
        let floor = |offset| translation.lock().unwrap().floor(offset);
        assert_eq!([109, 110, 111, 115, 120].map(floor), [109, 110, 110, 114, 115]);
    }

    #[test]
    fn lag_is_as_old_as_the_oldest_record_that_is_missing() {
        let (mut part, now) = running(0, &[10, 10]);
        let later = |seconds| now + Duration::from_secs(seconds);
        part.heard(10, now);
        part.heard(20, later(1));
        part.heard(20, later(2));
        assert_eq!(part.lag(2.0, later(3)), Lag { records: 20, bytes: 40, seconds: 3.0 });
        sent(&mut part, now);
        part.taken(0);
        assert_eq!(part.lag(2.0, later(3)), Lag { records: 10, bytes: 20, seconds: 2.0 });
        part.taken(10);
        assert_eq!(part.lag(2.0, later(4)), Lag::default());
    }
}
