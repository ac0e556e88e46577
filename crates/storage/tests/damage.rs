//! What a damaged, foreign or full data directory does: a clear error, or everything intact; and no file changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use bytes::Bytes;
use common::{CLUSTER, NODE, all, append, assorted, content, copy, reopen, snapshot_meta};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use primacy_core::NodeId;
use primacy_storage::{Entry, Opened, StorageError, Vote, log_id, open};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const REMEDY: &str = "set the data directory aside";
const SNAPSHOT: &[u8] = b"the state machine";

/// A store with some history: entries of all kinds, a vote, a snapshot, a purge, and two reopenings.
struct Written {
    dir: TempDir,
    entries: Vec<Entry>,
    vote: Vote,
    snapshot_at: u64,
}

/// Writes `count` entries in three sittings; in the second a third of them is purged.
async fn written(count: u64) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let vote = Vote::new_committed(3, 7);
    let (sitting, snapshot_at) = (count / 3, count / 3 - 1);
    for part in 0..3 {
        let Opened { mut log, snapshots, .. } = reopen(dir.path()).unwrap();
        let indexes: Vec<u64> = (part * sitting..(part + 1) * sitting).collect();
        for some in indexes.chunks(5) {
            append(&mut log, some.iter().map(|index| assorted(log_id(2, *index))).collect()).await.unwrap();
        }
        if part == 1 {
            log.save_vote(&vote).await.unwrap();
            snapshots.save(&snapshot_meta(log_id(2, snapshot_at)), SNAPSHOT.into()).await.unwrap();
            log.purge(log_id(2, snapshot_at)).await.unwrap();
        }
    }
    let entries = (sitting..3 * sitting).map(|index| assorted(log_id(2, index))).collect();
    wait_until_closed(dir.path());
    Written { dir, entries, vote, snapshot_at }
}

/// A store that was dropped gives its directory free once its thread is done.
fn wait_until_closed(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let lock = fs::File::open(dir.join("lock")).unwrap();
    while lock.try_lock().is_err() {
        assert!(Instant::now() < deadline, "the store was not closed");
        std::thread::yield_now();
    }
}

/// Opens `dir`, in which something was damaged: either all is there, or it is refused and left as it is.
async fn intact_or_refused(written: &Written, dir: &Path, what: &str) -> Option<StorageError> {
    let before = content(dir);
    match reopen(dir) {
        Ok(mut opened) => {
            assert_eq!(all(&mut opened.log).await, written.entries, "{what}");
            assert_eq!(opened.log.read_vote().await.unwrap(), Some(written.vote), "{what}");
            let (meta, data) = opened.snapshots.load().await.unwrap().expect("the snapshot");
            assert_eq!(
                (meta, data),
                (snapshot_meta(log_id(2, written.snapshot_at)), Bytes::from_static(SNAPSHOT)),
                "{what}"
            );
            None
        }
        Err(error) => {
            assert_eq!(content(dir), before, "{what}: refused with {error}, but files were changed");
            Some(error)
        }
    }
}

