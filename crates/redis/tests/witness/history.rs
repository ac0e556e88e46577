//! What the tail holds, over interruptions and changes of history.

use crate::parts::*;
use primacy_core::view::LinkEnd;
use primacy_redis::{Access, Links, Read, Witness, WitnessOptions};
use primacy_testbed::Workdir;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_is_the_stream_and_keeps_the_newest() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &["repl-backlog-size 64mb"]).await;
    let links = Links::new(|_| Access::default());
    let small = WitnessOptions { tail_max_bytes: 1 << 20, ..options(&server).await };
    let small = Witness::attach(&links, small);
    until(&small, "attached", |s| s.attached).await;
    let large = witness(&server).await;
    fill(&server, "k", 20_000, 500).await;
    let (small, large) = (small.tail().unwrap(), large.tail().unwrap());
    caught_up(&server, &small).await;
    caught_up(&server, &large).await;
    let (from, to) = (large.start(), large.end());
    assert!(to - from > 10_000_000, "{from} to {to}");
    let truth = raw_stream(&server, &large.replid(), from, to).await;
    assert!(bytes_after(&large, from)[..truth.len()] == truth);
    assert_eq!(small.end() - small.start(), 1 << 20);
    assert_eq!(small.read(small.start() - 1, 1), Read::Gone { start: small.start() });
    let start = small.start();
    let kept = bytes_after(&small, start);
    let known = &truth[(start - from) as usize..];
    assert!(kept[..known.len()] == *known);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_leaves_no_gap() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &["min-replicas-to-write 1"]).await;
    let witness = witness(&server).await;
    let tail = witness.tail().unwrap();
    let from = tail.start();
    let mut ends = Vec::new();
    for round in 0..5 {
        wait("an open door", async || Ok(tell(&server, &["SET", "k", "v"]).await?)).await;
        fill(&server, &format!("{round}-"), 400, 100).await;
        let mut changes = witness.changes();
        tell(&server, &["CLIENT", "KILL", "TYPE", "replica"]).await.ok();
        let killed = std::time::Instant::now();
        changes.wait_for(|s| s.ended.is_some() || s.end_bytes > tail.end()).await.unwrap();
        until(&witness, "attached again", |s| s.attached).await;
        ends.push(killed.elapsed());
    }
    assert!(ends[0] < Duration::from_millis(200), "attached again after {ends:?}");
    wait("an open door", async || Ok(tell(&server, &["SET", "k", "v"]).await?)).await;
    caught_up(&server, &tail).await;
    let to = tail.end();
    assert!(
        bytes_after(&tail, from)[..(to - from) as usize]
            == raw_stream(&server, &tail.replid(), from, to).await
    );
    assert_eq!((witness.status().copies, witness.status().start_bytes), (0, from));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_goes_on_under_another_id_is_another_tail_with_the_same_bytes() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &[]).await;
    let witness = witness(&server).await;
    fill(&server, "k", 100, 100).await;
    let old = witness.tail().unwrap();
    caught_up(&server, &old).await;
    // Demoted to nobody's replica and promoted again: the same data under another id.
    let port = primacy_testbed::ports::free().unwrap().to_string();
    let mut client = server.connection().await.unwrap();
    command(&mut client, &["REPLICAOF", "127.0.0.1", &port]).await.unwrap();
    until(&witness, "the end", |s| !s.attached).await;
    command(&mut client, &["REPLICAOF", "NO", "ONE"]).await.unwrap();
    let id = server.info_field("master_replid").await.unwrap();
    assert_ne!(id, old.replid());
    until(&witness, "attached to the new history", |s| s.attached && s.replid.as_ref() == Some(&id)).await;
    let new = witness.tail().unwrap();
    fill(&server, "n", 100, 100).await;
    caught_up(&server, &new).await;
    assert!(old.sealed() && old.end() < new.end() && old.start() == new.start());
    let (from, to) = (new.start(), new.end());
    assert!(bytes_after(&new, from)[..(to - from) as usize] == raw_stream(&server, &id, from, to).await);
    assert_eq!(witness.status().copies, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_the_backlog_no_longer_joins_begins_anew_without_a_copy() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &["repl-backlog-size 16kb"]).await;
    let witness = witness(&server).await;
    let old = witness.tail().unwrap();
    let mut burst = redis::pipe();
    burst.atomic().cmd("CLIENT").arg("KILL").arg("TYPE").arg("replica").ignore();
    for n in 0..300 {
        burst.cmd("SET").arg(n).arg("v".repeat(1000)).ignore();
    }
    burst.query_async::<()>(&mut server.connection().await.unwrap()).await.unwrap();
    let back = until(&witness, "a new tail", |s| s.attached && s.start_bytes > old.end()).await;
    assert_eq!((back.copies, back.replid), (0, Some(old.replid())));
    assert!(old.sealed());
    tell(&server, &["SET", "k", "v"]).await.unwrap();
    caught_up(&server, &witness.tail().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_primary_is_given_up_and_found_again() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &[]).await;
    let witness = witness(&server).await;
    let tail = witness.tail().unwrap();
    server.freeze().unwrap();
    let frozen = until(&witness, "the end by silence", |s| s.ended == Some(LinkEnd::Unanswered)).await;
    assert!(!frozen.attached);
    server.thaw().unwrap();
    let back = until(&witness, "attached again", |s| s.attached).await;
    assert_eq!((back.copies, back.ended, back.start_bytes), (0, None, tail.start()));
    assert!(!tail.sealed());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_begins_at_what_the_slowest_replica_lacks() {
    let dir = Workdir::create().unwrap();
    let server = primary(&dir, &["repl-timeout 60"]).await;
    let standby = replica(&dir, "standby", &server).await;
    // Far enough from the promotion for that not to matter.
    fill(&server, "a", 2_000, 1_000).await;
    let held = wait("the standby's acknowledgement", async || {
        let info = server.info().await?;
        let offset = &info["master_repl_offset"];
        anyhow::ensure!(info["slave0"].contains(&format!("offset={offset},")), "{}", info["slave0"]);
        Ok(offset.parse::<u64>()?)
    })
    .await;
    standby.freeze().unwrap();
    fill(&server, "b", 100, 100).await;
    let witness = witness(&server).await;
    let tail = witness.tail().unwrap();
    caught_up(&server, &tail).await;
    // A ping may have been acknowledged in between.
    assert!((held..held + 100).contains(&tail.start()) && tail.end() > held + 10_000, "{held}: {tail:?}");
    standby.thaw().unwrap();
}
