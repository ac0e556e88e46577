//! The actions on real servers: a whole switchover by hand under load, the way back, and each action twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    DEADLINE, LIFT, OPEN, Watch, address, fence, linked, open_access, pair, perform, promote, server,
};
use primacy_core::{ActionKind, Epoch, Lineage, Outcome};
use primacy_redis::{Access, Hand, Link, Links};
use primacy_testbed::load::StaticLocate;
use primacy_testbed::{Credentials, Load, LoadOptions, RedisServer, Target, Workdir, wait_for};
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn load_on(servers: &[&RedisServer]) -> Load {
    let targets = servers.iter().map(|s| Target::new(s.name(), s.address()));
    let options = LoadOptions { duration_max: Duration::from_secs(20), ..LoadOptions::default() };
    let load = Load::start(options, StaticLocate::new(targets)).unwrap();
    acked(&load, 1_000).await;
    load
}

async fn acked(load: &Load, more: u64) {
    let from = load.progress().acked;
    wait_for("acknowledged writes", DEADLINE, async || {
        let acked = load.progress().acked;
        anyhow::ensure!(acked >= from + more, "{} of {more}", acked - from);
        Ok(())
    })
    .await
    .unwrap();
}

async fn refused(server: &RedisServer) -> Option<String> {
    let mut connection = server.connection().await.unwrap();
    let set: redis::RedisResult<()> = redis::cmd("SET").arg("x").arg("y").query_async(&mut connection).await;
    set.err().and_then(|e| e.code().map(str::to_owned))
}

async fn config(server: &RedisServer, name: &str) -> String {
    let mut connection = server.connection().await.unwrap();
    let pair: (String, String) =
        redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut connection).await.unwrap();
    pair.1
}

fn lineage(outcome: &Outcome) -> Lineage {
    match outcome {
        Outcome::Promoted(promoted) => promoted.lineage.clone(),
        other => panic!("no promotion: {other:?}"),
    }
}

