//! A watch across nodes that die, and the cache that it feeds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mock;

use futures::{Stream, StreamExt};
use mock::{Node, World, until};
use primacy_client::{Client, ClientError, WatchItem, v1};
use primacy_core::EventBatch;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

fn client<const N: usize>(nodes: [&Node; N]) -> Client {
    Client::builder(nodes.map(|node| node.address.clone())).build().unwrap()
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
    timeout(Duration::from_secs(10), stream.next())
        .await
        .expect("news within 10 s")
        .expect("the stream goes on")
}

async fn revisions(
    stream: &mut (impl Stream<Item = Result<EventBatch, ClientError>> + Unpin),
    count: usize,
) -> Vec<u64> {
    let mut seen = vec![];
    while seen.len() < count {
        seen.push(next(stream).await.unwrap().revision.0);
    }
    seen
}

#[tokio::test]
async fn a_watch_goes_on_at_another_node_without_a_gap_or_a_repeat() {
    let world = World::new();
    let mut nodes = [Node::leader(&world, 1), Node::follower(&world, 2), Node::follower(&world, 3)];
    let client = client([&nodes[0], &nodes[1], &nodes[2]]);
    let mut watch = Box::pin(client.watch(vec![], Some(0)));
    let mut expected = vec![];
    let mut seen = vec![];
    for _ in 0..2 {
        expected.extend((0..20).map(|_| world.commit_removal("g")));
        seen.extend(revisions(&mut watch, 10).await);
        let serving = nodes.iter_mut().find(|node| node.alive() && node.watches() > 0).unwrap();
        serving.kill();
        expected.extend((0..5).map(|_| world.commit_removal("g")));
        seen.extend(revisions(&mut watch, 15).await);
        assert_eq!(seen, expected);
        let serving = nodes.iter().filter(|node| node.alive() && node.watches() > 0).count();
        assert_eq!(serving, 1, "another node serves it");
    }
}

#[tokio::test]
async fn a_watch_from_now_begins_with_what_comes_next() {
    let world = World::new();
    let node = Node::leader(&world, 1);
    world.commit_removal("before");
    let client = client([&node]);
    let mut watch = Box::pin(client.watch(vec![], None));
    let first = tokio::spawn(async move { next(&mut watch).await.unwrap().revision.0 });
    until("the watch stands", || node.watches() == 1).await;
    let after = world.commit_removal("after");
    assert_eq!(first.await.unwrap(), after);
}

#[tokio::test]
async fn a_watch_survives_an_outage_of_all_nodes() {
    let world = World::new();
    let mut node = Node::leader(&world, 1);
    let client =
        Client::builder([node.address.clone()]).deadline(Duration::from_millis(200)).build().unwrap();
    let mut watch = Box::pin(client.watch(vec![], Some(0)));
    let first = world.commit_removal("g");
    assert_eq!(next(&mut watch).await.unwrap().revision.0, first);
    node.kill();
    let error = next(&mut watch).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    let error = next(&mut watch).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "it can be polled on: {error}");
}

#[tokio::test]
async fn what_is_compacted_is_said_or_listed() {
    let world = World::new();
    let node = Node::leader(&world, 1);
    for _ in 0..5 {
        world.commit_removal("g");
    }
    world.compacted.store(9, Ordering::SeqCst);
    let client = client([&node]);
    let mut watch = Box::pin(client.watch(vec![], Some(3)));
    let error = next(&mut watch).await.unwrap_err();
    assert!(matches!(error, ClientError::Compacted { oldest: 9 }), "{error}");
    assert!(watch.next().await.is_none(), "it ends there");

    let mut watch = Box::pin(client.watch_or_relist(vec![], Some(3)));
    let WatchItem::Relist(list) = next(&mut watch).await.unwrap() else { panic!("a list comes first") };
    assert_eq!((list.revision, list.groups[0].group.as_str()), (15, "features"));
    let after = world.commit_removal("g");
    let WatchItem::Batch(batch) = next(&mut watch).await.unwrap() else { panic!("then events") };
    assert_eq!(batch.revision.0, after);
}

