//! The disk of a node: what was synced stays, what was not may be lost, and a sync takes its time.
//!
//! A batch is written whole or not at all, as `storage` promises of sled by its state record (`power_loss.rs` there
//! holds it to that). What a crash finds under way may be on the disk or not: it was acknowledged to nobody.

use crate::executor::Executor;
use bytes::Bytes;
use primacy_sim::Dice;
use primacy_storage::{
    Disk, DiskReader, Entry, Found, LogId, Mounted, SnapshotDisk, SnapshotMeta, StorageError, Vote, Wait,
};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a mistake, made on purpose, does to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lies {
    /// A vote counts as written before it is.
    pub(crate) about_votes: bool,
    /// So does an entry.
    pub(crate) about_entries: bool,
}

/// How long syncs take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speed {
    /// Microseconds, at least.
    pub(crate) sync_min_us: u64,
    /// Microseconds, at most.
    pub(crate) sync_max_us: u64,
}

/// One disk. It outlives the processes that use it.
#[derive(Clone)]
pub(crate) struct Platter(Arc<Mutex<Content>>);

struct Content {
    executor: Executor,
    dice: Dice,
    speed: Speed,
    lies: Lies,
    log: Log,
    /// Handed to the disk and not yet there.
    under_way: Vec<Change>,
    /// What a disk that lies has acknowledged and not written.
    cached: Vec<Change>,
    snapshot: Option<(SnapshotMeta, Bytes)>,
    store_id: u64,
}

#[derive(Clone, Default)]
struct Log {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

enum Change {
    Append(Entry),
    Truncate(Option<LogId>),
    Purge(LogId),
    Vote(Vote),
    Committed(Option<LogId>),
}

/// How much of what it lies about such a disk keeps back.
const CACHED_MAX: usize = 8;

impl Lies {
    fn cover(self, change: &Change) -> bool {
        match change {
            Change::Vote(_) => self.about_votes,
            Change::Append(_) | Change::Truncate(_) | Change::Purge(_) | Change::Committed(_) => {
                self.about_entries
            }
        }
    }
}

impl Log {
    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(entry) => {
                self.entries.insert(entry.log_id.index, entry.clone());
            }
            Change::Truncate(after) => {
                let keep = after.map_or(0, |id| id.index + 1);
                self.entries.split_off(&keep);
            }
            Change::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = self.purged.max(Some(*upto));
            }
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Committed(committed) => self.committed = *committed,
        }
    }
}