/// A copy of the store in which one file was changed.
fn damaged(written: &Written, file: &str, damage: impl FnOnce(&mut Vec<u8>)) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    copy(written.dir.path(), dir.path());
    let path = dir.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn assert_refused(error: &StorageError, path: &Path, words: &[&str]) {
    let text = error.to_string();
    for word in words.iter().chain([&path.display().to_string().as_str()]) {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

const DATABASE: &str = "log/sled/db";

async fn flip_bytes(entries: u64, flips: usize) {
    let written = written(entries).await;
    let bytes = fs::read(written.dir.path().join(DATABASE)).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let seed =
        std::env::var("PRIMACY_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("PRIMACY_TEST_SEED={seed}");
    let mut luck = SmallRng::seed_from_u64(seed);
    let mut refused = 0;
    for _ in 0..flips {
        let (at, bit) = (luck.random_range(0..used), luck.random_range(0..8));
        let (dir, path) = damaged(&written, DATABASE, |bytes| bytes[at] ^= 1 << bit);
        if let Some(error) = intact_or_refused(&written, dir.path(), &format!("byte {at} bit {bit}")).await {
            assert_refused(&error, &path, &[REMEDY]);
            refused += 1;
        }
    }
    println!("{refused} of {flips} refused, the others harmless");
    assert!(refused > 0);
}

#[tokio::test]
async fn a_flipped_byte_in_a_small_database_is_refused_or_harmless() {
    flip_bytes(60, 100).await;
}

#[tokio::test]
async fn a_flipped_byte_in_a_database_of_many_segments_is_refused_or_harmless() {
    flip_bytes(600, 40).await;
}

#[tokio::test]
async fn a_database_cut_short_is_refused() {
    let written = written(60).await;
    let length = fs::metadata(written.dir.path().join(DATABASE)).unwrap().len() as usize;
    let used =
        fs::read(written.dir.path().join(DATABASE)).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    for cut in [0, 1, 100, used / 3, used / 2, used - 5_000, used - 30, used] {
        let (dir, path) = damaged(&written, DATABASE, |bytes| bytes.truncate(cut));
        let error = intact_or_refused(&written, dir.path(), &format!("cut to {cut} of {length}")).await;
        assert_refused(&error.expect("it cannot be intact"), &path, &[REMEDY]);
    }
}

#[tokio::test]
async fn a_former_copy_of_the_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { mut log, .. } = reopen(dir.path()).unwrap();
    append(&mut log, vec![assorted(log_id(1, 0))]).await.unwrap();
    drop(log);
    wait_until_closed(dir.path());
    let former = tempfile::tempdir().unwrap();
    copy(&dir.path().join("log/sled"), former.path());
    let Opened { mut log, .. } = reopen(dir.path()).unwrap();
    log.save_vote(&Vote::new(9, 7)).await.unwrap();
    drop(log);
    wait_until_closed(dir.path());
    fs::remove_dir_all(dir.path().join("log/sled")).unwrap();
    copy(former.path(), &dir.path().join("log/sled"));
    assert_refused(
        &reopen(dir.path()).unwrap_err(),
        &dir.path().join(DATABASE),
        &["was acknowledged", REMEDY],
    );
}

#[tokio::test]
async fn each_damaged_file_beside_the_database_is_refused_or_harmless() {
    let written = written(60).await;
    let files: Vec<PathBuf> = content(written.dir.path()).into_keys().collect();
    for file in files.iter().map(|path| path.strip_prefix(written.dir.path()).unwrap().to_str().unwrap()) {
        if file == DATABASE {
            continue;
        }
        let length = fs::metadata(written.dir.path().join(file)).unwrap().len() as usize;
        for at in (0..length).step_by((length / 12).max(1)) {
            let (dir, _) = damaged(&written, file, |bytes| bytes[at] ^= 1);
            intact_or_refused(&written, dir.path(), &format!("{file} byte {at}")).await;
            let (dir, _) = damaged(&written, file, |bytes| bytes.truncate(at));
            intact_or_refused(&written, dir.path(), &format!("{file} cut to {at}")).await;
        }
    }
}

#[tokio::test]
async fn a_missing_part_is_refused() {
    let written = written(60).await;
    for part in ["log/identity", "log/watermark", "log/sled", DATABASE, "log", "snapshot"] {
        let dir = tempfile::tempdir().unwrap();
        copy(written.dir.path(), dir.path());
        let path = dir.path().join(part);
        fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
        let error = intact_or_refused(&written, dir.path(), &format!("without {part}")).await;
        let text = error.unwrap_or_else(|| panic!("{part} is missed by nobody")).to_string();
        assert!(text.contains(&dir.path().display().to_string()) && text.contains(REMEDY), "{part}: {text}");
    }
}

#[tokio::test]
async fn what_a_kill_during_an_open_leaves_behind_is_cleared_away() {
    let written = written(60).await;
    let dir = written.dir.path();
    fs::write(dir.join("log/sled/snap.0000000000FFFFFF.generating"), b"cut sho").unwrap();
    copy(&dir.join("log/sled"), &dir.join("checking"));
    fs::create_dir(dir.join("creating")).unwrap();
    let unfinished = intact_or_refused(&written, dir, "after a kill").await;
    assert!(unfinished.is_none(), "{unfinished:?}");
    assert!(!dir.join("checking").exists() && !dir.join("creating").exists());
}

#[tokio::test]
async fn a_foreign_schema_is_refused() {
    let written = written(60).await;
    // As a later version would write it: the identity first, the database's own version alone.
    let later = |version: u32| {
        let mut value = vec![1, 0, 0, 0, 0];
        value.extend(version.to_le_bytes());
        let mut sum = crc32fast::Hasher::new();
        for part in [&value[..1], b"schema_version", &value[5..]] {
            sum.update(part);
        }
        value[1..5].copy_from_slice(&sum.finalize().to_le_bytes());
        value
    };
    let dir = tempfile::tempdir().unwrap();
    copy(written.dir.path(), dir.path());
    let database = sled::Config::new().path(dir.path().join("log/sled")).flush_every_ms(None).open().unwrap();
    database.open_tree("log").unwrap().insert("schema_version", later(2)).unwrap();
    database.flush().unwrap();
    drop(database);
    let error = intact_or_refused(&written, dir.path(), "schema 2").await.expect("it cannot be read");
    let words = ["schema_version is 2", "reads 1", "start the version that wrote it"];
    assert_refused(&error, &dir.path().join(DATABASE), &words);
}

#[tokio::test]
async fn another_cluster_or_node_is_refused() {
    let written = written(60).await;
    let identity = written.dir.path().join("log/identity");
    let before = content(written.dir.path());
    let error = open(written.dir.path(), "staging", NODE).unwrap_err();
    assert_refused(&error, &identity, &["belongs to cluster \"prod\"", "configured for cluster \"staging\""]);
    let error = open(written.dir.path(), CLUSTER, NodeId(8)).unwrap_err();
    assert_refused(&error, &identity, &["belongs to node \"7\"", "configured for node \"8\""]);
    assert_eq!(content(written.dir.path()), before);
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let opened = reopen(dir.path()).unwrap();
    let error = reopen(dir.path()).unwrap_err();
    assert_refused(&error, &dir.path().join("lock"), &["another process holds this file's lock"]);
    drop(opened);
    reopen(dir.path()).unwrap();
}

#[tokio::test]
async fn an_emptied_directory_shows_itself_by_another_store_id() {
    let dir = tempfile::tempdir().unwrap();
    let first = reopen(dir.path()).unwrap();
    assert!(first.fresh);
    let store_id = first.store_id;
    let mut log = first.log;
    log.save_vote(&Vote::new(1, 7)).await.unwrap();
    drop(log);
    let second = reopen(dir.path()).unwrap();
    assert_eq!((second.store_id, second.fresh), (store_id, false));
    drop(second);
    wait_until_closed(dir.path());
    for part in ["log", "lock"] {
        let path = dir.path().join(part);
        fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
    }
    let third = reopen(dir.path()).unwrap();
    assert!(third.fresh && third.store_id != store_id);
}