fn follow(primary: &RedisServer, evict: bool) -> ActionKind {
    ActionKind::Follow { primary: address(primary), evict }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_under_load_loses_nothing_and_never_two_write() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    let c = server(&dir, "c", &[&format!("replicaof 127.0.0.1 {}", a.port())]).await;
    linked(&c).await;
    let links = open_access();
    let _watched = [Watch::new(&links, &a), Watch::new(&links, &b)];
    let hand = Hand::new(links);
    let load = load_on(&[&a, &b]).await;
    let history = a.info_field("master_replid").await.unwrap();

    let started = Instant::now();
    let fenced = perform(&hand, &a, fence(Some(&b))).await.unwrap();
    let Outcome::Fenced { code, end, drained_us, .. } = fenced else { panic!("{fenced:?}") };
    assert_eq!((code.as_str(), &end.replid), ("NOREPLICAS", &history));
    assert!(drained_us.is_some(), "the standby read all");
    let promoted = perform(&hand, &b, promote(Some(history.clone()))).await.unwrap();
    perform(&hand, &b, OPEN).await.unwrap();
    perform(&hand, &a, follow(&b, true)).await.unwrap();
    perform(&hand, &c, follow(&b, true)).await.unwrap();
    let lineage = lineage(&promoted);
    assert_eq!(lineage.previous.as_deref(), Some(history.as_str()));
    assert_eq!(lineage.start.offset_bytes, end.offset_bytes);
    assert_eq!(lineage.run_id, b.info_field("run_id").await.unwrap());
    acked(&load, 1_000).await;
    let ledger = load.stop().await;
    assert!(ledger.first_ack_by("b", started).is_some());
    assert_eq!(ledger.lost(b.redis_address()).await.unwrap().count(), 0);
    linked(&a).await;
    linked(&c).await;
    for old in [&a, &c] {
        assert_eq!(refused(old).await.as_deref(), Some("READONLY"));
        assert_eq!(config(old, "min-replicas-to-write").await, "1000000");
        assert_eq!(config(old, "repl-ping-replica-period").await, "1");
        assert_eq!(old.info_field("sync_full").await.unwrap(), if old.name() == "a" { "2" } else { "0" });
    }
    // Both came back without a full copy: b served none.
    assert_eq!(b.info_field("sync_full").await.unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lifted_fence_leaves_everything_as_it_was() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    let hand = Hand::new(open_access());
    let load = load_on(&[&a]).await;
    perform(&hand, &a, fence(Some(&b))).await.unwrap();
    assert_eq!(refused(&a).await.as_deref(), Some("NOREPLICAS"));
    assert_eq!(config(&a, "repl-ping-replica-period").await, "3600");
    assert_eq!(perform(&hand, &a, LIFT).await.unwrap(), Outcome::Lifted);
    assert_eq!(refused(&a).await, None);
    assert_eq!(config(&a, "min-replicas-to-write").await, "0");
    assert_eq!(config(&a, "repl-ping-replica-period").await, "1");
    acked(&load, 1_000).await;
    assert_eq!(load.stop().await.lost(a.redis_address()).await.unwrap().count(), 0);
    assert_eq!(a.info_field("role").await.unwrap(), "master");
}

#[tokio::test]
async fn each_action_twice_is_the_same_as_once() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    let hand = Hand::new(open_access());
    let history = a.info_field("master_replid").await.unwrap();
    let end = |o: Outcome| match o {
        Outcome::Fenced { end, .. } => end,
        other => panic!("{other:?}"),
    };
    let first = end(perform(&hand, &a, fence(Some(&b))).await.unwrap());
    let second = end(perform(&hand, &a, fence(Some(&b))).await.unwrap());
    assert_eq!(first, second, "the stream stands still");
    let promote = || promote(Some(history.clone()));
    let first = lineage(&perform(&hand, &b, promote()).await.unwrap());
    let second = lineage(&perform(&hand, &b, promote()).await.unwrap());
    assert_eq!(first, second);
    assert_eq!(refused(&b).await.as_deref(), Some("NOREPLICAS"), "promoted behind a shut door");
    for _ in 0..2 {
        assert_eq!(perform(&hand, &b, OPEN).await.unwrap(), Outcome::Opened);
    }
    assert_eq!(refused(&b).await, None);
    for _ in 0..2 {
        assert_eq!(perform(&hand, &a, follow(&b, true)).await.unwrap(), Outcome::Following);
    }
    linked(&a).await;
    // Fencing what follows already counts: it refuses by its role.
    let fenced = perform(&hand, &a, fence(None)).await.unwrap();
    assert!(matches!(fenced, Outcome::Fenced { code, .. } if code == "READONLY"));
    for _ in 0..2 {
        assert_eq!(perform(&hand, &b, LIFT).await.unwrap(), Outcome::Lifted);
    }
}

#[tokio::test]
async fn a_member_of_another_history_is_not_promoted() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    let hand = Hand::new(open_access());
    let stranger = "f".repeat(40);
    let error = perform(&hand, &b, promote(Some(stranger))).await.unwrap_err();
    assert!(error.permanent && error.message.contains("holds history"), "{error}");
    assert!(error.message.starts_with(&format!("features: cannot promote b at {}", b.address())), "{error}");
    assert_eq!(b.info_field("role").await.unwrap(), "slave");
    assert_eq!(refused(&a).await, None);
}

#[tokio::test]
async fn the_first_primary_needs_no_history() {
    let dir = Workdir::create().unwrap();
    let fenced = ["replicaof 127.0.0.1 1", "min-replicas-to-write 1000000", "min-replicas-max-lag 1"];
    let a = server(&dir, "a", &fenced).await;
    let hand = Hand::new(open_access());
    let promoted = perform(&hand, &a, promote(None)).await.unwrap();
    assert_eq!(lineage(&promoted).start.replid, a.info_field("master_replid").await.unwrap());
    assert_eq!(refused(&a).await.as_deref(), Some("NOREPLICAS"));
    perform(&hand, &a, OPEN).await.unwrap();
    assert_eq!(refused(&a).await, None);
}

