//! The store against a plain vector: what readers see is the same, before it is durable, after a truncation, far behind
//! the entries kept in memory, and after reopening.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{all, append, assorted, command, marked, reopen, snapshot_meta};
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use primacy_storage::{Entry, LogId, LogStore, Opened, TypeConfig, log_id};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::ops::Range;

/// What the log must be.
#[derive(Default)]
struct Model {
    purged: Option<LogId>,
    entries: Vec<Entry>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn range(&self, range: &Range<u64>) -> Vec<Entry> {
        self.entries.iter().filter(|entry| range.contains(&entry.log_id.index)).cloned().collect()
    }

    async fn check(&self, log: &mut LogStore, luck: &mut SmallRng) {
        let state = LogState { last_purged_log_id: self.purged, last_log_id: self.last() };
        assert_eq!(log.get_log_state().await.unwrap(), state);
        let start = luck.random_range(0..self.next() + 2);
        let range = start..start + luck.random_range(0..300);
        let mut reader = log.get_log_reader().await;
        assert_eq!(reader.try_get_log_entries(range.clone()).await.unwrap(), self.range(&range), "{range:?}");
    }
}

/// Appends without waiting for the disk.
async fn append_soon(log: &mut LogStore, entries: Vec<Entry>) {
    let (done, _) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(done)).await.unwrap();
}

async fn change(model: &mut Model, opened: &mut Opened, term: u64, luck: &mut SmallRng) {
    let next = model.next();
    match luck.random_range(0..20) {
        0 if !model.entries.is_empty() => {
            let keep = luck.random_range(0..model.entries.len());
            model.entries.truncate(keep);
            opened.log.truncate_after(model.last()).await.unwrap();
        }
        1 if model.entries.len() > 200 => {
            let upto = model.entries[luck.random_range(0..model.entries.len())].log_id;
            model.entries.retain(|entry| entry.log_id.index > upto.index);
            model.purged = Some(upto);
            opened.snapshots.save(&snapshot_meta(upto), "state".into()).await.unwrap();
            opened.log.purge(upto).await.unwrap();
        }
        2 if luck.random_range(0..10) == 0 => {
            // A snapshot from the leader, from beyond the end of this log.
            let upto = log_id(term, next + 50);
            *model = Model { purged: Some(upto), entries: Vec::new() };
            opened.snapshots.save(&snapshot_meta(upto), "state".into()).await.unwrap();
            opened.log.purge(upto).await.unwrap();
        }
        _ => {
            let some: Vec<Entry> =
                (next..next + luck.random_range(1..60)).map(|index| assorted(log_id(term, index))).collect();
            model.entries.extend(some.iter().cloned());
            append_soon(&mut opened.log, some).await;
        }
    }
}

#[tokio::test]
async fn readers_see_what_a_plain_vector_would_show() {
    let seed =
        std::env::var("PRIMACY_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("PRIMACY_TEST_SEED={seed}");
    let mut luck = SmallRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    for term in 1..6 {
        let mut opened = reopen(dir.path()).unwrap();
        model.check(&mut opened.log, &mut luck).await;
        assert_eq!(all(&mut opened.log).await, model.entries);
        for _ in 0..100 {
            change(&mut model, &mut opened, term, &mut luck).await;
            model.check(&mut opened.log, &mut luck).await;
        }
    }
}

#[tokio::test]
async fn entries_far_behind_are_read_from_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = reopen(dir.path()).unwrap();
    let entry = |index: u64| match index % 100 {
        7 => Entry { log_id: log_id(1, index), payload: command(9_000) },
        _ => marked(log_id(1, index), index),
    };
    for some in (0..9_000).collect::<Vec<u64>>().chunks(500) {
        append(&mut opened.log, some.iter().map(|index| entry(*index)).collect()).await.unwrap();
    }
    let mut reader = opened.log.get_log_reader().await;
    for range in [0..9_000, 0..1, 107..108, 4_000..6_000, 8_999..9_100] {
        let expected: Vec<Entry> = range.clone().filter(|index| *index < 9_000).map(entry).collect();
        assert_eq!(reader.try_get_log_entries(range).await.unwrap(), expected);
    }
    // Below what is kept in memory, and then on in another term.
    opened.log.truncate_after(Some(log_id(1, 2_999))).await.unwrap();
    append_soon(&mut opened.log, vec![marked(log_id(2, 3_000), 1)]).await;
    let joined = reader.try_get_log_entries(2_998..3_100).await.unwrap();
    assert_eq!(joined, [entry(2_998), entry(2_999), marked(log_id(2, 3_000), 1)]);
}

#[tokio::test]
async fn the_database_does_not_grow_when_it_is_purged() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = reopen(dir.path()).unwrap();
    let mut sizes = Vec::new();
    for round in 0..30 {
        for some in (round * 1_000..(round + 1) * 1_000).collect::<Vec<u64>>().chunks(100) {
            let entries = some.iter().map(|index| Entry { log_id: log_id(1, *index), payload: command(300) });
            append(&mut opened.log, entries.collect()).await.unwrap();
        }
        let upto = log_id(1, round * 1_000 + 900);
        opened.snapshots.save(&snapshot_meta(upto), "state".into()).await.unwrap();
        opened.log.purge(upto).await.unwrap();
        sizes.push(fs::metadata(dir.path().join("log/sled/db")).unwrap().len() >> 10);
    }
    println!("KiB after each 1000 entries of 350 bytes: {sizes:?}");
    assert!(sizes[29] < 2 * sizes[9], "it grows: {sizes:?}");
    assert!(
        fs::read_dir(dir.path().join("log/sled/blobs")).unwrap().next().is_none(),
        "sled never syncs these"
    );
}

#[tokio::test]
async fn a_gap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = reopen(dir.path()).unwrap();
    append(&mut opened.log, vec![marked(log_id(1, 0), 0)]).await.unwrap();
    let error = append(&mut opened.log, vec![marked(log_id(1, 2), 0)]).await.unwrap_err();
    assert_eq!(error.to_string(), "entry 2 was appended where entry 1 must follow");
}

#[tokio::test]
async fn an_older_snapshot_does_not_replace_a_newer() {
    let dir = tempfile::tempdir().unwrap();
    let opened = reopen(dir.path()).unwrap();
    assert!(opened.snapshots.load().await.unwrap().is_none());
    opened.snapshots.save(&snapshot_meta(log_id(1, 20)), "newer".into()).await.unwrap();
    opened.snapshots.save(&snapshot_meta(log_id(1, 10)), "older".into()).await.unwrap();
    let (meta, data) = opened.snapshots.load().await.unwrap().unwrap();
    assert_eq!((meta, data), (snapshot_meta(log_id(1, 20)), "newer".into()));
}
