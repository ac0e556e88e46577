//! The one thread that writes the log.
//!
//! The problem: an fdatasync takes as long for one entry as for a hundred, and blocks. The idea: changes queue up
//! while the disk works; what is queued when it comes back goes out as one batch, and is acknowledged together.
//! Nothing waits for company: a lone entry is written at once.

use super::Shared;
use crate::engine::{Engine, Watermark};
use crate::{Entry, LogId, StorageError, TypeConfig, Vote};
use openraft::storage::IOFlushed;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use tokio::sync::oneshot;

/// When a batch is closed though more is queued. A quarter of a sled segment: see [`crate::engine`].
const BATCH_BYTES: usize = 128 << 10;

/// Entries that are purged with one batch, so that a long purge holds up no append for long.
const PURGE_STEP: usize = 512;

/// A change of the log, in the order in which readers saw it.
pub(crate) enum Change {
    Append {
        entries: Vec<Entry>,
        truncations: u64,
        done: IOFlushed<TypeConfig>,
    },
    Truncate {
        after: Option<LogId>,
        done: Done,
    },
    Vote {
        vote: Vote,
        done: Done,
    },
    /// Written with the next batch, or after a while.
    Committed(Option<LogId>),
    /// Done step by step, with other batches where there are any.
    Purge(LogId),
}

/// Who waits for a change to be durable.
pub(crate) type Done = oneshot::Sender<io::Result<()>>;

/// Why the log was closed, as often as it is asked for.
#[derive(Clone, Debug)]
struct Refusal {
    kind: io::ErrorKind,
    reason: String,
}

impl Refusal {
    fn error(&self) -> io::Error {
        io::Error::new(self.kind, StorageError::Closed { reason: self.reason.clone() })
    }
}

/// Starts the thread. It ends when the queue's senders are gone, after it has written all they sent.
pub(crate) fn start(engine: Engine, queue: Receiver<Change>, shared: Arc<Shared>) -> io::Result<()> {
    let flusher = Flusher { engine, shared, waiting: Vec::new(), flushed: None, purging: None, stale: false };
    thread::Builder::new().name("log".to_owned()).spawn(move || flusher.run(&queue)).map(drop)
}

struct Flusher {
    engine: Engine,
    shared: Arc<Shared>,
    /// Those who wait for the batch.
    waiting: Vec<Waiter>,
    /// The last entry of the batch, and the truncations before it.
    flushed: Option<(u64, u64)>,
    /// What is still to be purged.
    purging: Option<LogId>,
    /// Something changed that can wait for the next batch.
    stale: bool,
}

enum Waiter {
    Append(IOFlushed<TypeConfig>),
    Other(Done),
}

impl Waiter {
    fn tell(self, outcome: io::Result<()>) {
        match self {
            Waiter::Append(done) => done.io_completed(outcome),
            // A caller that was cancelled waits no more.
            Waiter::Other(done) => drop(done.send(outcome)),
        }
    }
}

/// What the queue had.
enum Next {
    Change(Change),
    /// Nothing; finish what can wait.
    Idle,
    End,
}

impl Flusher {
    fn run(mut self, queue: &Receiver<Change>) {
        let closed = match self.write(queue) {
            Ok(()) => return,
            Err(error) => error,
        };
        tracing::error!(error = %closed, "the log cannot be written any more: this node must be restarted");
        let refusal = Refusal { kind: kind(&closed), reason: closed.to_string() };
        for waiter in self.waiting.drain(..) {
            waiter.tell(Err(refusal.error()));
        }
        while let Ok(change) = queue.recv() {
            match change {
                Change::Append { done, .. } => Waiter::Append(done).tell(Err(refusal.error())),
                Change::Truncate { done, .. } | Change::Vote { done, .. } => {
                    Waiter::Other(done).tell(Err(refusal.error()));
                }
                Change::Committed(_) | Change::Purge(_) => {}
            }
        }
    }

    /// Writes until the queue ends.
    fn write(&mut self, queue: &Receiver<Change>) -> Result<(), StorageError> {
        loop {
            match self.next(queue) {
                Next::Change(change) => {
                    self.take(change)?;
                    self.gather(queue)?;
                }
                Next::Idle if self.purging.is_some() => {}
                Next::Idle if self.stale => self.commit()?,
                Next::Idle => self.engine.sync_watermark()?,
                Next::End => return self.end(),
            }
            self.purge_a_step();
            if self.engine.batch_bytes() > 0 || !self.waiting.is_empty() {
                self.commit()?;
            }
        }
    }

    /// Waits for the next change, but not longer than anything else can wait.
    fn next(&self, queue: &Receiver<Change>) -> Next {
        let or_idle = |received: Result<Change, TryRecvError>| match received {
            Ok(change) => Next::Change(change),
            Err(TryRecvError::Empty) => Next::Idle,
            Err(TryRecvError::Disconnected) => Next::End,
        };
        if self.purging.is_some() {
            return or_idle(queue.try_recv());
        }
        if !self.stale && !self.engine.is_dirty() {
            return or_idle(queue.recv().map_err(|_| TryRecvError::Disconnected));
        }
        match queue.recv_timeout(Watermark::SYNC_AFTER) {
            Ok(change) => Next::Change(change),
            Err(RecvTimeoutError::Timeout) => Next::Idle,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// Takes what else is queued, as far as it fits.
    fn gather(&mut self, queue: &Receiver<Change>) -> Result<(), StorageError> {
        while self.engine.batch_bytes() < BATCH_BYTES
            && let Ok(change) = queue.try_recv()
        {
            self.take(change)?;
        }
        Ok(())
    }

    fn take(&mut self, change: Change) -> Result<(), StorageError> {
        match change {
            Change::Append { entries, truncations, done } => {
                for entry in &entries {
                    if self.engine.batch_bytes() >= BATCH_BYTES {
                        self.commit()?;
                    }
                    self.engine.append(entry);
                    self.flushed = Some((entry.log_id.index, truncations));
                }
                self.waiting.push(Waiter::Append(done));
            }
            Change::Truncate { after, done } => {
                self.engine.truncate_after(after);
                self.flushed = None;
                self.waiting.push(Waiter::Other(done));
            }
            Change::Vote { vote, done } => {
                self.engine.set_vote(vote);
                self.waiting.push(Waiter::Other(done));
            }
            Change::Committed(committed) => {
                self.engine.set_committed(committed);
                self.stale = true;
            }
            Change::Purge(upto) => {
                self.stale = true;
                // Where it reaches beyond the end it is done at once: what is appended next must find it so.
                self.purging = if self.engine.purge(upto, PURGE_STEP) { None } else { Some(upto) };
            }
        }
        Ok(())
    }

    fn purge_a_step(&mut self) {
        if let Some(upto) = self.purging
            && self.engine.batch_bytes() < BATCH_BYTES
            && self.engine.purge(upto, PURGE_STEP)
        {
            self.purging = None;
        }
    }

    /// Makes the batch durable, and then says so.
    fn commit(&mut self) -> Result<(), StorageError> {
        self.engine.commit()?;
        self.stale = false;
        if let Some((index, truncations)) = self.flushed.take() {
            self.shared.memory().flushed(index, truncations);
        }
        for waiter in self.waiting.drain(..) {
            waiter.tell(Ok(()));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), StorageError> {
        if self.stale {
            self.commit()?;
        }
        self.engine.sync_watermark()
    }
}

fn kind(error: &StorageError) -> io::ErrorKind {
    match error {
        StorageError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    }
}