#[tokio::test]
async fn a_replica_is_neither_opened_nor_lifted() {
    let dir = Workdir::create().unwrap();
    let (_a, b) = pair(&dir).await;
    let hand = Hand::new(open_access());
    for kind in [OPEN, LIFT] {
        let error = perform(&hand, &b, kind).await.unwrap_err();
        assert!(!error.permanent && error.message.contains("no primary"), "{error}");
        assert_eq!(config(&b, "min-replicas-to-write").await, "1000000", "shut again");
        assert_eq!(refused(&b).await.as_deref(), Some("READONLY"));
    }
}

#[tokio::test]
async fn a_fence_that_cannot_hold_says_so() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &["min-replicas-max-lag 0"]).await;
    let hand = Hand::new(open_access());
    let error = perform(&hand, &a, fence(None)).await.unwrap_err();
    assert!(error.permanent && error.message.contains("min-replicas-max-lag is 0"), "{error}");
    let error = perform(&hand, &a, promote(None)).await.unwrap_err();
    assert!(error.permanent && error.message.contains("min-replicas-max-lag is 0"), "{error}");
}

#[tokio::test]
async fn a_member_follows_anybody_but_itself() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    let hand = Hand::new(open_access());
    let error = perform(&hand, &a, follow(&a, false)).await.unwrap_err();
    assert!(error.permanent && error.message.contains("itself"), "{error}");
}

#[tokio::test]
async fn a_drain_that_does_not_end_is_not_called_drained() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    b.freeze().unwrap();
    let hand = Hand::new(open_access());
    let drain = Some((common::name("b"), address(&b)));
    let kind = ActionKind::Fence { drain, within: Duration::from_millis(300) };
    // The frozen standby cannot even be asked; the fence itself holds.
    let outcome = perform(&hand, &a, kind).await.unwrap();
    assert!(matches!(outcome, Outcome::Fenced { drained_us: None, .. }), "{outcome:?}");
    assert_eq!(refused(&a).await.as_deref(), Some("NOREPLICAS"));
    b.thaw().unwrap();
}

#[tokio::test]
async fn the_dead_and_the_frozen_fail_in_time() {
    let dir = Workdir::create().unwrap();
    let a = server(&dir, "a", &[]).await;
    let b = server(&dir, "b", &[]).await;
    let hand = Hand::new(open_access());
    a.kill().unwrap();
    b.freeze().unwrap();
    for (server, words) in [(&a, "refuses connections"), (&b, "unreachable")] {
        for kind in [fence(None), OPEN, follow(&a, true)] {
            let action = common::action(server, kind);
            if action.kind == follow(&a, true) && server.name() == "a" {
                continue;
            }
            let started = Instant::now();
            let error = hand.perform(&action, Duration::from_millis(200)).await.unwrap_err();
            assert!(!error.permanent && error.message.contains(words), "{error}");
            assert!(started.elapsed() < Duration::from_secs(5));
        }
    }
    b.thaw().unwrap();
}

/// A server with a user of ours, and two leaders' hands with warm connections to it: the present one's and an older one's.
async fn two_leaders(dir: &Workdir) -> (RedisServer, [Hand; 2], Vec<Arc<Link>>) {
    let credentials = Credentials { username: "primacy".into(), password: "s3cret".into() };
    let mut options = primacy_testbed::RedisOptions::new("a", dir.subdir("a").unwrap());
    options.config = vec!["min-replicas-max-lag 1".into()];
    options.credentials = Some(credentials.clone());
    let a = RedisServer::start(options).await.unwrap();
    let mut held = Vec::new();
    let hands = [(); 2].map(|()| {
        let Credentials { username, password } = credentials.clone();
        let links = Links::new(move |_| Access {
            username: Some(username.clone()),
            password: Some(password.clone()),
            tls: None,
        });
        // Holding the link keeps its connection warm.
        held.push(links.link(&common::group(), &common::name("a"), &address(&a)));
        Hand::new(links)
    });
    for hand in &hands {
        perform(hand, &a, LIFT).await.unwrap();
    }
    (a, hands, held)
}

