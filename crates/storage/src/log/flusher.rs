//! The one writer of the log: a thread, or a task where a simulation owns time.
//!
//! The problem: an fdatasync takes as long for one entry as for a hundred, and blocks. The idea: changes queue up
//! while the disk works; what is queued when it comes back goes out as one batch, and is acknowledged together.
//! Nothing waits for company: a lone entry is written at once.

use super::Shared;
use crate::disk::Disk;
use crate::engine::Watermark;
use crate::{Entry, LogId, StorageError, TypeConfig, Vote};
use openraft::storage::IOFlushed;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
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
    fn tell(&self, change: Change) {
        match change {
            Change::Append { done, .. } => Waiter::Append(done).tell(Err(self.error())),
            Change::Truncate { done, .. } | Change::Vote { done, .. } => {
                Waiter::Other(done).tell(Err(self.error()));
            }
            Change::Committed(_) | Change::Purge(_) => {}
        }
    }

    fn error(&self) -> io::Error {
        io::Error::new(self.kind, StorageError::Closed { reason: self.reason.clone() })
    }
}

/// The way to the writer.
#[derive(Debug)]
pub(super) enum Queue {
    Thread(Sender<Change>),
    Task(UnboundedSender<Change>),
}

impl Queue {
    /// Whether there is still a writer.
    pub(super) fn send(&self, change: Change) -> bool {
        match self {
            Queue::Thread(queue) => queue.send(change).is_ok(),
            Queue::Task(queue) => queue.send(change).is_ok(),
        }
    }
}

/// Starts the thread. It ends when the queue's senders are gone, after it has written all they sent.
pub(super) fn start(disk: Box<dyn Disk>, queue: Receiver<Change>, shared: Arc<Shared>) -> io::Result<()> {
    let flusher = Flusher::new(disk, shared);
    thread::Builder::new().name("log".to_owned()).spawn(move || flusher.run(&queue)).map(drop)
}

/// The same as a task.
pub(super) fn spawn(disk: Box<dyn Disk>, shared: Arc<Shared>) -> UnboundedSender<Change> {
    let (queue, changes) = mpsc::unbounded_channel();
    primacy_runtime::spawn(Flusher::new(disk, shared).run_as_task(changes)).detach();
    queue
}

struct Flusher {
    disk: Box<dyn Disk>,
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

/// What is to be done after a step.
enum Then {
    Commit,
    Wait,
    End,
}

impl Flusher {
    fn new(disk: Box<dyn Disk>, shared: Arc<Shared>) -> Self {
        Self { disk, shared, waiting: Vec::new(), flushed: None, purging: None, stale: false }
    }

    fn run(mut self, queue: &Receiver<Change>) {
        let Err(closed) = self.write(queue) else { return };
        let refusal = self.close(&closed);
        while let Ok(change) = queue.recv() {
            refusal.tell(change);
        }
    }

    async fn run_as_task(mut self, mut queue: UnboundedReceiver<Change>) {
        let Err(closed) = self.write_as_task(&mut queue).await else { return };
        let refusal = self.close(&closed);
        while let Some(change) = queue.recv().await {
            refusal.tell(change);
        }
    }

    fn close(&mut self, closed: &StorageError) -> Refusal {
        tracing::error!(error = %closed, "the log cannot be written any more: this node must be restarted");
        let refusal = Refusal { kind: kind(closed), reason: closed.to_string() };
        for waiter in self.waiting.drain(..) {
            waiter.tell(Err(refusal.error()));
        }
        refusal
    }

    /// Writes until the queue ends.
    fn write(&mut self, queue: &Receiver<Change>) -> Result<(), StorageError> {
        loop {
            let next = self.next(queue);
            match self.step(next, || queue.try_recv().ok())? {
                Then::Commit => self.commit()?,
                Then::Wait => {}
                Then::End => return Ok(()),
            }
        }
    }

