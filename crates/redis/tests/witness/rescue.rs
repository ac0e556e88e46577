//! Replicas are served from a tail: they get the rest of the stream, or keep what they have.

use crate::common;
use crate::parts::*;
use primacy_core::{
    Durability, FailoverMode, FencePolicy, GroupKind, GroupSpec, LossBudget, MemberSpec, OnNoSite, Probe,
    SiteName,
};
use primacy_redis::{ConfSecrets, Read, Tail, TailAccess, TailServer, redis_conf};
use primacy_testbed::{RedisServer, Workdir};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) struct Served {
    pub(crate) server: TailServer,
    pub(crate) port: u16,
    task: JoinHandle<std::io::Result<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn serve(server: TailServer) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = server.clone();
    Served { server, port, task: tokio::spawn(async move { accepting.serve(listener).await }) }
}

pub(crate) async fn follow(replica: &RedisServer, port: u16) {
    tell(replica, &["REPLICAOF", "127.0.0.1", &port.to_string()]).await.unwrap();
}

pub(crate) async fn has_read(replica: &RedisServer, end: u64) {
    wait("the replica to read the tail", async || {
        let read: u64 = replica.info_field("slave_read_repl_offset").await?.parse()?;
        anyhow::ensure!(read >= end, "{read} of {end}");
        assert_eq!(read, end, "more than the history has");
        Ok(())
    })
    .await;
}

async fn keys(server: &RedisServer) -> u64 {
    redis::cmd("DBSIZE").query_async(&mut server.connection().await.unwrap()).await.unwrap()
}