/// What an older leader has on its way to a member does not undo a promotion since: its connection is gone.
#[tokio::test]
async fn an_old_command_on_another_connection_does_not_outlive_a_promotion() {
    let dir = Workdir::create().unwrap();
    let (a, [new, _], _held) = two_leaders(&dir).await;
    let mut old = a.connection().await.unwrap();
    redis::cmd("AUTH").arg("primacy").arg("s3cret").exec_async(&mut old).await.unwrap();
    perform(&new, &a, promote(None)).await.unwrap();
    let late = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec_async(&mut old).await;
    assert!(late.is_err(), "{late:?}");
    assert_eq!(a.info_field("role").await.unwrap(), "master");
}

/// What was sent to a frozen server before the fence, by another node, does not open it after the fence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_command_on_another_connection_does_not_outlive_the_fence() {
    let dir = Workdir::create().unwrap();
    let (a, [new, old], _held) = two_leaders(&dir).await;
    let acting = |hand: &Hand, kind| {
        let (hand, action) = (hand.clone(), common::action(&a, kind));
        tokio::spawn(async move { hand.perform(&action, Duration::from_secs(5)).await })
    };
    a.freeze().unwrap();
    let within = Duration::from_secs(5);
    let fencing = acting(&new, ActionKind::Fence { drain: None, within });
    unread_requests(&a, 1).await;
    let opening = acting(&old, OPEN);
    unread_requests(&a, 2).await;
    a.thaw().unwrap();
    let fenced = fencing.await.unwrap().unwrap();
    assert!(matches!(fenced, Outcome::Fenced { code, .. } if code == "NOREPLICAS"));
    let opened = opening.await.unwrap();
    assert!(opened.is_err(), "{opened:?}");
    assert_eq!(refused(&a).await.as_deref(), Some("NOREPLICAS"));
    // After its deadline the old leader sends nothing.
    let late = old.perform(&common::action(&a, OPEN), Duration::ZERO).await.unwrap_err();
    assert!(!late.permanent, "{late}");
    assert_eq!(config(&a, "min-replicas-to-write").await, "1000000");
}

