//! The load and its ledger against real Redis servers: what was acknowledged, what is lost, who wrote at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use primacy_testbed::load::StaticLocate;
use primacy_testbed::{Load, LoadOptions, RedisGroup, RedisOptions, RedisServer, Target, Workdir, wait_for};

const DEADLINE: Duration = Duration::from_secs(20);

async fn servers<const N: usize>(dir: &Workdir, names: [&str; N]) -> [RedisServer; N] {
    let mut started = Vec::new();
    for name in names {
        started.push(RedisServer::start(RedisOptions::new(name, dir.path().join(name))).await.unwrap());
    }
    started.try_into().unwrap()
}

fn target(server: &RedisServer) -> Target {
    Target::new(server.name(), server.address())
}

fn only(server: &RedisServer) -> StaticLocate {
    StaticLocate::new([target(server)])
}

fn small(records_max: u64) -> LoadOptions {
    LoadOptions { records_max, duration_max: DEADLINE, ..LoadOptions::default() }
}

async fn acked(load: &Load, records: u64) {
    wait_for(&format!("{records} records"), DEADLINE, async || {
        let progress = load.progress();
        anyhow::ensure!(progress.acked >= records, "{progress:?}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn command(server: &RedisServer, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).exec_async(&mut server.connection().await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_record_is_acknowledged_once_and_none_is_lost() {
    let dir = Workdir::create().unwrap();
    let [server] = servers(&dir, ["a"]).await;
    let ledger = Load::start(small(500), only(&server)).unwrap().finished().await;
    assert_eq!((ledger.acked(), ledger.failures()), (2000, 0));
    let run_id = server.info_field("run_id").await.unwrap();
    assert!(ledger.acks().all(|ack| ack.member == "a" && ack.run_id == run_id && ack.sent <= ack.at));
    for writer in 0..4 {
        let numbers: Vec<u64> = ledger.acks().filter(|ack| ack.writer == writer).map(|ack| ack.n).collect();
        assert_eq!(numbers, (1..=500).collect::<Vec<_>>());
    }
    assert_eq!(ledger.lost(server.redis_address()).await.unwrap().count(), 0);
    assert_eq!((ledger.overlaps(), ledger.writers_at_once()), (vec![], 1));
}

#[tokio::test]
async fn after_a_flush_everything_is_lost() {
    let dir = Workdir::create().unwrap();
    let [server] = servers(&dir, ["a"]).await;
    let load = Load::start(LoadOptions { writers: 2, ..small(100) }, only(&server)).unwrap();
    let ledger = load.finished().await;
    command(&server, &["FLUSHALL"]).await;
    let lost = ledger.lost(server.redis_address()).await.unwrap();
    assert_eq!(lost.count(), 200);
    let (first, last) =
        (ledger.acks().map(|a| a.at).min().unwrap(), ledger.acks().map(|a| a.at).max().unwrap());
    assert_eq!(lost.between(first, last).count(), 199);
}

#[tokio::test]
async fn lost_bytes_are_those_of_the_replication_stream() {
    let dir = Workdir::create().unwrap();
    let group = RedisGroup::start_replicating("g", &["east", "west"], dir.path(), DEADLINE).await.unwrap();
    let primary = group.member("east-a").unwrap();
    command(primary, &["CONFIG", "SET", "repl-ping-replica-period", "3600"]).await;
    // The first write to a database also carries SELECT.
    command(primary, &["SET", "k", "v"]).await;
    let offset = async || primary.info_field("master_repl_offset").await.unwrap().parse::<u64>().unwrap();
    let before = offset().await;
    let ledger = Load::start(small(250), only(primary)).unwrap().finished().await;
    let written = offset().await - before;
    command(primary, &["FLUSHALL"]).await;
    assert_eq!(ledger.lost(primary.redis_address()).await.unwrap().bytes(), written);
}

#[tokio::test]
async fn a_kill_and_a_restart_show_as_one_gap_and_another_run() {
    let dir = Workdir::create().unwrap();
    let [mut server] = servers(&dir, ["a"]).await;
    let load = Load::start(small(10_000_000), only(&server)).unwrap();
    acked(&load, 200).await;
    let (killed, first_run) = (Instant::now(), server.info_field("run_id").await.unwrap());
    server.kill().unwrap();
    server.restart().await.unwrap();
    let before = load.progress().acked;
    acked(&load, before + 200).await;
    let ledger = load.stop().await;
    let end = Instant::now();

    assert!(ledger.failures() > 0);
    // Answers that were on their way when it was killed are read after the kill: the run tells the two lives apart.
    let last = ledger.acks().filter(|ack| ack.run_id == first_run).map(|ack| ack.at).max().unwrap();
    let back = ledger.acks().filter(|ack| ack.run_id != first_run).map(|ack| ack.at).min().unwrap();
    let gap = ledger.longest_gap(last..back);
    assert_eq!((gap.from, gap.to, gap.ended), (last, back, true));
    assert!(ledger.longest_gap(killed..end).length() >= gap.length());
    assert!(ledger.longest_writer_gap(killed..end).length() >= gap.length());
    assert_eq!(ledger.first_ack_after(last).unwrap().at, back);
    assert_eq!(ledger.last_ack_before(last).unwrap().at, last);
    // It persists nothing: what was acknowledged before the kill is gone, what came after is there.
    let lost = ledger.lost(server.redis_address()).await.unwrap();
    assert_eq!(lost.count(), ledger.acks().filter(|ack| ack.at <= last).count() as u64);
    assert!(!ledger.longest_gap(end..end + Duration::from_secs(1)).ended);
}

#[tokio::test]
async fn a_refused_record_is_written_to_the_next_member_and_nobody_writes_at_once() {
    let dir = Workdir::create().unwrap();
    let mut group =
        RedisGroup::start_replicating("g", &["east", "west"], dir.path(), DEADLINE).await.unwrap();
    let options = LoadOptions { strays: group.targets(), ..small(10_000_000) };
    let load = Load::start(options, StaticLocate::new(group.targets())).unwrap();
    acked(&load, 500).await;
    group.member("east-a").unwrap().kill().unwrap();
    command(group.member("west-a").unwrap(), &["REPLICAOF", "NO", "ONE"]).await;
    let promoted = Instant::now();
    let before = load.progress().acked;
    acked(&load, before + 500).await;
    group.member_mut("east-a").unwrap().kill().unwrap();
    let ledger = load.stop().await;
    assert_eq!(ledger.first_ack_after(promoted).unwrap().member, "west-a");
    assert!(!ledger.stray_acks("east-a").is_empty() && !ledger.stray_acks("west-a").is_empty());
    assert_eq!((ledger.overlaps(), ledger.writers_at_once()), (vec![], 1));
}

#[tokio::test]
async fn two_independent_servers_that_both_accept_writes_are_found() {
    let dir = Workdir::create().unwrap();
    let [a, b] = servers(&dir, ["a", "b"]).await;
    let options = LoadOptions { strays: vec![target(&a), target(&b)], ..small(10_000_000) };
    let load = Load::start(options, only(&a)).unwrap();
    wait_for("ten writes to each", DEADLINE, async || {
        let counts = ["a", "b"].map(|member| load.ledger().stray_acks(member).len());
        anyhow::ensure!(counts.iter().all(|count| *count >= 10), "{counts:?}");
        Ok(())
    })
    .await
    .unwrap();
    let ledger = load.stop().await;
    let overlaps = ledger.overlaps();
    assert_eq!(overlaps.len(), 1, "{overlaps:?}");
    assert_eq!(overlaps[0].members, ["a".to_owned(), "b".to_owned()]);
    assert!(overlaps[0].acks > 10 && overlaps[0].from < overlaps[0].to);
    assert_eq!(ledger.writers_at_once(), 2);
}

#[tokio::test]
async fn a_frozen_member_that_wakes_up_writable_is_found() {
    let dir = Workdir::create().unwrap();
    let [a, b] = servers(&dir, ["a", "b"]).await;
    let targets = [target(&a), target(&b)];
    let options = LoadOptions {
        strays: targets.to_vec(),
        response_timeout: Duration::from_millis(100),
        ..small(10_000_000)
    };
    // b begins only once a is frozen, as if it had been promoted then.
    command(&b, &["REPLICAOF", "127.0.0.1", &a.port().to_string()]).await;
    let load = Load::start(options, StaticLocate::new(targets)).unwrap();
    acked(&load, 500).await;
    a.freeze().unwrap();
    command(&b, &["REPLICAOF", "NO", "ONE"]).await;
    let before = load.progress().acked;
    acked(&load, before + 500).await;
    assert_eq!(load.ledger().overlaps(), vec![]);
    a.thaw().unwrap();
    let thawed = Instant::now();
    wait_for("a to acknowledge again", DEADLINE, async || {
        let again = load.ledger().stray_acks("a").into_iter().find(|(_, at)| *at > thawed);
        anyhow::ensure!(again.is_some(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    let ledger = load.stop().await;
    assert_eq!(ledger.writers_at_once(), 2);
    assert!(!ledger.overlaps().is_empty());
}

#[tokio::test]
async fn a_load_ends_by_time_when_there_is_no_primary() {
    let options = LoadOptions { duration_max: Duration::from_millis(200), ..LoadOptions::default() };
    let nobody = format!("127.0.0.1:{}", primacy_testbed::ports::free().unwrap());
    let load = Load::start(options, StaticLocate::new([Target::new("a", nobody)])).unwrap();
    wait_for("a failure to show", DEADLINE, async || {
        anyhow::ensure!(load.progress().last_failure.is_some());
        Ok(())
    })
    .await
    .unwrap();
    let ledger = load.finished().await;
    assert_eq!((ledger.acked(), ledger.writers_at_once()), (0, 0));
}