    async fn write_as_task(&mut self, queue: &mut UnboundedReceiver<Change>) -> Result<(), StorageError> {
        loop {
            let next = self.next_as_task(queue).await;
            match self.step(next, || queue.try_recv().ok())? {
                Then::Commit => {
                    self.disk.wait().await;
                    self.commit()?;
                }
                Then::Wait => {}
                Then::End => return Ok(()),
            }
        }
    }

    /// Takes what came, and what else is queued as far as it fits.
    fn step(&mut self, next: Next, mut queued: impl FnMut() -> Option<Change>) -> Result<Then, StorageError> {
        match next {
            Next::Change(change) => {
                self.take(change)?;
                while self.disk.batch_bytes() < BATCH_BYTES
                    && let Some(change) = queued()
                {
                    self.take(change)?;
                }
            }
            Next::Idle if self.purging.is_some() => {}
            Next::Idle if self.stale => return Ok(Then::Commit),
            Next::Idle => self.disk.sync_rest()?,
            Next::End => return self.end().map(|()| Then::End),
        }
        self.purge_a_step();
        let full = self.disk.batch_bytes() > 0 || !self.waiting.is_empty();
        Ok(if full { Then::Commit } else { Then::Wait })
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
        if !self.stale && !self.disk.is_dirty() {
            return or_idle(queue.recv().map_err(|_| TryRecvError::Disconnected));
        }
        match queue.recv_timeout(Watermark::SYNC_AFTER) {
            Ok(change) => Next::Change(change),
            Err(RecvTimeoutError::Timeout) => Next::Idle,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    async fn next_as_task(&mut self, queue: &mut UnboundedReceiver<Change>) -> Next {
        let or_end = |received: Option<Change>| received.map_or(Next::End, Next::Change);
        if self.purging.is_some() {
            return match queue.try_recv() {
                Ok(change) => Next::Change(change),
                Err(mpsc::error::TryRecvError::Empty) => Next::Idle,
                Err(mpsc::error::TryRecvError::Disconnected) => Next::End,
            };
        }
        if !self.stale && !self.disk.is_dirty() {
            return or_end(queue.recv().await);
        }
        let received = primacy_runtime::timeout(Watermark::SYNC_AFTER, queue.recv()).await;
        received.map_or(Next::Idle, or_end)
    }

    fn take(&mut self, change: Change) -> Result<(), StorageError> {
        match change {
            Change::Append { entries, truncations, done } => {
                for entry in &entries {
                    if self.disk.batch_bytes() >= BATCH_BYTES {
                        self.commit()?;
                    }
                    self.disk.append(entry);
                    self.flushed = Some((entry.log_id.index, truncations));
                }
                self.waiting.push(Waiter::Append(done));
            }
            Change::Truncate { after, done } => {
                self.disk.truncate_after(after);
                self.flushed = None;
                self.waiting.push(Waiter::Other(done));
            }
            Change::Vote { vote, done } => {
                self.disk.set_vote(vote);
                self.waiting.push(Waiter::Other(done));
            }
            Change::Committed(committed) => {
                self.disk.set_committed(committed);
                self.stale = true;
            }
            Change::Purge(upto) => {
                self.stale = true;
                // Where it reaches beyond the end it is done at once: what is appended next must find it so.
                self.purging = if self.disk.purge(upto, PURGE_STEP) { None } else { Some(upto) };
            }
        }
        Ok(())
    }

    fn purge_a_step(&mut self) {
        if let Some(upto) = self.purging
            && self.disk.batch_bytes() < BATCH_BYTES
            && self.disk.purge(upto, PURGE_STEP)
        {
            self.purging = None;
        }
    }

    /// Makes the batch durable, and then says so.
    fn commit(&mut self) -> Result<(), StorageError> {
        self.disk.commit()?;
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
        self.disk.sync_rest()
    }
}

fn kind(error: &StorageError) -> io::ErrorKind {
    match error {
        StorageError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    }
}