/// Waits until so many connections of the server hold bytes that it has not read.
async fn unread_requests(server: &RedisServer, count: usize) {
    let local = format!(":{:04X}", server.port());
    let is_unread = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let here = fields.next().is_some_and(|address| address.ends_with(&local));
        // Of the listening socket it is the number of connections that wait.
        let established = fields.nth(1) == Some("01");
        here && established && fields.next().is_some_and(|queues| !queues.ends_with(":00000000"))
    };
    wait_for("unread requests", DEADLINE, async || {
        let found = std::fs::read_to_string("/proc/net/tcp")?.lines().filter(|line| is_unread(line)).count();
        anyhow::ensure!(found >= count, "{found} of {count}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn evicted_clients_are_gone_and_ours_stay() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    let links = open_access();
    let mut watch = Watch::new(&links, &b);
    watch.up().await;
    let hand = Hand::new(links);
    let mut client = b.connection().await.unwrap();
    let before: i64 = redis::cmd("CLIENT").arg("ID").query_async(&mut client).await.unwrap();
    perform(&hand, &b, follow(&a, true)).await.unwrap();
    let gone: redis::RedisResult<i64> = redis::cmd("CLIENT").arg("ID").query_async(&mut client).await;
    assert!(gone.is_err(), "{gone:?} was {before}");
    let mut client = b.connection().await.unwrap();
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut client).await.unwrap();
    assert!(list.contains("name=primacy-control"), "{list}");
    linked(&b).await;
}

/// Without a backlog the id of the history would change when the first standby attaches.
#[tokio::test]
async fn the_history_of_a_promotion_keeps_its_id_when_the_first_standby_attaches() {
    let dir = Workdir::create().unwrap();
    let fenced = ["replicaof 127.0.0.1 1", "min-replicas-to-write 1000000", "min-replicas-max-lag 1"];
    let a = server(&dir, "a", &fenced).await;
    let b = server(&dir, "b", &fenced).await;
    let hand = Hand::new(open_access());
    let first = lineage(&perform(&hand, &a, promote(None)).await.unwrap());
    perform(&hand, &a, OPEN).await.unwrap();
    perform(&hand, &b, follow(&a, false)).await.unwrap();
    linked(&b).await;
    assert_eq!(a.info_field("master_replid").await.unwrap(), first.start.replid);
    assert_eq!(b.info_field("master_replid").await.unwrap(), first.start.replid);
    // The resync that settled it left nothing behind.
    assert_eq!(a.info_field("connected_slaves").await.unwrap(), "1");
}

/// A primary that was restarted holds its history, and has no backlog. Promoted twice, it is promoted once.
#[tokio::test]
async fn a_restarted_primary_is_promoted_again_out_of_its_own_history() {
    let dir = Workdir::create().unwrap();
    let lines = ["replicaof 127.0.0.1 1", "min-replicas-to-write 1000000", "min-replicas-max-lag 1"];
    let mut a = server(&dir, "a", &lines).await;
    let hand = Hand::new(open_access());
    let first = lineage(&perform(&hand, &a, promote(None)).await.unwrap());
    perform(&hand, &a, OPEN).await.unwrap();
    let mut connection = a.connection().await.unwrap();
    let _: () = redis::cmd("SET").arg("k").arg("v").query_async(&mut connection).await.unwrap();
    // The resync that settled the history may be ending still.
    wait_for("the data to be saved", DEADLINE, async || {
        let mut connection = a.connection().await?;
        Ok(redis::cmd("SAVE").exec_async(&mut connection).await?)
    })
    .await
    .unwrap();
    a.restart().await.unwrap();
    assert_eq!(a.info_field("master_replid").await.unwrap(), first.start.replid);
    let again = || promote(Some(first.start.replid.clone()));
    let second = lineage(&perform(&hand, &a, again()).await.unwrap());
    assert_eq!(second.previous.as_ref(), Some(&first.start.replid));
    assert_ne!((&second.run_id, &second.start.replid), (&first.run_id, &first.start.replid));
    let repeated = lineage(&perform(&hand, &a, again()).await.unwrap());
    assert_eq!(repeated, second);
    let stranger = promote(Some("e".repeat(40)));
    assert!(perform(&hand, &a, stranger).await.unwrap_err().permanent);
}

/// A leader that slept between its decision and the write must not take the primary of a later epoch down.
#[tokio::test]
async fn a_hand_that_may_act_no_more_writes_nothing() {
    let dir = Workdir::create().unwrap();
    let (a, b) = pair(&dir).await;
    let hand = Hand::new(open_access()).guarded(|action| action.epoch > Epoch(7));
    for (server, kind) in
        [(&a, fence(None)), (&a, follow(&b, true)), (&b, promote(None)), (&b, OPEN), (&a, LIFT)]
    {
        let word = kind.word();
        let refused = perform(&hand, server, kind).await.unwrap_err();
        assert!(!refused.permanent && refused.message.contains("may not act"), "{word}: {refused}");
    }
    assert_eq!(a.info_field("role").await.unwrap(), "master");
    assert_eq!(refused(&a).await, None);
    assert_eq!(b.info_field("master_link_status").await.unwrap(), "up");
}
