//! The latest snapshot of the state machine: one file, replaced whole; or what a simulation keeps in its place.
//!
//! The log behind it is purged, so a snapshot must be durable before it counts, and an older one must never take the
//! place of a newer: openraft builds one in the background while the leader may send another.

use crate::disk::SnapshotDisk;
use crate::files::{self, replace};
use crate::record::{Fault, SnapshotHead, decode_snapshot, encode_snapshot, frame, unframe};
use crate::{LogId, SnapshotMeta, StorageError};
use bytes::Bytes;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const NAME: &str = "snapshot";
const KEY: &[u8] = b"snapshot";

/// Saves and loads the latest snapshot of one node. Clones share it.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    kept: Arc<Kept>,
    /// What the saved one covers; held while another one is saved.
    covered: Arc<Mutex<Option<LogId>>>,
}

enum Kept {
    File(PathBuf),
    On(Box<dyn SnapshotDisk>),
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::File(path) => f.debug_tuple("File").field(path).finish(),
            Kept::On(_) => f.write_str("On"),
        }
    }
}

impl Kept {
    fn replace(&self, meta: &SnapshotMeta, data: &Bytes) -> Result<(), StorageError> {
        match self {
            Kept::File(path) => {
                let head = frame(KEY, &encode_snapshot(meta, data));
                replace(path, &[&(head.len() as u32).to_le_bytes(), &head, data])
            }
            Kept::On(disk) => disk.replace(meta, data),
        }
    }

    fn load(&self) -> Result<Option<(SnapshotMeta, Bytes)>, StorageError> {
        match self {
            Kept::File(path) => load(path),
            Kept::On(disk) => disk.load(),
        }
    }
}

impl SnapshotStore {
    /// Opens the store and checks what is in it.
    pub(crate) fn open(path: PathBuf) -> Result<(Self, Option<SnapshotMeta>), StorageError> {
        Self::keep(Kept::File(path))
    }

    /// The same on a disk that is no directory.
    pub(crate) fn on(disk: Box<dyn SnapshotDisk>) -> Result<(Self, Option<SnapshotMeta>), StorageError> {
        Self::keep(Kept::On(disk))
    }

    fn keep(kept: Kept) -> Result<(Self, Option<SnapshotMeta>), StorageError> {
        let meta = kept.load()?.map(|(meta, _)| meta);
        let covered = meta.as_ref().and_then(|meta| meta.last_log_id);
        let store = Self { kept: Arc::new(kept), covered: Arc::new(Mutex::new(covered)) };
        Ok((store, meta))
    }

    /// Makes `data` the latest snapshot, durably, unless the present one covers more.
    pub async fn save(&self, meta: &SnapshotMeta, data: Bytes) -> Result<(), StorageError> {
        if let Kept::On(disk) = &*self.kept {
            disk.wait(data.len()).await;
        }
        let (store, meta) = (self.clone(), meta.clone());
        off_the_runtime(move || store.save_blocking(&meta, &data)).await
    }

    fn save_blocking(&self, meta: &SnapshotMeta, data: &Bytes) -> Result<(), StorageError> {
        let mut covered = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        if *covered > meta.last_log_id {
            return Ok(());
        }
        self.kept.replace(meta, data)?;
        *covered = meta.last_log_id;
        Ok(())
    }

    /// The latest snapshot, if there is one.
    pub async fn load(&self) -> Result<Option<(SnapshotMeta, Bytes)>, StorageError> {
        let kept = self.kept.clone();
        off_the_runtime(move || kept.load()).await
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let done = primacy_runtime::blocking(work).await;
    done.unwrap_or_else(|cancelled| Err(StorageError::Closed { reason: cancelled.to_string() }))
}

fn load(path: &Path) -> Result<Option<(SnapshotMeta, Bytes)>, StorageError> {
    let Some(content) = files::read(path)? else {
        return Ok(None);
    };
    parse(&content.into()).map(Some).map_err(|fault| fault.at(path))
}

fn parse(content: &Bytes) -> Result<(SnapshotMeta, Bytes), Fault> {
    let too_short = || Fault::new(NAME, format!("the file ends after {} bytes", content.len()));
    let (length, rest) = content.split_first_chunk().ok_or_else(too_short)?;
    let head_bytes = u32::from_le_bytes(*length) as usize;
    let head = rest.get(..head_bytes).ok_or_else(too_short)?;
    let SnapshotHead { meta, length, crc32 } = decode_snapshot(NAME, unframe(NAME, KEY, head)?)?;
    let data = content.slice(size_of::<u32>() + head_bytes..);
    if data.len() as u64 != length {
        return Err(Fault::new(NAME, format!("it has {} bytes of data instead of {length}", data.len())));
    }
    let computed = crc32fast::hash(&data);
    if computed != crc32 {
        return Err(Fault::new(NAME, format!("CRC mismatch: stored {crc32:08x}, computed {computed:08x}")));
    }
    Ok((meta, data))
}
