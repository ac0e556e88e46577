//! How far this node has acknowledged, kept beside the database.
//!
//! The problem: sled takes a damaged tail for one that was torn by a crash and cuts it off. Then acknowledged entries
//! and votes are gone, and what is left looks whole. The idea: a small file holds the number of the last acknowledged
//! batch. A database that ends before it has lost something.
//!
//! It is written after the batch is durable and before it is acknowledged, so it never runs ahead. It survives a
//! killed process at once, and a power loss as of its last sync, which is at most [`Watermark::SYNC_AFTER`] old; for
//! votes the caller syncs at once.

use super::Fault;
use crate::StorageError;
use crate::files::Context;
use crate::record::{frame, unframe};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Two slots are written in turn, each in a block of its own, so that a torn write spoils one of them only.
const SLOT_BYTES: u64 = 512;
const RECORD_BYTES: usize = 13;
const NAME: &str = "watermark";

#[derive(Debug)]
pub(crate) struct Watermark {
    file: File,
    path: PathBuf,
    dirty: bool,
}

impl Watermark {
    /// How old an unsynced watermark may get.
    pub(crate) const SYNC_AFTER: Duration = Duration::from_secs(1);

    /// Creates the file, with both slots at batch 0. The caller syncs it.
    pub(crate) fn create(path: &Path) -> Result<(), StorageError> {
        let file = File::create_new(path).context(path, "create the file")?;
        for slot in [0, SLOT_BYTES] {
            let record = frame(NAME.as_bytes(), &0_u64.to_le_bytes());
            file.write_all_at(&record, slot).context(path, "write the file")?;
        }
        Ok(())
    }

    /// Opens the file.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Self { file, path: path.to_owned(), dirty: false }),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(Fault::new(NAME, "it is missing").at(path)),
            Err(e) => Err(e).context(path, "open the file"),
        }
    }

    /// The last acknowledged batch.
    pub(crate) fn read(&self) -> Result<u64, StorageError> {
        let slots = [self.slot(0)?, self.slot(SLOT_BYTES)?];
        let [first, second] = &slots;
        match (first, second) {
            (Err(fault), Err(_)) => Err(fault.clone().at(&self.path)),
            _ => Ok(slots.into_iter().flatten().max().unwrap_or(0)),
        }
    }

    fn slot(&self, at: u64) -> Result<Result<u64, Fault>, StorageError> {
        let mut record = [0; RECORD_BYTES];
        match self.file.read_exact_at(&mut record, at) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                return Ok(Err(Fault::new(NAME, "the file is too short")));
            }
            read => read.context(&self.path, "read the file")?,
        }
        let number = unframe(NAME, NAME.as_bytes(), &record).and_then(|body| {
            let bytes = body[..].try_into().map_err(|_| Fault::new(NAME, "it is no number"))?;
            Ok(u64::from_le_bytes(bytes))
        });
        Ok(number)
    }

    /// Says that `batch` is durable.
    pub(crate) fn raise(&mut self, batch: u64) -> Result<(), StorageError> {
        let record = frame(NAME.as_bytes(), &batch.to_le_bytes());
        self.file.write_all_at(&record, batch % 2 * SLOT_BYTES).context(&self.path, "write the file")?;
        self.dirty = true;
        Ok(())
    }

    /// Whether a power loss could take it back.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Makes it survive a power loss.
    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync_data().context(&self.path, "sync the file")?;
        self.dirty = false;
        Ok(())
    }
}
