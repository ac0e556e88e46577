//! The writer of the example on real servers: a change of primary costs its callers latency, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mock;
#[path = "../examples/write_through_switchover/writer.rs"]
mod writer;

use anyhow::ensure;
use mock::{Node, World};
use primacy_client::{Client, v1};
use primacy_testbed::{RedisOptions, RedisServer, Workdir, wait_for};
use redis::Cmd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use writer::Writer;

const WRITERS: u64 = 4;

fn cmd(words: &[&str]) -> Cmd {
    let mut cmd = Cmd::new();
    cmd.arg(words);
    cmd
}

async fn run(server: &RedisServer, words: &[&str]) {
    cmd(words).query_async::<redis::Value>(&mut server.connection().await.unwrap()).await.unwrap();
}

/// What the leader does: fence, drain, promote, publish, open, point the old primary at the new one.
async fn switch_over(world: &World, from: &RedisServer, to: &RedisServer, name: &str) {
    run(from, &["CONFIG", "SET", "min-replicas-to-write", "1000000"]).await;
    wait_for("the standby to hold all", Duration::from_secs(10), async || {
        let end = from.info_field("master_repl_offset").await?;
        let held = to.info_field("slave_read_repl_offset").await?;
        ensure!(end == held, "{held} of {end}");
        Ok(())
    })
    .await
    .unwrap();
    run(to, &["CONFIG", "SET", "min-replicas-to-write", "1000000"]).await;
    run(to, &["REPLICAOF", "NO", "ONE"]).await;
    world.promote(name, to.address());
    run(to, &["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    world.commit(v1::event::Kind::PhasePassed(v1::event::PhasePassed {
        group: "features".to_owned(),
        epoch: world.primary.lock().unwrap().epoch,
        phase: v1::Phase::Redirect.into(),
        ..Default::default()
    }));
    let port = to.port().to_string();
    run(from, &["REPLICAOF", "127.0.0.1", &port]).await;
    wait_for("the old primary to follow", Duration::from_secs(10), async || {
        let link = from.info_field("master_link_status").await?;
        ensure!(link == "up", "{link}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Writes 1, 2, 3, ... to one key until it is told to stop; returns the last number that was acknowledged, and by whom.
async fn write_on(client: Client, id: u64, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> (u64, String) {
    let mut writer = Writer::new(client, "features".to_owned());
    let mut last = 0;
    while !stop.load(Ordering::SeqCst) {
        let command = cmd(&["SET", &format!("key:{id}"), &(last + 1).to_string()]);
        writer.write(&command, Duration::from_secs(20)).await.expect("no write fails");
        last += 1;
        count.fetch_add(1, Ordering::SeqCst);
    }
    (last, writer.address().unwrap().to_owned())
}

#[tokio::test]
async fn two_switchovers_cost_writers_nothing_but_latency() {
    let dir = Workdir::create().unwrap();
    let a = RedisServer::start(RedisOptions::new("a", dir.subdir("a").unwrap())).await.unwrap();
    let b = RedisServer::start(RedisOptions::new("b", dir.subdir("b").unwrap())).await.unwrap();
    run(&b, &["REPLICAOF", "127.0.0.1", &a.port().to_string()]).await;
    let world = World::new();
    world.primary.lock().unwrap().address = Some(a.address().to_owned());
    let (leader, follower) = (Node::leader(&world, 1), Node::follower(&world, 2));
    let client = Client::connect([follower.address.clone(), leader.address.clone()]).await.unwrap();

    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for id in 0..WRITERS {
        let (client, stop, count) = (client.clone(), Arc::clone(&stop), Arc::clone(&count));
        writers.spawn(async move { (id, write_on(client, id, stop, count).await) });
    }
    let progress = async |what: &str| {
        let seen = count.load(Ordering::SeqCst);
        wait_for(what, Duration::from_secs(20), async || {
            let more = count.load(Ordering::SeqCst) - seen;
            ensure!(more >= 200, "{more} writes");
            Ok(())
        })
        .await
        .unwrap();
    };
    progress("writes to a").await;
    switch_over(&world, &a, &b, "b").await;
    progress("writes to b").await;
    switch_over(&world, &b, &a, "a").await;
    progress("writes to a again").await;
    stop.store(true, Ordering::SeqCst);

    let mut held = a.connection().await.unwrap();
    while let Some(done) = writers.join_next().await {
        let (id, (last, by)) = done.unwrap();
        assert_eq!(by, a.address(), "writer {id} has followed");
        let found: u64 = cmd(&["GET", &format!("key:{id}")]).query_async(&mut held).await.unwrap();
        assert_eq!(found, last, "the last acknowledged write of writer {id}");
    }
}
