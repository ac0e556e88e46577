//! The outage, as clients see it: the longest time without an acknowledgement.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Entry, Ledger};

/// A time without acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last acknowledgement before it, or the start of the window when there was none.
    pub from: Instant,
    /// The acknowledgement that ended it, or the end of the window when there was none.
    pub to: Instant,
    /// Whether an acknowledgement ended it.
    pub ended: bool,
}

impl Gap {
    /// How long it lasted.
    pub fn length(&self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

impl Ledger {
    /// The longest gap in which no writer at all got an acknowledgement: the outage.
    ///
    /// Gaps that only begin or end within the window count with their whole length.
    pub fn longest_gap(&self, window: Range<Instant>) -> Gap {
        let range = self.ns(window.start)..self.ns(window.end);
        let mut times: Vec<u64> =
            self.writers.iter().flat_map(|page| around(&page.entries, &range)).collect();
        times.sort_unstable();
        self.longest(&window, &times)
    }

    /// The longest gap that one single writer saw: what the unluckiest client noticed.
    pub fn longest_writer_gap(&self, window: Range<Instant>) -> Gap {
        let range = self.ns(window.start)..self.ns(window.end);
        self.writers
            .iter()
            .map(|page| self.longest(&window, &around(&page.entries, &range).collect::<Vec<_>>()))
            .max_by_key(Gap::length)
            .unwrap_or(Gap { from: window.start, to: window.end, ended: false })
    }

    fn longest(&self, window: &Range<Instant>, times_ns: &[u64]) -> Gap {
        let Some((first, last)) = times_ns.first().zip(times_ns.last()) else {
            return Gap { from: window.start, to: window.end, ended: false };
        };
        let (start_ns, end_ns) = (self.ns(window.start), self.ns(window.end));
        let within = times_ns
            .windows(2)
            // Of several writers, some time before the window may be followed by another before it.
            .filter(|pair| pair[1] > start_ns && pair[0] < end_ns)
            .map(|pair| Gap { from: self.instant(pair[0]), to: self.instant(pair[1]), ended: true });
        let before = Gap { from: window.start, to: self.instant(*first), ended: true };
        let after = Gap { from: self.instant(*last), to: window.end, ended: false };
        within.chain([before, after]).max_by_key(Gap::length).unwrap_or(after)
    }
}

/// Acknowledgements within the range, the last before and the first after it.
fn around<'a>(entries: &'a [Entry], range: &Range<u64>) -> impl Iterator<Item = u64> + 'a {
    let start = entries.partition_point(|entry| entry.at_ns < range.start).saturating_sub(1);
    let end = entries.partition_point(|entry| entry.at_ns < range.end).saturating_add(1).min(entries.len());
    entries[start..end].iter().map(|entry| entry.at_ns)
}