/// A primary that is killed while its standby, frozen, is megabytes behind; and the sealed tail.
async fn killed(
    dir: &Workdir,
    primary_lines: &[&str],
    standby_lines: &[&str],
) -> (RedisServer, RedisServer, Tail) {
    let server = primary(dir, primary_lines).await;
    let standby = replica(dir, "standby", &server).await;
    for line in standby_lines {
        let (name, value) = line.split_once(' ').unwrap();
        tell(&standby, &["CONFIG", "SET", name, value]).await.unwrap();
    }
    let witness = witness(&server).await;
    fill(&server, "before", 100, 100).await;
    wait("the standby to follow", async || {
        anyhow::ensure!(keys(&standby).await == 100, "it does not");
        Ok(())
    })
    .await;
    standby.freeze().unwrap();
    fill(&server, "behind", 2_000, 10_000).await;
    caught_up(&server, &witness.tail().unwrap()).await;
    server.kill().unwrap();
    until(&witness, "the end", |s| s.ended.is_some()).await;
    standby.thaw().unwrap();
    witness.seal();
    let tail = witness.tail().unwrap();
    (server, standby, tail)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_was_behind_is_promoted_with_everything() {
    let dir = Workdir::create().unwrap();
    let (_dead, standby, tail) = killed(&dir, &[], &[]).await;
    let behind = keys(&standby).await;
    let served = serve(TailServer::new()).await;
    served.server.offer(&common::group(), tail.clone(), TailAccess::anybody());
    let copies = standby.info_field("sync_full").await.unwrap();
    follow(&standby, served.port).await;
    has_read(&standby, tail.end()).await;
    tell(&standby, &["REPLICAOF", "NO", "ONE"]).await.unwrap();
    let info = standby.info().await.unwrap();
    assert_eq!((keys(&standby).await, &info["role"][..]), (2_100, "master"));
    assert_eq!((&info["master_replid2"], &info["sync_full"]), (&tail.replid(), &copies));
    assert_eq!(info["second_repl_offset"], (tail.end() + 1).to_string());
    assert!(behind < 2_100, "the standby was not behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replication_user_is_asked_for_its_password() {
    let spec = spec();
    let secrets = ConfSecrets { username: "primacy".into(), password: Some("s3cret".into()) };
    let conf = redis_conf(&spec, &spec.members[1].name, &secrets).unwrap();
    let own: Vec<&str> = conf.lines().filter(|l| l.starts_with("master")).collect();
    assert_eq!(own.len(), 2, "{own:?}");
    let dir = Workdir::create().unwrap();
    let (_dead, standby, tail) =
        killed(&dir, &[], &["masterauth wrong", "masteruser primacy-repl-standby"]).await;
    let served = serve(TailServer::new()).await;
    let access = TailAccess::members(&spec.name, spec.members.iter().map(|m| &m.name), "s3cret");
    served.server.offer(&spec.name, tail.clone(), access);
    follow(&standby, served.port).await;
    wait("the refusal", async || {
        let log = std::fs::read_to_string(standby.log())?;
        anyhow::ensure!(log.contains("WRONGPASS"), "not refused");
        Ok(())
    })
    .await;
    assert!(keys(&standby).await < 2_100);
    for line in own {
        let (name, value) = line.split_once(' ').unwrap();
        tell(&standby, &["CONFIG", "SET", name, value]).await.unwrap();
    }
    follow(&standby, served.port).await;
    has_read(&standby, tail.end()).await;
    assert_eq!(keys(&standby).await, 2_100);
}

fn spec() -> GroupSpec {
    let member = |name: &str, port: u16| MemberSpec {
        name: common::name(name),
        site: SiteName::new("east").unwrap(),
        address: format!("10.0.0.1:{port}").parse().unwrap(),
        priority: 100,
        probe: Probe::Native,
    };
    GroupSpec {
        name: common::group(),
        kind: GroupKind::Redis,
        failover: FailoverMode::Automatic,
        down_after_ms: 1_000,
        max_loss: LossBudget::Bytes(0),
        fence: FencePolicy::Witness,
        tail_max_bytes: TAIL_MAX,
        may_kill: false,
        durability: Durability::Local,
        on_no_site: OnNoSite::Refuse,
        mirror: None,
        members: vec![member("primary", 1), member("standby", 2)],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_still_arrives_is_followed_and_idleness_shifts_nothing() {
    let dir = Workdir::create().unwrap();
    let (_dead, standby, tail) = killed(&dir, &[], &[]).await;
    let served = serve(TailServer::new()).await;
    // What another node would forward: nothing yet at the standby's offset.
    let forwarded = Tail::new(tail.replid(), tail.start(), TAIL_MAX);
    served.server.offer(&common::group(), forwarded.clone(), TailAccess::anybody());
    follow(&standby, served.port).await;
    let half = tail.start() + (tail.end() - tail.start()) / 2;
    forward(&tail, &forwarded, half);
    has_read_or_more(&standby, half).await;
    // Longer than the standby's repl-timeout, after which it asks again.
    tokio::time::sleep(Duration::from_secs(4)).await;
    forward(&tail, &forwarded, tail.end());
    forwarded.seal();
    has_read(&standby, tail.end()).await;
    tell(&standby, &["REPLICAOF", "NO", "ONE"]).await.unwrap();
    assert_eq!(keys(&standby).await, 2_100);
}

fn forward(from: &Tail, to: &Tail, end: u64) {
    while let Read::Bytes(bytes) = from.read(to.end(), (end - to.end()).min(100_000) as usize) {
        to.append(to.end(), &bytes).unwrap();
        if to.end() == end {
            break;
        }
    }
}

async fn has_read_or_more(replica: &RedisServer, end: u64) {
    wait("the replica to read what there is", async || {
        let read: u64 = replica.info_field("slave_read_repl_offset").await?.parse()?;
        anyhow::ensure!(read >= end, "{read} of {end}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_continued_keeps_its_data() {
    let dir = Workdir::create().unwrap();
    let (_dead, standby, tail) = killed(&dir, &[], &[]).await;
    let before = keys(&standby).await;
    assert!(before > 0);
    let served = serve(TailServer::new()).await;
    // Another history, then one that begins after what the standby has.
    let stranger = Tail::new("0123456789abcdef0123456789abcdef01234567".into(), 0, TAIL_MAX);
    let late = Tail::new(tail.replid(), tail.end(), TAIL_MAX);
    for (round, offered) in [stranger, late].into_iter().enumerate() {
        served.server.offer(&common::group(), offered, TailAccess::anybody());
        follow(&standby, served.port).await;
        wait("a refusal", async || {
            let log = std::fs::read_to_string(standby.log())?;
            let refusals = log.matches("NOMASTERLINK").count();
            anyhow::ensure!(refusals > round, "{refusals} refusals");
            Ok(())
        })
        .await;
    }
    // It may have read on from its dead primary's connection in the meantime.
    assert!(keys(&standby).await >= before);
    // And it has lost nothing of its place: the right tail still continues it.
    served.server.offer(&common::group(), tail.clone(), TailAccess::anybody());
    follow(&standby, served.port).await;
    has_read(&standby, tail.end()).await;
    assert_eq!(keys(&standby).await, 2_100);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_bounded_and_a_withdrawn_tail_ends_connections() {
    let served = serve(TailServer::new()).await;
    let tail = Tail::new("a".repeat(40), 0, TAIL_MAX);
    tail.append(0, b"hello").unwrap();
    served.server.offer(&common::group(), tail.clone(), TailAccess::anybody());
    let connect = async || TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();

    let mut endless = connect().await;
    let _ = endless.write_all(&vec![b'x'; 100_000]).await;
    assert!(matches!(endless.read(&mut [0; 9]).await, Ok(0) | Err(_)));

    let mut replica = connect().await;
    replica
        .write_all(format!("PING\r\nSYNC\r\nGET a\r\nPSYNC {} 3\r\n", "a".repeat(40)).as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    while !text.ends_with("llo") {
        let mut bytes = [0; 256];
        let n = replica.read(&mut bytes).await.unwrap();
        assert!(n > 0, "{text}");
        text += std::str::from_utf8(&bytes[..n]).unwrap();
    }
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "+PONG");
    assert!(lines[1].starts_with("-NOMASTERLINK") && lines[2].starts_with("-ERR"), "{lines:?}");
    assert_eq!(lines[3..], [&format!("+CONTINUE {}", "a".repeat(40))[..], "llo"]);
    tail.append(5, b"!").unwrap();
    assert_eq!(replica.read_u8().await.unwrap(), b'!');
    served.server.withdraw(&common::group());
    assert_eq!(replica.read(&mut [0; 9]).await.unwrap(), 0);

    // One that says nothing.
    let mut silent = connect().await;
    let closed = tokio::time::timeout(Duration::from_secs(15), silent.read(&mut [0; 9])).await;
    assert!(matches!(closed, Ok(Ok(0))), "{closed:?}");
}
