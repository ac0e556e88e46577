//! The log as readers see it: ahead of the disk, and never behind it.
//!
//! Every change is made here first and queued for the disk under the same lock, so that the queue has the order in
//! which readers saw the changes. The latest entries are kept; older ones are read from the disk, where nothing
//! but a purge can touch them: a truncation that reaches below the kept ones removes what readers may no longer see.

use crate::disk::Found;
use crate::{Entry, LogId, NodeInfo, Payload, Proposal, Vote};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;

/// What is kept: enough for followers that lag a little.
pub(crate) const KEPT_ENTRIES: usize = 4096;

/// And how much at most, in encoded bytes, where entries are long.
const KEPT_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
    /// The first index of the log; equal to the one after the last when the log is empty.
    first: u64,
    /// The last entries, without a gap.
    kept: VecDeque<Entry>,
    kept_bytes: usize,
    /// All entries below this index are on the disk.
    flushed_below: u64,
    /// Counts truncations: what was read from the disk before one may not be joined with what is kept after it.
    truncations: u64,
}

/// A range as it was at one moment: the part to fetch from the disk, and the part that was kept.
pub(crate) struct View {
    pub(crate) on_disk: Range<u64>,
    pub(crate) kept: Vec<Entry>,
    pub(crate) truncations: u64,
}

impl Memory {
    pub(crate) fn new(found: Found) -> Self {
        let end = found.last.map_or(0, |last| last.index + 1);
        let mut memory = Self {
            vote: found.vote,
            committed: found.committed,
            purged: found.purged,
            last: found.last,
            first: if found.tail.is_empty() { end } else { found.first },
            kept_bytes: found.tail.iter().map(weight).sum(),
            kept: found.tail,
            flushed_below: end,
            truncations: 0,
        };
        memory.forget();
        memory
    }

    pub(crate) fn truncations(&self) -> u64 {
        self.truncations
    }

    /// Whether the log holds the entry `index`.
    pub(crate) fn holds(&self, index: u64) -> bool {
        (self.first..self.end()).contains(&index)
    }

    /// The index after the last.
    fn end(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    fn kept_from(&self) -> u64 {
        self.kept.front().map_or_else(|| self.end(), |entry| entry.log_id.index)
    }

    /// Adds an entry behind the last.
    pub(crate) fn push(&mut self, entry: Entry) -> io::Result<()> {
        let index = entry.log_id.index;
        let empty = self.first == self.end();
        if empty && self.purged.is_none() {
            // The first entry of all may have any index; from there on the log has no gap.
            self.first = index;
            self.flushed_below = index;
        } else if index != self.end() {
            let reason = format!("entry {index} was appended where entry {} must follow", self.end());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        self.last = Some(entry.log_id);
        self.kept_bytes += weight(&entry);
        self.kept.push_back(entry);
        Ok(())
    }

    /// Removes all entries after `last`; says whether there was anything to do.
    pub(crate) fn truncate_after(&mut self, last: Option<LogId>) -> bool {
        let end = last.map_or(self.first, |last| last.index + 1).max(self.first);
        if end >= self.end() {
            return false;
        }
        while let Some(entry) = self.kept.pop_back_if(|entry| entry.log_id.index >= end) {
            self.kept_bytes -= weight(&entry);
        }
        if end == self.first {
            self.last = self.purged;
            self.first = self.end();
        } else {
            self.last = last;
        }
        self.flushed_below = self.flushed_below.min(self.end());
        self.truncations += 1;
        true
    }

    /// Removes all entries up to `upto`; says whether there was anything to do.
    pub(crate) fn purge(&mut self, upto: LogId) -> bool {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return false;
        }
        while let Some(entry) = self.kept.pop_front_if(|entry| entry.log_id.index <= upto.index) {
            self.kept_bytes -= weight(&entry);
        }
        self.purged = Some(upto);
        self.first = upto.index + 1;
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = self.purged;
            self.flushed_below = self.first;
        }
        true
    }

    /// The disk has all entries up to `index`, as they were after so many truncations.
    pub(crate) fn flushed(&mut self, index: u64, truncations: u64) {
        if truncations != self.truncations {
            return;
        }
        self.flushed_below = self.flushed_below.max(index + 1).min(self.end());
        self.forget();
    }

    /// Drops the oldest entries of those that are on the disk.
    fn forget(&mut self) {
        while (self.kept.len() > KEPT_ENTRIES || self.kept_bytes > KEPT_BYTES)
            && self.kept_from() < self.flushed_below
            && let Some(entry) = self.kept.pop_front()
        {
            self.kept_bytes -= weight(&entry);
        }
    }

    /// The entries of `range` that the log holds.
    pub(crate) fn view(&self, range: Range<u64>) -> View {
        let range = range.start.max(self.first)..range.end.min(self.end());
        let split = self.kept_from().clamp(range.start, range.end.max(range.start));
        let skip = split.saturating_sub(self.kept_from()) as usize;
        let take = range.end.saturating_sub(split) as usize;
        View {
            on_disk: range.start..split,
            kept: self.kept.iter().skip(skip).take(take).cloned().collect(),
            truncations: self.truncations,
        }
    }
}

/// About what an entry takes.
fn weight(entry: &Entry) -> usize {
    let own = size_of::<Entry>();
    match &entry.payload {
        Payload::Normal(Proposal::Command(command)) => own + command.bytes().len(),
        Payload::Membership(membership) => own + membership.nodes().count() * size_of::<NodeInfo>(),
        Payload::Blank | Payload::Normal(Proposal::RegisterNode { .. }) => own,
    }
}
