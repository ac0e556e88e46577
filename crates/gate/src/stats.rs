//! What a gate counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a gate has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateStats {
    /// Connections that are open now, those whose target is still being connected included.
    pub open: usize,
    /// Connections taken in.
    pub accepted_total: u64,
    /// Connections closed at once: no open door, or too many of them.
    pub refused_total: u64,
    /// Connections closed because the target could not be reached.
    pub unreachable_total: u64,
    /// Connections cut because the door ended.
    pub cut_total: u64,
    /// Bytes passed on to the target.
    pub sent_bytes_total: u64,
    /// Bytes passed on to clients.
    pub received_bytes_total: u64,
    /// Bytes of replies that wait, for their cover or for a slow client.
    pub held_bytes: u64,
    /// Barriers asked for.
    pub barriers_total: u64,
    /// Barriers that failed, each of which cut every connection.
    pub barriers_failed_total: u64,
}

/// The same, as it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    open: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unreachable: AtomicU64,
    pub(crate) cut: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) held_bytes: AtomicU64,
    pub(crate) barriers: AtomicU64,
    pub(crate) barriers_failed: AtomicU64,
}

impl Counters {
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// A place for one more connection, unless `max` are taken.
    pub(crate) fn seat(self: &Arc<Self>, max: usize) -> Option<Seat> {
        let one_more = |open: usize| (open < max).then_some(open + 1);
        self.open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .ok()
            .map(|_| Seat { counters: self.clone() })
    }

    pub(crate) fn snapshot(&self) -> GateStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GateStats {
            open: self.open(),
            accepted_total: read(&self.accepted),
            refused_total: read(&self.refused),
            unreachable_total: read(&self.unreachable),
            cut_total: read(&self.cut),
            sent_bytes_total: read(&self.sent_bytes),
            received_bytes_total: read(&self.received_bytes),
            held_bytes: read(&self.held_bytes),
            barriers_total: read(&self.barriers),
            barriers_failed_total: read(&self.barriers_failed),
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// The place of one open connection, free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    counters: Arc<Counters>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Ordering::SeqCst);
    }
}