impl Platter {
    /// An empty disk, whose chance is the seed's for `node`.
    pub(crate) fn new(executor: Executor, seed: u64, node: u64, speed: Speed, lies: Lies) -> Self {
        let mut dice = Dice::new(seed, 200 + node);
        let store_id = 1 + dice.below(1 << 40);
        Self(Arc::new(Mutex::new(Content {
            executor,
            dice,
            speed,
            lies,
            log: Log::default(),
            under_way: Vec::new(),
            cached: Vec::new(),
            snapshot: None,
            store_id,
        })))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another pace.
    pub(crate) fn set_speed(&self, speed: Speed) {
        self.content().speed = speed;
    }

    /// The process is gone, or the power: what was under way may be there or not. Says whether it took something.
    pub(crate) fn crash(&self) -> bool {
        let mut content = self.content();
        for changes in [std::mem::take(&mut content.cached), std::mem::take(&mut content.under_way)] {
            if changes.is_empty() {
                continue;
            }
            if !content.dice.chance(50) {
                // What came after it is lost with it.
                content.under_way.clear();
                return true;
            }
            for change in &changes {
                content.log.apply(change);
            }
        }
        false
    }

    /// Everything is gone; `keeps_name` says whether the next process takes it for the same disk all the same.
    pub(crate) fn empty(&self, keeps_name: bool) {
        let mut content = self.content();
        content.log = Log::default();
        content.under_way.clear();
        content.cached.clear();
        content.snapshot = None;
        if !keeps_name {
            content.store_id = 1 + content.dice.below(1 << 40);
        }
    }

    /// For a new process.
    pub(crate) fn mount(&self) -> Mounted {
        let content = self.content();
        let log = &content.log;
        let tail: VecDeque<Entry> = log.entries.values().cloned().collect();
        let found = Found {
            vote: log.vote,
            committed: log.committed,
            purged: log.purged,
            last: log.last(),
            first: tail.front().map_or(0, |entry| entry.log_id.index),
            tail,
        };
        let store_id = content.store_id;
        drop(content);
        Mounted {
            disk: Box::new(Writer { platter: self.clone(), batch: Vec::new(), bytes: 0 }),
            reader: Box::new(self.clone()),
            snapshots: Box::new(self.clone()),
            found,
            store_id,
        }
    }

    fn sleep(&self) -> Wait {
        let mut content = self.content();
        let Speed { sync_min_us, sync_max_us } = content.speed;
        let us = content.dice.range(sync_min_us, sync_max_us);
        let at_us = content.executor.now_us() + us;
        Box::pin(content.executor.sleep_until_us(at_us))
    }
}

/// Writes on a disk, for one process.
struct Writer {
    platter: Platter,
    batch: Vec<Change>,
    bytes: usize,
}

/// About what an entry takes.
const ENTRY_BYTES: usize = 64;

impl Writer {
    fn put(&mut self, change: Change) {
        self.bytes += ENTRY_BYTES;
        self.batch.push(change);
    }
}

impl Disk for Writer {
    fn append(&mut self, entry: &Entry) {
        self.put(Change::Append(entry.clone()));
    }

    fn truncate_after(&mut self, last: Option<LogId>) {
        self.put(Change::Truncate(last));
    }

    fn purge(&mut self, upto: LogId, _: usize) -> bool {
        self.put(Change::Purge(upto));
        true
    }

    fn set_vote(&mut self, vote: Vote) {
        self.put(Change::Vote(vote));
    }

    fn set_committed(&mut self, committed: Option<LogId>) {
        self.batch.push(Change::Committed(committed));
    }

    fn batch_bytes(&self) -> usize {
        self.bytes
    }

    fn wait(&mut self) -> Wait {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let mut content = self.platter.content();
        let told_early = batch.iter().all(|change| content.lies.cover(change));
        content.under_way.extend(batch);
        drop(content);
        if told_early {
            return Box::pin(std::future::ready(()));
        }
        self.platter.sleep()
    }

    fn commit(&mut self) -> Result<(), StorageError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let mut content = self.platter.content();
        content.under_way.extend(batch);
        for change in std::mem::take(&mut content.under_way) {
            if content.lies.cover(&change) {
                content.cached.push(change);
            } else {
                content.log.apply(&change);
            }
        }
        if content.cached.len() > CACHED_MAX {
            let cached = std::mem::take(&mut content.cached);
            for change in &cached {
                content.log.apply(change);
            }
        }
        Ok(())
    }
}

impl DiskReader for Platter {
    fn fetch(&self, range: Range<u64>) -> Result<Vec<Entry>, StorageError> {
        let content = self.content();
        let mut entries = Vec::new();
        for index in range {
            match content.log.entries.get(&index) {
                Some(entry) => entries.push(entry.clone()),
                None => break,
            }
        }
        Ok(entries)
    }
}

impl SnapshotDisk for Platter {
    fn wait(&self, _: usize) -> Wait {
        self.sleep()
    }

    fn replace(&self, meta: &SnapshotMeta, data: &Bytes) -> Result<(), StorageError> {
        self.content().snapshot = Some((meta.clone(), data.clone()));
        Ok(())
    }

    fn load(&self) -> Result<Option<(SnapshotMeta, Bytes)>, StorageError> {
        Ok(self.content().snapshot.clone())
    }
}
