//! Opening a node's data directory.
//!
//! ```text
//! lock              held by the process that uses the directory
//! log/identity      whose log it is
//! log/watermark     how far was acknowledged
//! log/sled/         the database
//! snapshot          the latest snapshot
//! checking/         a copy of the database, while it is checked
//! creating/         a log that is not complete yet
//! ```
//!
//! A log is created aside and renamed, so that there is none or a whole one. It is checked on a copy, because sled
//! cuts off what it cannot read: only a database whose copy was found whole is opened itself.

use crate::engine::{self, Engine, Loaded, Watermark, data_file, load, open_sled};
use crate::files::{self, Context, copy_tree, remove_tree, replace, sync_dir, sync_tree};
use crate::log::{KEPT_ENTRIES, LogStore};
use crate::record::{Fault, SCHEMA_VERSION, State, decode_identity, encode_identity, frame, unframe};
use crate::snapshot::SnapshotStore;
use crate::{SnapshotMeta, StorageError};
use primacy_core::NodeId;
use primacy_wire::v1::StoredIdentity;
use std::fs;
use std::path::{Path, PathBuf};

const IDENTITY_KEY: &[u8] = b"identity";

/// A data directory in use.
#[derive(Debug)]
pub struct Opened {
    /// The log and the votes.
    pub log: LogStore,
    /// The snapshots.
    pub snapshots: SnapshotStore,
    /// Drawn when the directory was first used, never 0. One that differs from what the cluster knows under this
    /// node's id means that the directory was emptied, and with it the node's votes.
    pub store_id: u64,
    /// Nothing was ever promised from here: no vote, no entry, no snapshot.
    pub fresh: bool,
}

/// Opens the data directory of a node, and creates what is missing when it is empty. Blocks; for the start of a process.
///
/// # Errors
/// A directory that is in use, belongs to another node or cluster, was written by another version, or is damaged. The
/// message names the file, the record and the remedy, and nothing was changed.
pub fn open(dir: &Path, cluster: &str, node: NodeId) -> Result<Opened, StorageError> {
    let places = Places::new(dir);
    create_dir(dir)?;
    let lock = files::lock(places.lock.clone())?;
    remove_tree(&places.creating)?;
    remove_tree(&places.checking)?;
    let store_id = match files::read(&places.identity)? {
        Some(content) => check_identity(&places.identity, &content, cluster, node)?,
        None => create(&places, cluster, node)?,
    };
    let watermark = Watermark::open(&places.watermark)?;
    let checked = check_copy(&places, &watermark)?;
    let (snapshots, snapshot) = SnapshotStore::open(places.snapshot.clone())?;
    check_coverage(&places.snapshot, &checked, snapshot.as_ref())?;
    let db = open_sled(&places.sled)?;
    let loaded = load_whole(&places.sled, &db, &watermark)?;
    let fresh = checked.vote.is_none() && checked.last.is_none() && snapshot.is_none();
    let engine = Engine::new(&places.sled, db, &loaded, watermark)?;
    let log = LogStore::start(engine, loaded, data_file(&places.sled), lock)?;
    Ok(Opened { log, snapshots, store_id, fresh })
}

/// Where everything is.
struct Places {
    dir: PathBuf,
    lock: PathBuf,
    log: PathBuf,
    identity: PathBuf,
    watermark: PathBuf,
    sled: PathBuf,
    snapshot: PathBuf,
    checking: PathBuf,
    creating: PathBuf,
}

impl Places {
    fn new(dir: &Path) -> Self {
        let log = dir.join("log");
        Self {
            dir: dir.to_owned(),
            lock: dir.join("lock"),
            identity: log.join("identity"),
            watermark: log.join("watermark"),
            sled: log.join("sled"),
            log,
            snapshot: dir.join("snapshot"),
            checking: dir.join("checking"),
            creating: dir.join("creating"),
        }
    }
}

