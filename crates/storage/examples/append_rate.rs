//! How fast the log takes entries: `append_rate [DIR] [SECONDS]`, for 1, 8, 64 and 256 writers that wait for each of
//! their entries to be durable.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use primacy_core::{Command, GroupName, NodeId, WallTime};
use primacy_storage::{
    Entry, LogStore, Payload, Proposal, SnapshotMeta, StoredMembership, TypeConfig, log_id, open,
};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

const PAYLOAD_BYTES: usize = 200;
const PURGE_EVERY: u64 = 10_000;

struct Log {
    store: LogStore,
    next: u64,
}

impl Log {
    async fn append(log: &Mutex<Self>, proposal: Proposal) -> u64 {
        let (done, durable) = TypeConfig::oneshot();
        let index = {
            let mut log = log.lock().await;
            let index = log.next;
            log.next += 1;
            let entry = Entry { log_id: log_id(1, index), payload: Payload::Normal(proposal) };
            log.store.append([entry], IOFlushed::signal(done)).await.unwrap();
            index
        };
        durable.await.unwrap().unwrap();
        index
    }
}

fn proposal() -> Proposal {
    Proposal::from(Command::Pause {
        group: GroupName::new("features").unwrap(),
        by: "bench".to_owned(),
        reason: Some("x".repeat(PAYLOAD_BYTES)),
        at: WallTime(1),
    })
}

async fn measure(dir: &Path, writers: usize, seconds: f64) {
    let opened = open(dir, "bench", NodeId(1)).unwrap();
    let snapshots = opened.snapshots;
    let log = Arc::new(Mutex::new(Log { store: opened.log, next: 0 }));
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(seconds);
    let mut tasks = Vec::new();
    for _ in 0..writers {
        let (log, snapshots) = (log.clone(), snapshots.clone());
        tasks.push(tokio::spawn(async move {
            let mut waits = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                let index = Log::append(&log, proposal()).await;
                waits.push(begun.elapsed());
                if index % PURGE_EVERY == PURGE_EVERY - 1 {
                    let meta = SnapshotMeta {
                        last_log_id: Some(log_id(1, index)),
                        last_membership: StoredMembership::default(),
                    };
                    snapshots.save(&meta, bytes::Bytes::from_static(b"state")).await.unwrap();
                    log.lock().await.store.purge(log_id(1, index)).await.unwrap();
                }
            }
            waits
        }));
    }
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    let elapsed = started.elapsed().as_secs_f64();
    waits.sort();
    let at = |part: usize| waits[(waits.len() - 1) * part / 100];
    let size = std::fs::metadata(dir.join("log/sled/db")).unwrap().len();
    println!(
        "{writers:>4} writers  {:>8.0} entries/s  p50 {:>8.3} ms  p99 {:>8.3} ms  n {:>7}  database {:>6.1} MiB",
        waits.len() as f64 / elapsed,
        at(50).as_secs_f64() * 1e3,
        at(99).as_secs_f64() * 1e3,
        waits.len(),
        size as f64 / f64::from(1 << 20),
    );
}

/// What the disk gives at best: an append to a plain file and an fdatasync, one after the other.
fn measure_plain_file(dir: &Path, seconds: f64) {
    let mut file = File::create(dir.join("plain")).unwrap();
    let begun = Instant::now();
    let mut waits = Vec::new();
    while begun.elapsed().as_secs_f64() < seconds {
        let each = Instant::now();
        file.write_all(&[7; 300]).unwrap();
        file.sync_data().unwrap();
        waits.push(each.elapsed());
    }
    waits.sort();
    let rate = waits.len() as f64 / begun.elapsed().as_secs_f64();
    println!(
        "plain file    {rate:>8.0} entries/s  p50 {:>8.3} ms",
        waits[waits.len() / 2].as_secs_f64() * 1e3
    );
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let parent = args.next().map_or_else(std::env::temp_dir, Into::into);
    let seconds = args.next().map_or(3.0, |seconds| seconds.parse().unwrap());
    measure_plain_file(tempfile::tempdir_in(&parent).unwrap().path(), seconds);
    for writers in [1, 8, 64, 256] {
        let dir = tempfile::tempdir_in(&parent).unwrap();
        measure(dir.path(), writers, seconds).await;
    }
}
