//! openraft's log storage: memory in front, one writer behind.

mod flusher;
mod memory;
mod reader;

pub(crate) use memory::KEPT_ENTRIES;
pub use reader::LogReader;

use crate::disk::{Disk, DiskReader, Found};
use crate::engine::{Engine, Loaded, Source};
use crate::files::{Context, Lock};
use crate::{Entry, LogId, StorageError, TypeConfig, Vote};
use flusher::{Change, Done, Queue};
use memory::Memory;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::fmt::{self, Debug};
use std::io;
use std::ops::RangeBounds;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The durable log of one node. Dropping it writes what is queued and gives the directory free, once its readers are
/// gone too.
#[derive(Debug)]
pub struct LogStore {
    queue: Queue,
    reader: LogReader,
}

/// What the store, its readers and its writer share.
struct Shared {
    memory: Mutex<Memory>,
    source: Box<dyn DiskReader>,
    /// What errors name.
    path: PathBuf,
    /// Held as long as anyone reads or writes.
    _lock: Option<Lock>,
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LogStore {
    /// Goes on with the log that was loaded, in `engine`'s file `path`, and holds `lock` as long as needed.
    pub(crate) fn start(
        engine: Engine,
        loaded: Loaded,
        path: PathBuf,
        lock: Lock,
    ) -> Result<Self, StorageError> {
        let Loaded { state, first, tail, .. } = loaded;
        let found = Found {
            vote: state.vote,
            committed: state.committed,
            purged: state.purged,
            last: state.last,
            first,
            tail,
        };
        let source = Box::new(Source { tree: engine.tree(), path: path.clone() });
        let shared =
            Arc::new(Shared { memory: Mutex::new(Memory::new(found)), source, path, _lock: Some(lock) });
        let (queue, changes) = mpsc::channel();
        flusher::start(Box::new(engine), changes, shared.clone())
            .context(&shared.path, "start the writing thread")?;
        Ok(Self { queue: Queue::Thread(queue), reader: LogReader { shared } })
    }

    /// Goes on with the log that was found on `disk`. Written by a task instead of a thread.
    pub(crate) fn start_on(disk: Box<dyn Disk>, source: Box<dyn DiskReader>, found: Found) -> Self {
        let memory = Mutex::new(Memory::new(found));
        let path = PathBuf::from("simulated");
        let shared = Arc::new(Shared { memory, source, path, _lock: None });
        let queue = flusher::spawn(disk, shared.clone());
        Self { queue: Queue::Task(queue), reader: LogReader { shared } }
    }

    /// Changes what readers see and queues the change for the disk, both under one lock: the queue has their order.
    fn change(&self, change: impl FnOnce(&mut Memory) -> io::Result<Option<Change>>) -> io::Result<()> {
        let mut memory = self.reader.shared.memory();
        let Some(change) = change(&mut memory)? else {
            return Ok(());
        };
        if self.queue.send(change) { Ok(()) } else { Err(gone()) }
    }

    /// The same, and waits until it is durable. No change needs no wait.
    async fn change_durably(
        &self,
        change: impl FnOnce(&mut Memory, Done) -> Option<Change>,
    ) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        let mut changed = false;
        self.change(|memory| {
            let change = change(memory, done);
            changed = change.is_some();
            Ok(change)
        })?;
        if changed { durable.await.map_err(|_| gone())? } else { Ok(()) }
    }
}

fn gone() -> io::Error {
    StorageError::Closed { reason: "the writer of the log is gone".to_owned() }.into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.reader.try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.reader.read_vote().await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let memory = self.reader.shared.memory();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        self.change_durably(|memory, done| {
            memory.vote = Some(vote);
            Some(Change::Vote { vote, done })
        })
        .await
    }

    /// Durable with the next entry, or within a second or two: after a crash openraft finds out again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.change(|memory| {
            memory.committed = committed;
            Ok(Some(Change::Committed(committed)))
        })
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.reader.shared.memory().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.change(|memory| {
            for entry in &entries {
                memory.push(entry.clone())?;
            }
            let truncations = memory.truncations();
            Ok(Some(Change::Append { entries, truncations, done: callback }))
        })
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.change_durably(|memory, done| {
            memory.truncate_after(last_log_id).then_some(Change::Truncate { after: last_log_id, done })
        })
        .await
    }

    /// Not waited for: a purge that a crash takes back is only done again.
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.change(|memory| Ok(memory.purge(log_id).then_some(Change::Purge(log_id))))
    }
}