/// Creates `dir` and makes its name durable.
fn create_dir(dir: &Path) -> Result<(), StorageError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).context(dir, "create the data directory")?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Creates an empty log, unless there was more in the directory than a log that never was complete.
fn create(places: &Places, cluster: &str, node: NodeId) -> Result<u64, StorageError> {
    let missing = |what: &Path, beside: &str| {
        Err(Fault::new("identity", format!("it is missing beside {beside}")).at(what))
    };
    if places.log.exists() {
        return missing(&places.identity, "a log");
    }
    if places.snapshot.exists() {
        return missing(&places.identity, "a snapshot");
    }
    let store_id = primacy_runtime::random_u64().max(1);
    let creating = &places.creating;
    fs::create_dir(creating).context(creating, "create the directory")?;
    engine::create(&creating.join("sled"))?;
    Watermark::create(&creating.join("watermark"))?;
    let identity = frame(IDENTITY_KEY, &encode_identity(cluster, node, store_id));
    replace(&creating.join("identity"), &[&identity])?;
    sync_tree(creating)?;
    fs::rename(creating, &places.log).context(&places.log, "move the new log into place")?;
    sync_dir(&places.dir)?;
    Ok(store_id)
}

fn check_identity(path: &Path, content: &[u8], cluster: &str, node: NodeId) -> Result<u64, StorageError> {
    let body = unframe("identity", IDENTITY_KEY, content).map_err(|fault| fault.at(path))?;
    let found: StoredIdentity = decode_identity("identity", body).map_err(|fault| fault.at(path))?;
    if found.schema != SCHEMA_VERSION {
        return Err(StorageError::Schema {
            path: path.to_owned(),
            found: found.schema,
            expected: SCHEMA_VERSION,
        });
    }
    let foreign =
        |key, found, expected| Err(StorageError::Foreign { path: path.to_owned(), key, found, expected });
    if found.cluster != cluster {
        return foreign("cluster", found.cluster, cluster.to_owned());
    }
    if found.node != node.0 {
        return foreign("node", found.node.to_string(), node.to_string());
    }
    Ok(found.store_id)
}

/// Opens a copy of the database and reads all of it. The copy is gone afterwards, whatever came of it.
fn check_copy(places: &Places, watermark: &Watermark) -> Result<State, StorageError> {
    if !places.sled.is_dir() {
        return Err(Fault::new("database", "it is missing").at(&places.sled));
    }
    let checked = copy_tree(&places.sled, &places.checking).and_then(|()| {
        let db = open_sled(&places.checking)?;
        load_whole(&places.checking, &db, watermark)
    });
    remove_tree(&places.checking)?;
    checked.map(|loaded| loaded.state).map_err(|error| error.of_original(&places.checking, &places.sled))
}

/// Reads the log, and checks that it has not lost its end.
fn load_whole(dir: &Path, db: &sled::Db, watermark: &Watermark) -> Result<Loaded, StorageError> {
    let loaded = load(dir, db, KEPT_ENTRIES)?;
    let (acknowledged, found) = (watermark.read()?, loaded.state.batch);
    if found < acknowledged {
        let reason = format!("it ends with batch {found}, but batch {acknowledged} was acknowledged");
        return Err(Fault::new("state", reason).at(&data_file(dir)));
    }
    Ok(loaded)
}

/// What was purged must be in the snapshot.
fn check_coverage(path: &Path, state: &State, snapshot: Option<&SnapshotMeta>) -> Result<(), StorageError> {
    let Some(purged) = state.purged else {
        return Ok(());
    };
    let covered = snapshot.and_then(|snapshot| snapshot.last_log_id);
    if covered.is_none_or(|covered| covered.index < purged.index) {
        let covered = covered.map_or("nothing".to_owned(), |covered| format!("entry {}", covered.index));
        let reason = format!("it covers {covered}, but the log begins after entry {}", purged.index);
        return Err(Fault::new("snapshot", reason).at(path));
    }
    Ok(())
}
