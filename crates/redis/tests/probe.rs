//! What a prober sees of servers that serve, die, freeze, come back, or were never there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{DEADLINE, Watch, address, open_access, pair, server};
use primacy_core::Address;
use primacy_core::view::{BootFence, ConnectFailure, LinkEnd, MemberRole, Reach};
use primacy_redis::Sighting;
use primacy_testbed::Workdir;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

fn down(s: &Sighting, ended: Option<LinkEnd>, connect: Option<ConnectFailure>) -> bool {
    matches!(&s.reach, Reach::Down { ended: e, connect: c, .. } if *e == ended && *c == connect)
}

fn exited(s: &Sighting, pid: u32) -> bool {
    matches!(&s.reach, Reach::Down { exited_pid: Some(p), .. } if *p == pid)
}

#[tokio::test]
async fn a_primary_and_its_replica_say_what_they_are() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    let mut connection = a.connection().await.unwrap();
    let _: () = redis::cmd("SET").arg("k").arg("v").query_async(&mut connection).await.unwrap();
    let links = open_access();
    let mut of_a = Watch::new(&links, &a);
    let primary = of_a
        .status(
            "an attached replica",
            |s| matches!(&s.role, MemberRole::Primary { replicas } if replicas.iter().any(|r| r.online)),
        )
        .await;
    assert_eq!(primary.pid, a.process().pid());
    assert_eq!((primary.version.as_str(), primary.keys, primary.loading), ("7.0.15", 1, false));
    assert_eq!(primary.run_id, a.info_field("run_id").await.unwrap());
    assert!(primary.accepts_writes() && primary.rtt_us > 0 && primary.clients > 0);
    of_a.status("what its file makes of it", |s| matches!(s.boot, BootFence::Open { .. })).await;

    let mut of_b = Watch::new(&links, &b);
    let replica =
        of_b.status("the replica at the primary's offset", |s| s.reach_bytes() >= primary.offset_bytes).await;
    assert_eq!(replica.replid, primary.replid);
    match replica.role {
        MemberRole::Replica { host, port, link_up, read_only, .. } => {
            assert_eq!((host.as_str(), port, link_up, read_only), ("127.0.0.1", a.port(), true, true));
        }
        MemberRole::Primary { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => {
            panic!("b is a replica")
        }
    }
}

#[tokio::test]
async fn a_killed_server_is_dead_at_once() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    let links = open_access();
    let mut watch = Watch::new(&links, &a);
    watch.up().await;
    // The prober opens its quiet connection and the process watch after the first answer.
    watch.up().await;
    let pid = a.process().pid();
    let killed = Instant::now();
    a.kill().unwrap();
    let mut certain = None;
    let seen = watch
        .until("EOF, refused and the exit of the process", |s| {
            down(s, Some(LinkEnd::Eof), Some(ConnectFailure::Refused)) && exited(s, pid)
        })
        .await;
    certain.get_or_insert(killed.elapsed());
    assert!(certain.unwrap() < Duration::from_secs(2), "{certain:?}");
    let (_, last) = seen.last_up.expect("what it said last");
    assert_eq!(last.pid, pid);
}

#[tokio::test]
async fn a_frozen_server_is_silent_and_comes_back() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    let links = open_access();
    let mut watch = Watch::new(&links, &a);
    let before = watch.up().await;
    a.freeze().unwrap();
    let silent = watch.until("silence", |s| down(s, Some(LinkEnd::Unanswered), None)).await;
    assert!(silent.last_up.is_some());
    // Its kernel accepts the connection that is tried beside, and nobody answers there.
    watch
        .until("a silent second connection", |s| {
            down(s, Some(LinkEnd::Unanswered), Some(ConnectFailure::Unreachable))
        })
        .await;
    a.thaw().unwrap();
    let after = watch.up().await;
    assert_eq!(after.run_id, before.run_id);
}

/// The kernel resets connections with unread requests when the process is killed. One has none.
#[tokio::test]
async fn a_server_killed_while_frozen_ends_by_eof() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    let links = open_access();
    let mut watch = Watch::new(&links, &a);
    let status = watch.status("our two connections", |s| s.clients >= 2).await;
    a.freeze().unwrap();
    watch.until("silence", |s| down(s, Some(LinkEnd::Unanswered), None)).await;
    a.kill().unwrap();
    watch
        .until("EOF and refused", |s| {
            down(s, Some(LinkEnd::Eof), Some(ConnectFailure::Refused)) && exited(s, status.pid)
        })
        .await;
}

