//! A real Redis behind a gate that holds replies, and the stock commands that such a gate must not disturb.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cover::Asking;
use common::resp::{Reply, Resp};
use common::{Stand, door_to, eventually, held_door_to, soon};
use primacy_testbed::{RedisOptions, RedisServer, Workdir};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

struct Scene {
    stand: Stand,
    cover: Arc<Asking>,
    redis: SocketAddr,
    server: RedisServer,
    workdir: Workdir,
}

impl Scene {
    /// With `steered`, nothing is covered until the test says so; otherwise each barrier covers what it covers.
    async fn new(steered: bool, config: &[&str]) -> Scene {
        let workdir = Workdir::create().unwrap();
        let mut options = RedisOptions::new("primary", workdir.subdir("primary").unwrap());
        options.config = config.iter().map(|&line| line.to_owned()).collect();
        // An idle stream, so that offsets move with the test's writes alone.
        options.config.push("repl-ping-replica-period 3600".to_owned());
        let server = RedisServer::start(options).await.unwrap();
        let redis = server.address().parse().unwrap();
        let cover = Asking::new(redis, !steered).await;
        let stand = Stand::new(Some(held_door_to(redis, cover.clone()))).await;
        Scene { stand, cover, redis, server, workdir }
    }

    async fn client(&self) -> Resp {
        Resp::connect(self.stand.address).await.unwrap()
    }

    async fn direct(&self) -> Resp {
        Resp::connect(self.redis).await.unwrap()
    }

    async fn replica(&self) -> RedisServer {
        let mut options = RedisOptions::new("standby", self.workdir.subdir("standby").unwrap());
        options.config.push(format!("replicaof 127.0.0.1 {}", self.server.port()));
        let replica = RedisServer::start(options).await.unwrap();
        let mut direct = self.direct().await;
        eventually("the replica to attach", async || match call(&mut direct, "ROLE").await {
            // Only those that are online are listed.
            Reply::Array(role) => matches!(role.get(2), Some(Reply::Array(replicas)) if !replicas.is_empty()),
            other => panic!("{other:?} is no role"),
        })
        .await;
        replica
    }
}

async fn call(client: &mut Resp, words: &str) -> Reply {
    let words: Vec<&str> = words.split(' ').collect();
    soon("a reply", client.call(&words)).await.unwrap()
}

