//! sled, held to what a Raft log needs.
//!
//! The problem, found in its source and by strace: `flush` ends in `sync_file_range`, which is no barrier; a segment
//! is used again once sled believes its successor durable; values above 128 KiB go to files that are never synced;
//! `snap.*.generating`, left behind by a kill, is taken for a snapshot at the next open. The idea: each batch is
//! followed by `flush` and by fdatasync on a descriptor of our own, and is kept well below a segment, so that nothing
//! sled overwrites depends on something not yet durable; long entries are cut into parts; the leftovers are removed
//! before sled sees them.
//!
//! This module must not know threads or openraft's callbacks. It blocks.

mod database;
mod fetch;
mod load;
#[cfg(test)]
mod power_loss;
mod watermark;

pub(crate) use database::{data_file, open_sled};
pub(crate) use fetch::Source;
pub(crate) use load::{Loaded, load};
pub(crate) use watermark::Watermark;

use crate::disk::Disk;
use crate::files::{Context, sync_dir};
use crate::record::{Fault, Key, SCHEMA_VERSION, State, encode_entry, encode_state, frame};
use crate::{Entry, LogId, StorageError, Vote, log_id};
use database::{Write, guarded, tree, write};
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The longest value. A leaf of sled's tree holds at most 16 before it splits and takes up to 4 more in a merge, and
/// it must stay below the 128 KiB where sled puts it in a file of its own, unsynced.
const PART_BYTES: usize = 4096;

/// About what a removal adds to sled's log.
const REMOVAL_BYTES: usize = 32;

/// One entry as the chain of checksums sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) term: u64,
    /// By which the next entry names it.
    pub(crate) checksum: u32,
    /// The number of its further parts.
    pub(crate) parts: u16,
}

/// The open log on disk. Changes gather in a batch until [`Engine::commit`].
pub(crate) struct Engine {
    db: sled::Db,
    tree: sled::Tree,
    data: File,
    path: PathBuf,
    watermark: Watermark,
    state: State,
    /// Those of the entries that the log holds, `first` on.
    links: VecDeque<Link>,
    first: u64,
    batch: Vec<Write>,
    batch_bytes: usize,
    /// A crash may leave no part of the batch behind: it removes something.
    atomic: bool,
    voted: bool,
}

impl Engine {
    /// Continues the log in `dir` (a sled directory) from what was loaded from it.
    pub(crate) fn new(
        dir: &Path,
        db: sled::Db,
        loaded: &Loaded,
        watermark: Watermark,
    ) -> Result<Self, StorageError> {
        let path = data_file(dir);
        let data = File::open(&path).context(&path, "open the file")?;
        // sled writes a new snapshot of its page table when it opens, and syncs it but not its name.
        sync_dir(dir)?;
        let tree = tree(&db, &path)?;
        let mut engine = Self {
            tree,
            db,
            data,
            path,
            watermark,
            state: loaded.state.clone(),
            links: loaded.links.clone(),
            first: loaded.first,
            batch: Vec::new(),
            batch_bytes: 0,
            atomic: false,
            voted: false,
        };
        if !loaded.leftovers.is_empty() {
            engine.atomic = true;
            engine.batch.extend(loaded.leftovers.iter().map(|key| (key.clone(), None)));
            engine.commit()?;
        }
        Ok(engine)
    }

    /// For reads beside the writer.
    pub(crate) fn tree(&self) -> sled::Tree {
        self.tree.clone()
    }

    /// Hands the batch to the operating system; it survives the death of the process.
    fn write_batch(&mut self) -> Result<(), StorageError> {
        self.state.batch += 1;
        let state = encode_state(&self.state);
        self.put(Key::State, &state);
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let atomic = std::mem::take(&mut self.atomic);
        write(&self.db, &self.tree, &self.path, batch, atomic)
    }

    fn put(&mut self, key: Key, body: &[u8]) {
        let key = key.bytes();
        let value = frame(&key, body);
        self.batch_bytes += key.len() + value.len();
        self.batch.push((key, Some(value)));
    }

