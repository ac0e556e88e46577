//! What lies below the log and the snapshots: sled and files in production, a model of a disk in a simulation.
//!
//! The problem: what a crash takes, and how long a sync lasts, decides which elections and commits are possible, and
//! neither can be drawn from a seed with a real disk and a thread below. The idea: memory, batching and
//! acknowledgement stay as they are; only what a batch is handed to is exchanged, and the writer is then a task of
//! the runtime seam instead of a thread. [`open_on`] is the way in; [`open`](crate::open) is that of production.

use crate::log::LogStore;
use crate::snapshot::SnapshotStore;
use crate::{Entry, LogId, Opened, SnapshotMeta, StorageError, Vote};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

/// A wait that a disk imposes.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keeps a log. Changes gather in a batch until [`Disk::commit`].
pub trait Disk: Send + 'static {
    /// Adds an entry behind the last.
    fn append(&mut self, entry: &Entry);
    /// Removes all entries after `last`; with none, all.
    fn truncate_after(&mut self, last: Option<LogId>);
    /// Removes entries from the front, up to `upto` and about `max` of them; says whether that is done. Where `upto`
    /// lies behind the end, all go at once, and the log goes on behind it.
    fn purge(&mut self, upto: LogId, max: usize) -> bool;
    /// Records a vote.
    fn set_vote(&mut self, vote: Vote);
    /// Records how far is known to be committed. Alone it makes no batch.
    fn set_committed(&mut self, committed: Option<LogId>);
    /// What the batch holds so far.
    fn batch_bytes(&self) -> usize;
    /// How long the batch takes to be written, where [`Disk::commit`] does not block for as long.
    fn wait(&mut self) -> Wait {
        Box::pin(std::future::ready(()))
    }
    /// Writes the batch. When this returns `Ok`, it survives the loss of power.
    ///
    /// # Errors
    /// Those of the disk. Nothing is promised after one.
    fn commit(&mut self) -> Result<(), StorageError>;
    /// Whether something is left to sync that nobody waits for.
    fn is_dirty(&self) -> bool {
        false
    }
    /// Syncs that.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync_rest(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Reads the log beside the writer.
pub trait DiskReader: Send + Sync + 'static {
    /// The entries of `range` up to the first that is not there. Blocks.
    ///
    /// # Errors
    /// Those of the disk, and damage.
    fn fetch(&self, range: Range<u64>) -> Result<Vec<Entry>, StorageError>;
}

/// Keeps the latest snapshot.
pub trait SnapshotDisk: Send + Sync + 'static {
    /// How long a snapshot of so many bytes takes to be written.
    fn wait(&self, bytes: usize) -> Wait;
    /// Puts it in the place of the former one, durably.
    ///
    /// # Errors
    /// Those of the disk.
    fn replace(&self, meta: &SnapshotMeta, data: &Bytes) -> Result<(), StorageError>;
    /// The latest one.
    ///
    /// # Errors
    /// Those of the disk.
    fn load(&self) -> Result<Option<(SnapshotMeta, Bytes)>, StorageError>;
}

/// What a disk held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The last vote.
    pub vote: Option<Vote>,
    /// How far was known to be committed.
    pub committed: Option<LogId>,
    /// Up to where the log was purged.
    pub purged: Option<LogId>,
    /// The last entry, or `purged` when there is none.
    pub last: Option<LogId>,
    /// The index of the first entry; meaningless when there is none.
    pub first: u64,
    /// The last entries, without a gap; all of them, where they are few.
    pub tail: VecDeque<Entry>,
}

/// A disk that is no directory, and what it held.
pub struct Mounted {
    /// Where the log goes.
    pub disk: Box<dyn Disk>,
    /// Where entries are read that are kept in memory no more.
    pub reader: Box<dyn DiskReader>,
    /// Where snapshots go.
    pub snapshots: Box<dyn SnapshotDisk>,
    /// What was there.
    pub found: Found,
    /// The id drawn when it was first used, never 0.
    pub store_id: u64,
}

/// Opens a node's store on a disk of the caller's. The writer is a task of the runtime seam.
///
/// # Errors
/// Those of the disk.
pub fn open_on(mounted: Mounted) -> Result<Opened, StorageError> {
    let Mounted { disk, reader, snapshots, found, store_id } = mounted;
    let (snapshots, snapshot) = SnapshotStore::on(snapshots)?;
    let fresh = found.vote.is_none() && found.last.is_none() && snapshot.is_none();
    Ok(Opened { log: LogStore::start_on(disk, reader, found), snapshots, store_id, fresh })
}
