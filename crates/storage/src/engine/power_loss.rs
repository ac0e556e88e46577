//! The loss of power, played through on a copy: what was written since the last fdatasync arrives in part, block by
//! block at random, and the log must be whole up to its last acknowledged batch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use super::{Engine, Watermark, create, data_file, load, open_sled};
use crate::disk::Disk;
use crate::files::copy_tree;
use crate::{Entry, Payload, Proposal, log_id};
use primacy_core::{Command, GroupName, NodeId, WallTime};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::Path;

const ROUNDS: u64 = 80;

/// What a disk writes whole.
const BLOCK: usize = 512;

fn entry(index: u64, luck: &mut SmallRng) -> Entry {
    let proposal = match luck.random_range(0..8) {
        0 => Proposal::from(Command::Pause {
            group: GroupName::new("features").unwrap(),
            by: "test".to_owned(),
            reason: Some("x".repeat(luck.random_range(0..30_000))),
            at: WallTime(1),
        }),
        _ => Proposal::RegisterNode { node: NodeId(index), store_id: luck.random() },
    };
    Entry { log_id: log_id(1, index), payload: Payload::Normal(proposal) }
}

/// Fills a batch with appends, a truncation, a purge or a mixture.
fn change(engine: &mut Engine, luck: &mut SmallRng) {
    let last = engine.state.last.map_or(0, |last| last.index);
    let held = engine.links.len() as u64;
    if held > 50 && luck.random_range(0..10) == 0 {
        engine.truncate_after(Some(log_id(1, last - luck.random_range(1..5))));
    }
    if held > 200 && luck.random_range(0..4) == 0 {
        engine.purge(log_id(1, last - 100), 60);
    }
    let next = engine.state.last.map_or(0, |last| last.index + 1);
    for index in next..next + luck.random_range(0..40) {
        engine.append(&entry(index, luck));
    }
}

/// The file after the loss of power: each block as it was synced, or as it was written last.
fn torn(synced: &[u8], written: &[u8], luck: &mut SmallRng) -> Vec<u8> {
    let mut disk = synced.to_vec();
    disk.resize(if luck.random() { written.len() } else { synced.len() }, 0);
    let arrived = luck.random_range(0.0..1.0);
    for (old, new) in disk.chunks_mut(BLOCK).zip(written.chunks(BLOCK)) {
        if luck.random_bool(arrived) {
            let length = old.len().min(new.len());
            old[..length].copy_from_slice(&new[..length]);
        }
    }
    disk
}

fn reopen(dir: &Path, acknowledged: u64, round: u64) {
    let db = open_sled(dir).unwrap_or_else(|e| panic!("round {round}: {e}"));
    let loaded = load(dir, &db, 10).unwrap_or_else(|e| panic!("round {round}: {e}"));
    let found = loaded.state.batch;
    assert!(
        found >= acknowledged,
        "round {round}: batch {found} is the last, {acknowledged} was acknowledged"
    );
}

#[test]
fn a_loss_of_power_takes_nothing_that_was_acknowledged() {
    let seed =
        std::env::var("PRIMACY_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("PRIMACY_TEST_SEED={seed}");
    let mut luck = SmallRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let (sled, mark) = (dir.path().join("sled"), dir.path().join("watermark"));
    create(&sled).unwrap();
    Watermark::create(&mark).unwrap();
    let db = open_sled(&sled).unwrap();
    let loaded = load(&sled, &db, 10).unwrap();
    let mut engine = Engine::new(&sled, db, &loaded, Watermark::open(&mark).unwrap()).unwrap();
    for round in 0..ROUNDS {
        let (synced, acknowledged) = (fs::read(data_file(&sled)).unwrap(), engine.state.batch);
        change(&mut engine, &mut luck);
        engine.write_batch().unwrap();
        let written = fs::read(data_file(&sled)).unwrap();
        let copy = tempfile::tempdir().unwrap();
        let copy = copy.path().join("sled");
        copy_tree(&sled, &copy).unwrap();
        fs::write(data_file(&copy), torn(&synced, &written, &mut luck)).unwrap();
        reopen(&copy, acknowledged, round);
    }
    println!("{} batches, {} bytes", engine.state.batch, fs::metadata(data_file(&sled)).unwrap().len());
}