async fn reply(client: &mut Resp) -> Reply {
    soon("a reply", client.reply()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_answered_once_the_stream_is_covered_up_to_it() {
    let scene = Scene::new(true, &[]).await;
    let _replica = scene.replica().await;
    let mut client = scene.client().await;
    client.send(&["SET", "key", "value"]).await.unwrap();
    eventually("the reply to be held", async || scene.stand.gate.stats().held_bytes == 5).await;
    let mut direct = scene.direct().await;
    assert_eq!(call(&mut direct, "GET key").await, Reply::bulk("value"));
    let end = scene.cover.offset().await;
    assert!(end > 0);
    scene.cover.covered.send(end - 1);
    assert!(tokio::time::timeout(Duration::from_millis(50), client.reply()).await.is_err());
    scene.cover.covered.send(end);
    assert_eq!(reply(&mut client).await, Reply::ok());
    // A read behind it is covered already.
    assert_eq!(call(&mut client, "GET key").await, Reply::bulk("value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_replica_holds_the_replies_and_a_thawed_one_releases_them() {
    let scene = Scene::new(true, &[]).await;
    let replica = scene.replica().await;
    let address: SocketAddr = replica.address().parse().unwrap();
    let covered = scene.cover.covered.clone();
    let following = tokio::spawn(async move {
        let mut connection = Resp::connect(address).await.unwrap();
        while let Ok(Reply::Array(role)) = connection.call(&["ROLE"]).await {
            if let Some(Reply::Number(offset)) = role.last() {
                covered.send(*offset as u64);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut client = scene.client().await;
    for n in 0..50 {
        assert_eq!(call(&mut client, &format!("SET key {n}")).await, Reply::ok());
    }
    replica.freeze().unwrap();
    client.send(&["SET", "key", "last"]).await.unwrap();
    eventually("the reply to be held", async || scene.stand.gate.stats().held_bytes == 5).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), client.reply()).await.is_err());
    replica.thaw().unwrap();
    assert_eq!(reply(&mut client).await, Reply::ok());
    following.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_leaves_its_replies_to_the_cover() {
    let scene = Scene::new(true, &[]).await;
    let _replica = scene.replica().await;
    let mut clients = [scene.client().await, scene.client().await];
    let [covered, uncovered] = &mut clients;
    covered.send(&["SET", "key", "value"]).await.unwrap();
    eventually("the reply to be held", async || scene.stand.gate.stats().held_bytes == 5).await;
    let end = scene.cover.offset().await;
    uncovered.send(&["SET", "key", "other"]).await.unwrap();
    eventually("the reply to be held", async || scene.stand.gate.stats().held_bytes == 10).await;
    eventually("its barrier", async || scene.stand.gate.stats().barriers_total == 2).await;
    // So that it has been answered, too.
    assert!(scene.cover.offset().await > end);
    scene.server.kill().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), uncovered.reply()).await.is_err());
    scene.cover.covered.send(end);
    assert_eq!(reply(covered).await, Reply::ok());
    scene.stand.door.send(None);
    assert!(soon("the end", uncovered.reply()).await.is_err());
    assert_eq!(scene.stand.gate.stats().received_bytes_total, 5);
}

/// The commands that answer late, much, or not at all.
async fn stock_commands(scene: &Scene) {
    let mut client = scene.client().await;
    let mut other = scene.client().await;

    assert_eq!(call(&mut client, "MULTI").await, Reply::ok());
    for _ in 0..2 {
        assert_eq!(call(&mut client, "INCR transaction").await, Reply::Simple("QUEUED".to_owned()));
    }
    assert_eq!(call(&mut client, "EXEC").await, Reply::Array(vec![Reply::Number(1), Reply::Number(2)]));

    let script = "redis.call('SET', KEYS[1], 'from Lua'); return redis.call('GET', KEYS[1])";
    let answer = soon("the script", client.call(&["EVAL", script, "1", "script"])).await.unwrap();
    assert_eq!(answer, Reply::bulk("from Lua"));

    client.send(&["BLPOP", "queue", "0"]).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(30), client.reply()).await.is_err());
    assert_eq!(call(&mut other, "RPUSH queue item").await, Reply::Number(1));
    assert_eq!(reply(&mut client).await, Reply::Array(vec![Reply::bulk("queue"), Reply::bulk("item")]));

    call(&mut client, "SUBSCRIBE news").await;
    for n in 0..3 {
        assert_eq!(call(&mut other, &format!("PUBLISH news {n}")).await, Reply::Number(1));
        let message = [Reply::bulk("message"), Reply::bulk("news"), Reply::bulk(&n.to_string())];
        assert_eq!(reply(&mut client).await, Reply::Array(message.to_vec()));
    }
    call(&mut client, "UNSUBSCRIBE news").await;

    for n in 0..1_000 {
        client.send(&["SET", &format!("pipeline:{n}"), &n.to_string()]).await.unwrap();
        client.send(&["GET", &format!("pipeline:{n}")]).await.unwrap();
    }
    for n in 0..1_000 {
        assert_eq!(reply(&mut client).await, Reply::ok());
        assert_eq!(reply(&mut client).await, Reply::bulk(&n.to_string()));
    }

    client.send(&["CLIENT", "REPLY", "OFF"]).await.unwrap();
    client.send(&["SET", "quiet", "yes"]).await.unwrap();
    assert_eq!(call(&mut client, "CLIENT REPLY ON").await, Reply::ok());
    assert_eq!(call(&mut client, "GET quiet").await, Reply::bulk("yes"));

    let long = "x".repeat(3 << 20);
    let answer = soon("a long write", client.call(&["SET", "long", &long])).await.unwrap();
    assert_eq!(answer, Reply::ok());
    assert_eq!(call(&mut client, "GET long").await, Reply::bulk(&long));
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_commands_work_held() {
    let scene = Scene::new(false, &[]).await;
    let _replica = scene.replica().await;
    stock_commands(&scene).await;
    assert!(scene.stand.gate.stats().barriers_total > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_commands_work_held_with_io_threads() {
    let scene = Scene::new(false, &["io-threads 3", "io-threads-do-reads yes"]).await;
    let _replica = scene.replica().await;
    stock_commands(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_commands_work_plain() {
    let scene = Scene::new(false, &[]).await;
    let scene = Scene { stand: Stand::new(Some(door_to(scene.redis))).await, ..scene };
    stock_commands(&scene).await;
    assert_eq!(scene.stand.gate.stats().barriers_total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_each_hear_their_own_in_order() {
    let scene = Scene::new(false, &[]).await;
    let _replica = scene.replica().await;
    let clients = (0..64).map(|client| {
        let address = scene.stand.address;
        tokio::spawn(async move {
            let mut connection = Resp::connect(address).await.unwrap();
            for n in 1..=50 {
                for _ in 0..4 {
                    connection.send(&["INCR", &format!("counter:{client}")]).await.unwrap();
                }
                for part in 0..4 {
                    assert_eq!(reply(&mut connection).await, Reply::Number((n - 1) * 4 + part + 1));
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    eventually("nothing to be held", async || scene.stand.gate.stats().held_bytes == 0).await;
}
