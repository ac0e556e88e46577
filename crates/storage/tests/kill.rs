//! A writer is killed with SIGKILL a hundred times, at moments of no choice; what it acknowledged is found each time.
//!
//! The writer is this test binary again, told by an environment variable. It says on its standard output what it is
//! about to take away and what it was told is durable; what it could not say any more may or may not be there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{all, append, command, marked, reopen, snapshot_meta};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use primacy_storage::{Entry, Opened, Payload, Proposal, Vote, log_id};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: usize = 100;
const LIFE_MS: std::ops::Range<u64> = 0..350;
const DIR: &str = "PRIMACY_TEST_WRITER_DIR";
const SEED: &str = "PRIMACY_TEST_WRITER_SEED";

/// What must be there after a kill.
#[derive(Default)]
struct Promised {
    /// The mark of each acknowledged entry that nobody began to take away.
    entries: BTreeMap<u64, u64>,
    vote: u64,
    /// Entries up to here may be gone, if a snapshot covers them.
    purged: Option<u64>,
}

impl Promised {
    /// Reads what a writer said before it died.
    fn hear(&mut self, said: &str) {
        // The last line may be cut short.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        for line in whole.lines() {
            let mut words = line.split(' ');
            let word = words.next().unwrap();
            let numbers: Vec<u64> = words.map(|number| number.parse().unwrap()).collect();
            match (word, &numbers[..]) {
                ("appended", [index, mark]) => drop(self.entries.insert(*index, *mark)),
                ("truncating", [after]) => self.entries.retain(|index, _| index <= after),
                ("purging", [upto]) => self.purged = self.purged.max(Some(*upto)),
                ("voted", [term]) => self.vote = *term,
                other => panic!("the writer said {other:?}"),
            }
        }
    }

    async fn check(&self, opened: &mut Opened) {
        let found: BTreeMap<u64, u64> =
            all(&mut opened.log).await.iter().map(|e| (e.log_id.index, mark(e))).collect();
        let state = opened.log.get_log_state().await.unwrap();
        let purged = state.last_purged_log_id.map(|id| id.index);
        assert!(purged <= self.purged, "{purged:?} is purged, {:?} was asked for", self.purged);
        for (index, mark) in &self.entries {
            if purged.is_none_or(|purged| *index > purged) {
                assert_eq!(found.get(index), Some(mark), "entry {index}");
            }
        }
        let covered = opened.snapshots.load().await.unwrap().and_then(|(meta, _)| meta.last_log_id);
        assert!(covered.map(|id| id.index) >= purged, "{covered:?} must cover {purged:?}");
        let vote = opened.log.read_vote().await.unwrap().map_or(0, |vote| vote.leader_id.term);
        assert!(vote >= self.vote, "the vote of term {vote} is older than that of {}", self.vote);
    }
}

/// Entries are marked by a number, or by their length where they are long.
fn mark(entry: &Entry) -> u64 {
    match &entry.payload {
        Payload::Normal(Proposal::RegisterNode { store_id, .. }) => *store_id,
        Payload::Normal(Proposal::Command(command)) => command.bytes().len() as u64,
        other => panic!("nobody wrote {other:?}"),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Appends, truncates, votes, snapshots and purges until it is killed.
async fn write_until_killed(dir: &Path, seed: u64) {
    let mut luck = SmallRng::seed_from_u64(seed);
    let Opened { mut log, snapshots, .. } = reopen(dir).unwrap();
    let mut term = log.read_vote().await.unwrap().map_or(0, |vote| vote.leader_id.term);
    loop {
        let state = log.get_log_state().await.unwrap();
        let next = state.last_log_id.map_or(0, |id| id.index + 1);
        match luck.random_range(0..100) {
            0..3 => {
                term += 1;
                log.save_vote(&Vote::new(term, 7)).await.unwrap();
                say(&format!("voted {term}\n"));
            }
            3..6 if next > 10 => {
                let after = log_id(0, next - luck.random_range(2..6));
                if state.last_purged_log_id < Some(after) {
                    say(&format!("truncating {}\n", after.index));
                    log.truncate_after(Some(after)).await.unwrap();
                }
            }
            6..8 if next > 100 => {
                let upto = log_id(0, next - luck.random_range(1..100));
                say(&format!("purging {}\n", upto.index));
                snapshots.save(&snapshot_meta(upto), vec![7; 10_000].into()).await.unwrap();
                log.purge(upto).await.unwrap();
            }
            _ => {
                let count = luck.random_range(1..20);
                let entries: Vec<Entry> = (next..next + count)
                    .map(|index| match luck.random_range(0..20) {
                        0 => {
                            Entry { log_id: log_id(0, index), payload: command(luck.random_range(1..20_000)) }
                        }
                        _ => marked(log_id(0, index), luck.random()),
                    })
                    .collect();
                append(&mut log, entries.clone()).await.unwrap();
                let said: Vec<String> =
                    entries.iter().map(|e| format!("appended {} {}\n", e.log_id.index, mark(e))).collect();
                say(&said.concat());
            }
        }
    }
}

/// Starts a writer, kills it after `life` and gives back what it said.
fn run_and_kill(dir: &Path, seed: u64, life: Duration) -> String {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_writer", "--nocapture", "--quiet"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = writer.stdout.take().unwrap();
    let listener = std::thread::spawn(move || {
        let mut said = String::new();
        pipe.read_to_string(&mut said).unwrap();
        said
    });
    // Not a wait for anything: the moment of the kill is the input of the test.
    std::thread::sleep(life);
    assert!(writer.try_wait().unwrap().is_none(), "the writer ended by itself");
    writer.kill().unwrap();
    writer.wait().unwrap();
    let said = listener.join().unwrap();
    // What the test harness says comes first.
    said.split_once("running 1 test\n").map_or(String::new(), |(_, said)| said.to_owned())
}

#[tokio::test]
async fn the_writer() {
    if let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) {
        write_until_killed(Path::new(&dir), seed.parse().unwrap()).await;
    }
}

#[tokio::test]
async fn all_that_was_acknowledged_is_found_after_a_hundred_kills() {
    let dir = tempfile::tempdir().unwrap();
    let seed =
        std::env::var("PRIMACY_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("PRIMACY_TEST_SEED={seed}");
    let mut luck = SmallRng::seed_from_u64(seed);
    let mut promised = Promised::default();
    let started = Instant::now();
    for kill in 0..KILLS {
        let life = Duration::from_millis(luck.random_range(LIFE_MS));
        promised.hear(&run_and_kill(dir.path(), luck.random(), life));
        let mut opened = reopen(dir.path()).unwrap_or_else(|e| panic!("after kill {kill}: {e}"));
        promised.check(&mut opened).await;
    }
    println!("{KILLS} kills, {} entries promised, in {:?}", promised.entries.len(), started.elapsed());
    assert!(promised.entries.len() > KILLS, "the writer got little done");
}
