//! What clients of a Redis group saw: every acknowledged write, with its times and the member that gave its word.
//!
//! The problem: "nothing was lost", "the outage lasted 60 ms" and "never two wrote" must be counted, not believed.
//! The idea: a record is a numbered entry of a writer's own list, so that the survivors can be read back and
//! compared exactly; outage and overlap follow from the times alone.
//!
//! The ledger must not know how a primary is found or what the coordinator says about it.

mod gap;
mod in_flight;
mod joined;
mod lost;
mod overlap;

use std::time::{Duration, Instant};

pub use gap::Gap;
pub use lost::{Lost, LostRecord};
pub use overlap::Overlap;

/// A member during one life of its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberRun {
    /// Index into [`Ledger::members`].
    pub(crate) member: u16,
    /// Redis's run id: another one after each restart. Empty when the user may not ask for it.
    pub(crate) run_id: String,
}

/// An acknowledged write. Times are nanoseconds since the ledger's origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) n: u64,
    pub(crate) sent_ns: u64,
    pub(crate) at_ns: u64,
    pub(crate) run: u16,
}

/// A member refused a write, refused the connection or ended it: whoever wrote there until now was stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) member: u16,
    pub(crate) at_ns: u64,
}

/// What one client saw, in the order of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) failures: u64,
    pub(crate) last_failure: Option<String>,
}

/// How a record of a writer looks in Redis: entry `n:padding` of the list `prefix:writer`.
#[derive(Clone, Debug)]
pub(crate) struct RecordShape {
    pub(crate) key_prefix: String,
    pub(crate) pad_bytes: usize,
}

/// The acknowledged writes of a load, up to the moment when it was taken.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) origin: Instant,
    pub(crate) members: Vec<String>,
    pub(crate) runs: Vec<MemberRun>,
    pub(crate) shape: RecordShape,
    pub(crate) writers: Vec<Page>,
    pub(crate) strays: Vec<Page>,
}

/// One acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Index of the writer.
    pub writer: usize,
    /// Number of the record in the writer's own sequence, from 1 without holes.
    pub n: u64,
    /// When the acknowledged attempt was sent.
    pub sent: Instant,
    /// When the acknowledgement was read.
    pub at: Instant,
    /// The member that acknowledged.
    pub member: &'a str,
    /// Redis's run id of that member's process, empty when unknown.
    pub run_id: &'a str,
}

impl Ledger {
    /// How many records were acknowledged to the writers.
    pub fn acked(&self) -> u64 {
        self.writers.iter().map(|page| page.entries.len() as u64).sum()
    }

    /// How many attempts of the writers failed; each was retried.
    pub fn failures(&self) -> u64 {
        self.writers.iter().map(|page| page.failures).sum()
    }

    /// All acknowledgements of the writers, one writer after the other, each in the order of its numbers.
    pub fn acks(&self) -> impl Iterator<Item = Ack<'_>> {
        self.writers
            .iter()
            .enumerate()
            .flat_map(move |(writer, page)| page.entries.iter().map(move |entry| self.ack(writer, entry)))
    }

    /// The first acknowledgement to any writer after `time`.
    pub fn first_ack_after(&self, time: Instant) -> Option<Ack<'_>> {
        let time_ns = self.ns(time);
        self.first_of_each(time_ns, |_| true)
    }

    /// The first acknowledgement by `member` to any writer after `time`.
    pub fn first_ack_by(&self, member: &str, time: Instant) -> Option<Ack<'_>> {
        self.first_of_each(self.ns(time), |entry| self.member_of(entry) == member)
    }

    /// The last acknowledgement to any writer at or before `time`.
    pub fn last_ack_before(&self, time: Instant) -> Option<Ack<'_>> {
        let time_ns = self.ns(time);
        self.writers
            .iter()
            .enumerate()
            .filter_map(|(writer, page)| {
                let end = page.entries.partition_point(|entry| entry.at_ns <= time_ns);
                Some(self.ack(writer, page.entries[..end].last()?))
            })
            .max_by_key(|ack| ack.at)
    }

    /// Acknowledgements of the direct writers bound to `member`: (sent, acknowledged).
    pub fn stray_acks(&self, member: &str) -> Vec<(Instant, Instant)> {
        self.strays
            .iter()
            .flat_map(|page| &page.entries)
            .filter(|entry| self.member_of(entry) == member)
            .map(|entry| (self.instant(entry.sent_ns), self.instant(entry.at_ns)))
            .collect()
    }

    fn first_of_each(&self, time_ns: u64, wanted: impl Fn(&Entry) -> bool) -> Option<Ack<'_>> {
        self.writers
            .iter()
            .enumerate()
            .filter_map(|(writer, page)| {
                let start = page.entries.partition_point(|entry| entry.at_ns <= time_ns);
                let entry = page.entries[start..].iter().find(|entry| wanted(entry))?;
                Some(self.ack(writer, entry))
            })
            .min_by_key(|ack| ack.at)
    }

    fn ack(&self, writer: usize, entry: &Entry) -> Ack<'_> {
        Ack {
            writer,
            n: entry.n,
            sent: self.instant(entry.sent_ns),
            at: self.instant(entry.at_ns),
            member: self.member_of(entry),
            run_id: &self.runs[usize::from(entry.run)].run_id,
        }
    }

    fn member_of(&self, entry: &Entry) -> &str {
        &self.members[usize::from(self.runs[usize::from(entry.run)].member)]
    }

    fn instant(&self, ns: u64) -> Instant {
        self.origin + Duration::from_nanos(ns)
    }

    fn ns(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}
