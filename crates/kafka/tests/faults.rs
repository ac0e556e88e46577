//! Whatever is killed, frozen or restarted, each record arrives once, at its own offset.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    Load, Pair, assert_same, create_replicated, create_topic, progressed, until, until_copied, write,
};
use primacy_kafka::Mirror;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_whose_brokers_die_in_turns_goes_on_taking() {
    let mut pair = Pair::start_with(3).await;
    create_topic(&pair.a, "l-orders", 3, &[]).await;
    create_replicated(&pair.b, "l-orders", 3, 3, &[]).await;
    let load = Load::start(&pair.a, "l-orders", 3);
    let mut mirror = Mirror::start(pair.plan("l-"));
    progressed(&mirror).await;
    for id in 1..=2 {
        pair.b.broker(id).unwrap().kill().unwrap();
        progressed(&mirror).await;
        let broker = pair.b.broker_mut(id).unwrap();
        broker.spawn().unwrap();
        broker.wait_ready().await.unwrap();
        progressed(&mirror).await;
        // The owner dies while followers may lag.
        drop(mirror);
        mirror = Mirror::start(pair.plan("l-"));
        progressed(&mirror).await;
    }
    assert!(load.stop().await > 500);
    write(&pair.a, "l-orders", 0, 1, 10, &[]).await;
    until_copied(&mirror, &pair.a, "l-orders").await;
    assert_same(&pair, "l-orders").await;
    assert_eq!(mirror.status().unaligned().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_misplaced_by_kills_and_freezes() {
    let mut pair = Pair::start().await;
    create_topic(&pair.a, "f-orders", 3, &[]).await;
    let load = Load::start(&pair.a, "f-orders", 3);
    let mut mirror = Mirror::start(pair.plan("f-"));
    progressed(&mirror).await;

    // The owner is gone without a word, and another begins.
    drop(mirror);
    mirror = Mirror::start(pair.plan("f-"));
    progressed(&mirror).await;

    pair.b.kill().unwrap();
    until(&mirror, "the target is missed", |s| !s.target.reachable && s.target.error.is_some()).await;
    pair.b.restart().await.unwrap();
    progressed(&mirror).await;

    pair.b.freeze().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The owner dies with requests in the frozen broker's hands, which it will carry out when it wakes.
    drop(mirror);
    mirror = Mirror::start(pair.plan("f-"));
    pair.b.thaw().unwrap();
    progressed(&mirror).await;

    pair.a.freeze().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    pair.a.thaw().unwrap();
    progressed(&mirror).await;

    pair.a.kill().unwrap();
    let lost = until(&mirror, "the source is missed", |s| !s.source.reachable).await;
    assert!(lost.sampled.is_some(), "the last sample stays");
    pair.a.restart().await.unwrap();
    progressed(&mirror).await;

    assert!(load.stop().await > 1_000);
    write(&pair.a, "f-orders", 0, 1, 10, &[]).await;
    until_copied(&mirror, &pair.a, "f-orders").await;
    assert_same(&pair, "f-orders").await;
    assert_eq!(mirror.status().unaligned().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_owner_ends_when_a_newer_one_writes() {
    let pair = Pair::start().await;
    create_topic(&pair.a, "o-orders", 1, &[]).await;
    let held = Arc::new(AtomicBool::new(true));
    let asked = held.clone();
    let mut plan = pair.plan("o-");
    plan.authority = primacy_kafka::Authority::new(move || asked.load(Ordering::Relaxed));
    let older = Mirror::start(plan);
    write(&pair.a, "o-orders", 0, 100, 10, &[]).await;
    until_copied(&older, &pair.a, "o-orders").await;

    // Its lease is gone: it holds what it has fetched, like one that is frozen.
    held.store(false, Ordering::Relaxed);
    write(&pair.a, "o-orders", 0, 100, 10, &[]).await;
    until(&older, "it does not write", |s| s.stopped.is_some()).await;
    let newer = Mirror::start(primacy_kafka::MirrorPlan { epoch: 2, ..pair.plan("o-") });
    until_copied(&newer, &pair.a, "o-orders").await;

    // It wakes up and takes itself for the owner.
    held.store(true, Ordering::Relaxed);
    let ended = until(&older, "it is shut out", |s| {
        s.stopped.as_deref().is_some_and(|why| why.contains("newer owner")) || s.unaligned().count() > 0
    });
    let ended = ended.await;
    assert_eq!(ended.unaligned().count(), 0, "{ended:?}");
    write(&pair.a, "o-orders", 0, 100, 10, &[]).await;
    until_copied(&newer, &pair.a, "o-orders").await;
    assert_same(&pair, "o-orders").await;
}