#[tokio::test]
async fn a_server_that_restarts_is_another_process() {
    let dir = Workdir::create().unwrap();
    let mut a = server(&dir, "a", &[]).await;
    let links = open_access();
    let mut watch = Watch::new(&links, &a);
    let before = watch.up().await;
    a.restart().await.unwrap();
    let after = watch.status("another process", |s| s.run_id != before.run_id).await;
    assert_eq!(after.pid, a.process().pid());
}

#[tokio::test]
async fn a_probe_can_be_had_at_once() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    let links = open_access();
    let mut watch = Watch::new(&links, &a);
    let first = watch.until("an answer", |s| matches!(s.reach, Reach::Up(_))).await;
    watch.handle.probe_now();
    let second = watch.until("the next answer", |s| matches!(s.reach, Reach::Up(_))).await;
    assert!(second.at.since(first.at) < common::EVERY, "{:?}", second.at.since(first.at));
}

#[tokio::test]
async fn who_was_never_there_says_why() {
    let links = open_access();
    let port = primacy_testbed::ports::free().unwrap();
    let nobody: Address = format!("127.0.0.1:{port}").parse().unwrap();
    let mut watch = Watch::at(&links, "a", &nobody);
    let seen = watch.until("refused", |s| down(s, None, Some(ConnectFailure::Refused))).await;
    assert_eq!(seen.last_up, None);

    let unknown: Address = "no-such-host.invalid:6379".parse().unwrap();
    let mut watch = Watch::at(&links, "b", &unknown);
    watch.until("an unknown name", |s| down(s, None, Some(ConnectFailure::NameUnknown))).await;
}

#[tokio::test]
async fn what_is_not_redis_is_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    let mut watch = Watch::at(&open_access(), "a", &web);
    watch.until("a protocol failure", |s| down(s, None, Some(ConnectFailure::Protocol))).await;
}

#[tokio::test]
async fn a_server_with_a_password_is_no_use_without_it() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &["requirepass s3cret"]).await;
    let mut watch = Watch::new(&open_access(), &a);
    let seen = watch.until("a protocol failure", |s| down(s, None, Some(ConnectFailure::Protocol))).await;
    assert!(
        matches!(&seen.reach, Reach::Down { detail, .. } if detail.contains("needs a password")),
        "{seen:?}"
    );
}

/// A middlebox that resets looks like nothing else: neither EOF nor refused.
#[tokio::test]
async fn a_reset_is_no_eof() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    let proxy = Proxy::start(a.address().to_owned()).await;
    let mut watch = Watch::at(&open_access(), "a", &proxy.address);
    watch.status("both connections", |s| s.clients >= 2).await;
    proxy.reset_all().await;
    watch.until("a reset", |s| matches!(&s.reach, Reach::Down { ended: Some(LinkEnd::Reset), .. })).await;
    watch.up().await;
}

#[tokio::test]
async fn an_evicted_probe_is_back_at_once() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    let mut watch = Watch::new(&open_access(), &a);
    watch.up().await;
    let mut connection = a.connection().await.unwrap();
    let _: i64 = redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .query_async(&mut connection)
        .await
        .unwrap();
    watch.until("EOF", |s| matches!(&s.reach, Reach::Down { ended: Some(LinkEnd::Eof), .. })).await;
    watch.up().await;
    assert_eq!(address(&a).port, a.port());
}

/// Passes bytes on until told to reset every connection.
struct Proxy {
    address: Address,
    reset: tokio::sync::watch::Sender<u64>,
}

impl Proxy {
    async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let (reset, told) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, mut told) = (target.clone(), told.clone());
                told.mark_unchanged();
                tokio::spawn(async move {
                    let mut client = client;
                    let mut server = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = told.changed() => client.set_zero_linger().unwrap(),
                    }
                });
            }
        });
        Proxy { address, reset }
    }

    async fn reset_all(&self) {
        primacy_testbed::wait_for("a connection", DEADLINE, async || {
            anyhow::ensure!(self.reset.receiver_count() > 1, "none yet");
            Ok(())
        })
        .await
        .unwrap();
        self.reset.send_modify(|n| *n += 1);
    }
}