    fn remove(&mut self, index: u64, parts: u16) {
        self.batch.push((Key::Entry(index).bytes(), None));
        self.batch.extend((1..=parts).map(|part| (Key::Part(index, part).bytes(), None)));
        self.batch_bytes += REMOVAL_BYTES * (1 + parts as usize);
        self.atomic = true;
    }
}

impl Disk for Engine {
    fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    fn append(&mut self, entry: &Entry) {
        let index = entry.log_id.index;
        let (bytes, checksum) = encode_entry(entry, self.state.last_link);
        let mut parts = bytes.chunks(PART_BYTES);
        self.put(Key::Entry(index), parts.next().unwrap_or_default());
        let mut count = 0;
        for part in parts {
            count += 1;
            self.put(Key::Part(index, count), part);
        }
        if self.links.is_empty() {
            self.first = index;
        }
        self.links.push_back(Link { term: entry.log_id.leader_id.term, checksum, parts: count });
        self.state.last = Some(entry.log_id);
        self.state.last_link = checksum;
    }

    fn truncate_after(&mut self, last: Option<LogId>) {
        let keep = last.map_or(0, |last| (last.index + 1).saturating_sub(self.first));
        while self.links.len() as u64 > keep {
            let index = self.first + self.links.len() as u64 - 1;
            if let Some(link) = self.links.pop_back() {
                self.remove(index, link.parts);
            }
        }
        (self.state.last, self.state.last_link) = self
            .links
            .back()
            .map_or((self.state.purged, self.state.purged_link), |link| (last, link.checksum));
    }

    fn purge(&mut self, upto: LogId, max: usize) -> bool {
        if self.state.purged.is_some_and(|purged| purged.index >= upto.index) {
            return true;
        }
        let beyond = self.state.last.is_none_or(|last| last.index <= upto.index);
        let mut left = if beyond { usize::MAX } else { max };
        let mut purged = (upto, 0);
        while left > 0
            && (beyond || self.first <= upto.index)
            && let Some(removed) = self.links.pop_front()
        {
            self.remove(self.first, removed.parts);
            purged = (log_id(removed.term, self.first), removed.checksum);
            self.first += 1;
            left -= 1;
        }
        let done = beyond || self.first > upto.index;
        if done && purged.0 != upto {
            // `upto` was never in this log, so nobody knows its link.
            purged = (upto, 0);
        }
        (self.state.purged, self.state.purged_link) = (Some(purged.0), purged.1);
        if self.links.is_empty() {
            (self.state.last, self.state.last_link) = (self.state.purged, self.state.purged_link);
        }
        done
    }

    fn set_vote(&mut self, vote: Vote) {
        self.state.vote = Some(vote);
        self.voted = true;
    }

    fn set_committed(&mut self, committed: Option<LogId>) {
        self.state.committed = committed;
    }

    fn commit(&mut self) -> Result<(), StorageError> {
        self.write_batch()?;
        self.data.sync_data().context(&self.path, "sync the file")?;
        self.watermark.raise(self.state.batch)?;
        if std::mem::take(&mut self.voted) { self.watermark.sync() } else { Ok(()) }
    }

    fn is_dirty(&self) -> bool {
        self.watermark.is_dirty()
    }

    fn sync_rest(&mut self) -> Result<(), StorageError> {
        self.watermark.sync()
    }
}

/// Creates an empty log in `dir`, which must not exist.
pub(crate) fn create(dir: &Path) -> Result<(), StorageError> {
    let db = open_sled(dir)?;
    let path = data_file(dir);
    let records =
        [(Key::Schema, SCHEMA_VERSION.to_le_bytes().to_vec()), (Key::State, encode_state(&State::default()))];
    let batch = records.into_iter().map(|(key, body)| {
        let key = key.bytes();
        let value = frame(&key, &body);
        (key, Some(value))
    });
    let tree = tree(&db, &path)?;
    write(&db, &tree, &path, batch.collect(), true)
}

impl Fault {
    /// The fault of a record in the file `path`.
    pub(crate) fn at(self, path: &Path) -> StorageError {
        StorageError::Corrupt { path: path.to_owned(), key: self.key, reason: self.reason }
    }
}
