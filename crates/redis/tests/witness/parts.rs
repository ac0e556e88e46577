//! Primaries, witnesses, writers, and a replica made of a socket.

use crate::common;
use primacy_core::{Lineage, Moment, Position};
use primacy_redis::{Access, Links, Read, Tail, Witness, WitnessOptions, WitnessStatus};
use primacy_testbed::{RedisServer, Workdir};
use redis::aio::MultiplexedConnection;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const TAIL_MAX: u64 = 64 << 20;
pub(crate) const ANNOUNCED: (&str, u16) = ("192.0.2.9", 7777);
const QUICK: [&str; 3] = ["min-replicas-max-lag 1", "repl-ping-replica-period 1", "repl-timeout 2"];

/// A primary with a backlog, as a promotion leaves it, and these lines.
pub(crate) async fn primary(dir: &Workdir, config: &[&str]) -> RedisServer {
    let server = common::server(dir, "primary", &[&QUICK[..], config].concat()).await;
    begin_backlog(&server).await;
    server
}

/// Asks for a resync and hangs up, so that later ones are partial.
pub(crate) async fn begin_backlog(server: &RedisServer) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"PSYNC ? -1\r\n").await.unwrap();
    wait("a backlog without a save", async || {
        let info = server.info().await?;
        anyhow::ensure!(info["repl_backlog_active"] == "1", "no backlog");
        Ok(())
    })
    .await;
    drop(stream);
    wait("no replica and no save", async || {
        let info = server.info().await?;
        anyhow::ensure!(
            info["connected_slaves"] == "0" && info["rdb_bgsave_in_progress"] == "0",
            "still there"
        );
        Ok(())
    })
    .await;
}

pub(crate) async fn replica(dir: &Workdir, name: &str, of: &RedisServer) -> RedisServer {
    let replicaof = format!("replicaof 127.0.0.1 {}", of.port());
    let server = common::server(dir, name, &[&QUICK[..], &[&replicaof]].concat()).await;
    common::linked(&server).await;
    server
}

pub(crate) async fn lineage(server: &RedisServer) -> Lineage {
    let info = server.info().await.unwrap();
    let start = Position {
        replid: info["master_replid"].clone(),
        offset_bytes: info["master_repl_offset"].parse().unwrap(),
    };
    Lineage { run_id: info["run_id"].clone(), start, previous: None }
}

pub(crate) async fn options(server: &RedisServer) -> WitnessOptions {
    WitnessOptions {
        group: common::group(),
        member: common::name(server.name()),
        address: common::address(server),
        announce: (ANNOUNCED.0.to_owned(), ANNOUNCED.1),
        tail_max_bytes: TAIL_MAX,
        lineage: lineage(server).await,
        until: lease(Duration::from_mins(10)),
    }
}

/// The end of a lease of that length.
pub(crate) fn lease(length: Duration) -> Moment {
    primacy_runtime::now().after(length)
}

/// A witness that is attached.
pub(crate) async fn witness(server: &RedisServer) -> Witness {
    let links = Links::new(|_| Access::default());
    let witness = Witness::attach(&links, options(server).await);
    until(&witness, "attached", |s| s.attached).await;
    witness
}

pub(crate) async fn until(
    witness: &Witness,
    what: &str,
    wanted: impl Fn(&WitnessStatus) -> bool + Send + Sync,
) -> WitnessStatus {
    let mut changes = witness.changes();
    let waited = tokio::time::timeout(common::DEADLINE, changes.wait_for(|s| wanted(s))).await;
    assert!(waited.is_ok(), "waited in vain for {what}: {:?}", witness.status());
    witness.status()
}

/// Asks `probe` until it is content.
pub(crate) async fn wait<T>(what: &str, mut probe: impl AsyncFnMut() -> anyhow::Result<T>) -> T {
    let end = Instant::now() + common::DEADLINE;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() > end => panic!("waited in vain for {what}; last seen: {seen:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

pub(crate) async fn offset(server: &RedisServer) -> u64 {
    server.info_field("master_repl_offset").await.unwrap().parse().unwrap()
}

/// The tail has reached what the primary has sent by now.
pub(crate) async fn caught_up(server: &RedisServer, tail: &Tail) {
    let wanted = offset(server).await;
    wait("the tail to catch up", async || {
        anyhow::ensure!(tail.end() >= wanted, "{} of {wanted}", tail.end());
        Ok(())
    })
    .await;
}

pub(crate) async fn command(
    connection: &mut MultiplexedConnection,
    words: &[&str],
) -> redis::RedisResult<String> {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query_async(connection).await
}

pub(crate) async fn tell(server: &RedisServer, words: &[&str]) -> redis::RedisResult<String> {
    command(&mut server.connection().await.unwrap(), words).await
}

/// Writes `keys` keys of `bytes` bytes each, in pipelines.
pub(crate) async fn fill(server: &RedisServer, prefix: &str, keys: usize, bytes: usize) {
    let mut connection = server.connection().await.unwrap();
    let value = "v".repeat(bytes);
    for chunk in (0..keys).collect::<Vec<_>>().chunks(200) {
        let mut pipe = redis::pipe();
        for key in chunk {
            pipe.cmd("SET").arg(format!("{prefix}{key}")).arg(&value).ignore();
        }
        pipe.query_async::<()>(&mut connection).await.unwrap();
    }
}

/// How long the server has gone on accepting writes by the time it refuses one.
pub(crate) async fn refused_after(connection: &mut MultiplexedConnection) -> Duration {
    let began = Instant::now();
    loop {
        match command(connection, &["SET", "k", "v"]).await {
            Ok(_) => assert!(began.elapsed() < common::DEADLINE, "it goes on accepting writes"),
            Err(error) => {
                assert_eq!(error.code(), Some("NOREPLICAS"), "{error}");
                return began.elapsed();
            }
        }
    }
}

/// All bytes after `from`.
pub(crate) fn bytes_after(tail: &Tail, mut from: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Read::Bytes(some) = tail.read(from, usize::MAX) {
        from += some.len() as u64;
        bytes.extend_from_slice(&some);
    }
    bytes
}

/// A replica that is nothing but a socket: reads the stream after `from` up to `to`.
pub(crate) async fn raw_stream(server: &RedisServer, replid: &str, from: u64, to: u64) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(format!("PSYNC {replid} {}\r\n", from + 1).as_bytes()).await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    assert!(line.starts_with(b"+CONTINUE"), "{}", String::from_utf8_lossy(&line));
    let mut bytes = vec![0; (to - from) as usize];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}