/// A client whose cache is fed: the lookup no longer reaches the node.
async fn fed(node: &Node) -> Client {
    let client = client([node]);
    for _ in 0..1_000 {
        let before = node.asked();
        client.primary("features").await.unwrap();
        if node.asked() == before {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the cache never answers");
}

#[tokio::test]
async fn a_lookup_is_kept_and_changed_by_events() {
    let world = World::new();
    let node = Node::leader(&world, 1);
    let client = fed(&node).await;
    let asked = node.asked();
    let seen = client.primary("features").await.unwrap();
    assert_eq!(seen.member.as_deref(), Some("a"));

    let revision = world.promote("b", "10.0.0.2:6379");
    let now = client.primary_after(&seen, Duration::from_secs(10)).await.unwrap();
    assert_eq!((now.member.as_deref(), now.address.as_deref()), (Some("b"), Some("10.0.0.2:6379")));
    assert_eq!((now.revision, now.state()), (revision, v1::GroupState::Switching));
    assert_eq!(node.asked(), asked, "the node was not asked");

    world.commit(v1::event::Kind::PhasePassed(v1::event::PhasePassed {
        group: "features".to_owned(),
        epoch: now.epoch,
        phase: v1::Phase::Redirect.into(),
        ..Default::default()
    }));
    let open = client.primary_after(&now, Duration::from_secs(10)).await.unwrap();
    assert_eq!((open.state(), open.epoch), (v1::GroupState::Serving, now.epoch));
    assert_eq!(node.asked(), asked, "the node was not asked");
}

#[tokio::test]
async fn a_reported_failure_asks_the_leader() {
    let world = World::new();
    let node = Node::leader(&world, 1);
    let client = fed(&node).await;
    let asked = node.asked();
    client.report_failure("features", 0);
    client.primary("features").await.unwrap();
    assert_eq!(node.asked(), asked, "an epoch of the past is no news");
    client.report_failure("features", 1);
    client.primary("features").await.unwrap();
    assert_eq!(node.asked(), asked + 1);
    client.primary("features").await.unwrap();
    assert_eq!(node.asked(), asked + 1, "the answer is kept");
}

#[tokio::test]
async fn an_unknown_group_is_not_kept() {
    let world = World::new();
    let node = Node::leader(&world, 1);
    let client = client([&node]);
    for _ in 0..2 {
        let error = client.primary("nonsense").await.unwrap_err();
        assert!(matches!(error, ClientError::NotFound { .. }), "{error}");
    }
}

#[tokio::test]
async fn many_lookups_at_once_share_one_question() {
    let world = World::new();
    let node = Node::leader(&world, 1);
    let client = client([&node]);
    let all = futures::future::join_all((0..64).map(|_| client.primary("features"))).await;
    assert!(all.iter().all(Result::is_ok));
    assert!(node.asked() <= 2, "{} questions", node.asked());
}

#[tokio::test]
async fn without_a_leader_the_last_known_primary_is_told_with_its_age() {
    let world = World::new();
    let mut node = Node::leader(&world, 1);
    let client =
        Client::builder([node.address.clone()]).deadline(Duration::from_millis(300)).build().unwrap();
    let before = client.primary("features").await.unwrap();
    assert_eq!(before.consistency(), v1::Consistency::Linearizable);
    node.kill();
    client.report_failure("features", before.epoch);
    let after = client.primary("features").await.unwrap();
    assert_eq!((&after.member, after.epoch), (&before.member, before.epoch));
    assert_eq!(after.consistency(), v1::Consistency::Local);
    let error = client.primary("nobody-asked-before").await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. } | ClientError::TimedOut { .. }), "{error}");
}

/// A leader whose site was cut off is reached by the client and answers nothing; it was asked last, so it is asked first.
#[tokio::test]
async fn a_node_that_falls_silent_does_not_hide_the_next_leader() {
    let world = World::new();
    let (old, new) = (Node::leader(&world, 1), Node::leader(&world, 2));
    let client = Client::builder([old.address.clone(), new.address.clone()]).build().unwrap();
    let before = client.primary("features").await.unwrap();
    assert_eq!((old.asked(), new.asked()), (1, 0));
    old.behaviour.hangs.store(true, Ordering::SeqCst);
    client.report_failure("features", before.epoch);
    let after = client.primary("features").await.unwrap();
    assert_eq!(after.consistency(), v1::Consistency::Linearizable, "the last known would be told as local");
    assert_eq!(new.asked(), 1);
}
