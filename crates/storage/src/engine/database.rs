//! Opening, writing and flushing sled without its surprises.

use crate::StorageError;
use crate::files::Context;
use crate::record::Fault;
use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Pages that sled keeps in memory. What is read often is in our own cache.
const SLED_CACHE_BYTES: u64 = 8 << 20;

/// How long a flush may take before another one looks whether it still waits for something.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// sled's file locks outlive the last handle by the time its garbage collection takes.
const REOPEN_PATIENCE: Duration = Duration::from_secs(5);
const REOPEN_RETRY: Duration = Duration::from_millis(10);

/// A key, and its value unless it is removed.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

/// Hands a batch to sled and has it written out. It survives the death of the process, but not the loss of power.
///
/// Atomicity costs a disk write more, and appending does not need it: sled recovers a prefix of what it was given, the
/// state record comes last, and entries beyond what it says are dropped.
pub(super) fn write(
    db: &sled::Db,
    tree: &sled::Tree,
    path: &Path,
    batch: Vec<Write>,
    atomic: bool,
) -> Result<(), StorageError> {
    if atomic {
        guarded(path, "write", || write_whole(tree, batch))?;
        return flush_watched(db, path);
    }
    guarded(path, "write", || {
        for (key, value) in batch {
            match value {
                Some(value) => tree.insert(key, value)?,
                None => tree.remove(key)?,
            };
        }
        db.flush().map(drop)
    })
}

fn write_whole(tree: &sled::Tree, batch: Vec<Write>) -> sled::Result<()> {
    let mut whole = sled::Batch::default();
    for (key, value) in batch {
        match value {
            Some(value) => whole.insert(key, value),
            None => whole.remove(key),
        }
    }
    tree.apply_batch(whole)
}

/// Flushes after an atomic batch. sled wakes nobody when the write that seals one fails, so a flush that began before
/// would wait for ever; one that begins after sees the failure.
fn flush_watched(db: &sled::Db, path: &Path) -> Result<(), StorageError> {
    let (tell, outcome) = mpsc::channel();
    loop {
        let (db, path_there, tell) = (db.clone(), path.to_owned(), tell.clone());
        // Nobody listens to the others once one has answered.
        let flush = move || drop(tell.send(guarded(&path_there, "write", || db.flush().map(drop))));
        let thread = thread::Builder::new().name("log-flush".to_owned());
        thread.spawn(flush).context(path, "start a thread to flush the file")?;
        if let Ok(outcome) = outcome.recv_timeout(FLUSH_PATIENCE) {
            return outcome;
        }
    }
}

/// The file of a sled directory that holds the data.
pub(crate) fn data_file(dir: &Path) -> PathBuf {
    dir.join("db")
}

/// Opens the sled database in `dir`.
pub(crate) fn open_sled(dir: &Path) -> Result<sled::Db, StorageError> {
    let path = data_file(dir);
    remove_unfinished_snapshots(dir)?;
    let config = sled::Config::new().path(dir).flush_every_ms(None).cache_capacity(SLED_CACHE_BYTES);
    let give_up = Instant::now() + REOPEN_PATIENCE;
    loop {
        match guarded(&path, "open", || config.open()) {
            // The directory's own lock is held already, so this can only be a former handle of this process.
            Err(StorageError::Io { source, .. }) if is_lock_conflict(&source) && Instant::now() < give_up => {
                thread::sleep(REOPEN_RETRY);
            }
            opened => return opened,
        }
    }
}

fn is_lock_conflict(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// The one tree.
pub(super) fn tree(db: &sled::Db, path: &Path) -> Result<sled::Tree, StorageError> {
    guarded(path, "open", || db.open_tree("log"))
}

/// A kill while sled wrote one leaves it cut short, and sled would take it for its newest snapshot. The former one is
/// still there: sled removes it after the new one has its name.
fn remove_unfinished_snapshots(dir: &Path) -> Result<(), StorageError> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).context(dir, "list the directory")? {
        let path = entry.context(dir, "list the directory")?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&path).context(&path, "remove the unfinished file")?;
        }
    }
    Ok(())
}

/// Runs a call of sled, which reports damage by errors and by panics.
pub(super) fn guarded<T>(
    path: &Path,
    doing: &'static str,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, StorageError> {
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) => Err(readable(source)).context(path, doing),
        Ok(Err(sled::Error::Corruption { .. })) => {
            Err(Fault::new("database", "sled reads damaged data").at(path))
        }
        Ok(Err(error)) => Err(Fault::new("database", error.to_string()).at(path)),
        Err(panic) => Err(Fault::new("database", panic_text(&*panic)).at(path)),
    }
}

/// sled hands on a copy of an error, whose text is the debug output of the first.
fn readable(copy: io::Error) -> io::Error {
    match copy.kind() {
        kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => kind.into(),
        _ => copy,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("sled gave up: {}", text.unwrap_or("no reason given"))
}
