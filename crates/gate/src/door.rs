//! Where a gate leads, and the one task that opens and ends it.
//!
//! The problem: a door must end on time although nobody says so, and a renewal must disturb nobody. The idea: each
//! stretch under one epoch and target is an [`Opening`], and this task alone makes, extends and ends them; whoever passes
//! bytes on asks the opening, not this task, so that a late timer passes nothing on.

use crate::opening::Opening;
use crate::stats::Counters;
use futures::future::BoxFuture;
use primacy_core::{Address, Epoch, Moment};
use primacy_runtime::{now, sleep_until, watch};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Where a gate leads, under which epoch, until when.
#[derive(Clone)]
pub struct Door {
    /// Under which the target is primary. Another one ends every connection.
    pub epoch: Epoch,
    /// The primary. Another one ends every connection. Its `tls` means nothing here: bytes pass as they are.
    pub target: Address,
    /// The end of the lease by [`primacy_runtime::now`]: from that moment on nothing passes. `None`: it needs no lease.
    pub until: Option<Moment>,
    /// What replies wait for; `None`: they wait for nothing. A door that begins or stops holding ends every connection;
    /// another cover takes over at once what the former one has not covered.
    pub hold: Option<Arc<dyn Cover>>,
}

/// What a held reply waits for.
///
/// The offsets are those of the primary's replication stream, so they mean the same to each cover of an epoch.
pub trait Cover: Send + Sync {
    /// The end of the primary's stream as the primary itself says, asked after this call. It is asked once at a time,
    /// bounds itself in time, and its failure cuts every connection.
    fn barrier(&self) -> BoxFuture<'static, io::Result<u64>>;

    /// The offset up to which the stream is safe. When its sender is gone every connection is cut.
    fn covered(&self) -> watch::Receiver<u64>;
}

impl Door {
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= now())
    }
}

/// The present opening, if any.
pub(crate) struct Doorway {
    name: String,
    counters: Arc<Counters>,
    present: Mutex<Present>,
    /// Held from looking at the door until it is done as it says.
    turning: Mutex<()>,
    failed: Arc<Notify>,
}

#[derive(Default)]
struct Present {
    opening: Option<Arc<Opening>>,
    closed: bool,
}

impl Doorway {
    pub(crate) fn new(name: String, counters: Arc<Counters>) -> Self {
        Self { name, counters, present: Mutex::default(), turning: Mutex::default(), failed: Arc::default() }
    }

    /// What a new connection may pass through now.
    pub(crate) fn opening(&self) -> Option<Arc<Opening>> {
        self.present().opening.clone().filter(|opening| opening.is_open())
    }

    /// Follows `door` until its sender is gone.
    pub(crate) async fn keep(self: Arc<Self>, mut door: watch::Receiver<Option<Door>>) {
        loop {
            let until = self.follow(&mut door);
            tokio::select! {
                biased;
                () = reached(until) => {}
                changed = door.changed() => if changed.is_err() {
                    return self.close();
                },
                () = self.failed.notified() => {}
            }
        }
    }

    /// Does what `door` says now, and says when to look again in any case.
    pub(crate) fn follow(&self, door: &mut watch::Receiver<Option<Door>>) -> Option<Moment> {
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = door.borrow_and_update().clone().filter(|door| !door.is_over());
        let until = wanted.as_ref().and_then(|door| door.until);
        self.turn_to(wanted);
        until
    }

    /// Whether nothing leads anywhere. Once the door is `None`, that stays so.
    pub(crate) fn is_shut(&self) -> bool {
        let _not_turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        self.present().opening.is_none()
    }

    /// Ends the present opening for good.
    pub(crate) fn close(&self) {
        let last = {
            let mut present = self.present();
            present.closed = true;
            present.opening.take()
        };
        if let Some(opening) = last {
            opening.end();
        }
    }

    fn turn_to(&self, door: Option<Door>) {
        let former = self.present().opening.clone();
        match (door, former) {
            (Some(door), Some(opening)) if opening.continues(&door) => opening.renew(&door),
            (door, former) => {
                if let Some(opening) = former {
                    // Before the next one opens: whoever comes in between is refused.
                    self.present().opening = None;
                    let cut = opening.end();
                    tracing::info!(gate = self.name, epoch = opening.epoch().0, cut, "the gate closed");
                }
                self.open(door);
            }
        }
    }

    fn open(&self, door: Option<Door>) {
        let Some(door) = door else { return };
        let mut present = self.present();
        if present.closed {
            return;
        }
        tracing::info!(gate = self.name, epoch = door.epoch.0, target = %door.target, "the gate opened");
        present.opening = Some(Opening::new(door, self.counters.clone(), self.failed.clone()));
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn reached(until: Option<Moment>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
