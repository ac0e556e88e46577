//! Files that must survive a crash: written aside, synced, moved into place, and the directory synced too.

use crate::StorageError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Adds the path and the intent to an error of the operating system.
pub(crate) trait Context<T> {
    fn context(self, path: &Path, doing: &'static str) -> Result<T, StorageError>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, path: &Path, doing: &'static str) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { path: path.to_owned(), doing, source })
    }
}

/// Makes the entries of `dir` durable: which files it holds, not what is in them.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).context(dir, "sync the directory")
}

/// Makes `dir` and all that is in it durable.
pub(crate) fn sync_tree(dir: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(dir).context(dir, "list the directory")? {
        let path = entry.context(dir, "list the directory")?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).context(&path, "sync the file")?;
        }
    }
    sync_dir(dir)
}

/// Puts a file with these parts in the place of `path`: after a crash there is the old one or the new one, whole.
pub(crate) fn replace(path: &Path, parts: &[&[u8]]) -> Result<(), StorageError> {
    let aside = path.with_extension("new");
    let mut file = File::create(&aside).context(&aside, "create the file")?;
    for part in parts {
        file.write_all(part).context(&aside, "write the file")?;
    }
    file.sync_all().context(&aside, "sync the file")?;
    fs::rename(&aside, path).context(path, "move the file into place")?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// The content of a file, or none when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(path, "read the file"),
    }
}

/// Removes a directory and all that is in it, if it is there.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e).context(dir, "remove the directory"),
        _ => Ok(()),
    }
}

/// Copies `from` and all that is in it to `to`, which must not exist. Shares blocks where the file system can.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::create_dir(to).context(to, "create the directory")?;
    for entry in fs::read_dir(from).context(from, "list the directory")? {
        let entry = entry.context(from, "list the directory")?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            fs::copy(&source, &target).context(&target, "copy the log here to check it")?;
        }
    }
    Ok(())
}

/// The directory is this process's as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// How long a former store of this process may take to let go of its directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Locks the directory of `lock`.
pub(crate) fn lock(lock: PathBuf) -> Result<Lock, StorageError> {
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock)
        .context(&lock, "create the lock file")?;
    let give_up = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => thread::sleep(LOCK_RETRY),
            Err(TryLockError::WouldBlock) => return Err(StorageError::InUse { lock }),
            Err(TryLockError::Error(e)) => return Err(e).context(&lock, "lock the file"),
        }
    }
}
