//! One call across nodes: who is asked, what is repeated, and what the caller is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mock;

use futures::StreamExt;
use mock::{Node, World, until};
use primacy_client::v1::transition_progress::News;
use primacy_client::{Builder, Client, ClientError, v1};
use primacy_wire::Refusal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use v1::Consistency::Linearizable;

fn client<const N: usize>(nodes: [&Node; N]) -> Builder {
    Client::builder(nodes.map(|node| node.address.clone()))
}

/// An address that refuses connections.
fn nobody() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_node_that_cannot_yet_is_asked_again() {
    let world = World::new();
    let node = Node::leader(&world, 1);
    let later = || Refusal::Unavailable { message: "no quorum".to_owned() };
    node.refuse([later(), later(), later()]);
    let primary = client([&node]).build().unwrap().get_primary("features", Linearizable).await.unwrap();
    assert_eq!((primary.epoch, node.asked()), (1, 4));
}

#[tokio::test]
async fn the_leaders_address_is_followed_to_a_node_that_was_not_named() {
    let world = World::new();
    let (follower, leader) = (Node::follower(&world, 2), Node::leader(&world, 1));
    let client = client([&follower]).build().unwrap();
    client.get_primary("features", Linearizable).await.unwrap();
    assert_eq!((follower.asked(), leader.asked()), (1, 1));
    client.get_primary("features", Linearizable).await.unwrap();
    assert_eq!((follower.asked(), leader.asked()), (1, 2), "the leader is asked first from then on");
}

#[tokio::test]
async fn two_followers_that_name_each_other_do_not_make_a_loop() {
    let world = World::new();
    let (a, b) = (Node::follower(&world, 1), Node::follower(&world, 2));
    let hint = |node: &Node| Refusal::NotLeader {
        leader: Some(primacy_wire::refusal::LeaderHint {
            id: node.id,
            address: node.address.clone(),
            term: 1,
        }),
    };
    a.refuse((0..1_000).map(|_| hint(&b)));
    b.refuse((0..1_000).map(|_| hint(&a)));
    let client = client([&a, &b]).deadline(Duration::from_millis(300)).build().unwrap();
    let error = client.get_primary("features", Linearizable).await.unwrap_err();
    assert!(matches!(error, ClientError::NoLeader { .. }), "{error}");
    assert!(a.asked() + b.asked() < 60, "{} requests in 300 ms", a.asked() + b.asked());
}

#[tokio::test]
async fn a_dead_node_costs_no_more_than_its_refusal() {
    let world = World::new();
    let leader = Node::leader(&world, 1);
    let client = Client::builder([nobody(), leader.address.clone()]).build().unwrap();
    client.get_primary("features", Linearizable).await.unwrap();
    assert_eq!(leader.asked(), 1);
}

#[tokio::test]
async fn a_read_leaves_a_node_that_hangs() {
    let world = World::new();
    let (hung, leader) = (Node::follower(&world, 2), Node::leader(&world, 1));
    hung.behaviour.hangs.store(true, Ordering::SeqCst);
    let client = client([&hung, &leader]).attempt_max(Duration::from_millis(100)).build().unwrap();
    client.get_primary("features", Linearizable).await.unwrap();
    assert_eq!((hung.asked(), leader.asked()), (1, 1));
}

#[tokio::test]
async fn no_node_at_all_is_unreachable() {
    let client = Client::builder([nobody(), nobody()]).deadline(Duration::from_millis(300)).build().unwrap();
    let begun = Instant::now();
    let error = client.get_primary("features", Linearizable).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { detail } if detail.contains("refused")), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let error = Client::builder([nobody()]).deadline(Duration::from_millis(100)).connect().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn nodes_without_a_leader_say_so() {
    let world = World::new();
    let nodes = [Node::follower(&world, 1), Node::follower(&world, 2)];
    let client = client([&nodes[0], &nodes[1]]).deadline(Duration::from_millis(200)).connect().await.unwrap();
    let error = client.get_primary("features", Linearizable).await.unwrap_err();
    assert!(matches!(error, ClientError::NoLeader { .. }), "{error}");
}

#[tokio::test]
async fn a_node_that_knows_no_leader_speaks_only_when_no_other_knows_more() {
    // Two worlds: the one node was removed from the cluster, and has heard nothing since.
    let (removed, leader) = (Node::follower(&World::new(), 9), Node::leader(&World::new(), 1));
    let ask =
        async |client: Client| client.admin().cluster_status(v1::ClusterStatusRequest {}).await.unwrap();
    let status = ask(client([&removed, &leader]).build().unwrap()).await;
    assert_eq!(status.leader.map(|leader| leader.id), Some(1));
    let status = ask(client([&removed]).build().unwrap()).await;
    assert_eq!((status.leader, status.cluster.as_str()), (None, "test"));
}

#[tokio::test]
async fn a_refusal_is_told_as_it_is() {
    let world = World::new();
    let node = Node::leader(&world, 1);
    let client = client([&node]).deadline(Duration::from_millis(300)).build().unwrap();
    let text = |s: &str| s.to_owned();
    let ask = async |refusal: Refusal| {
        node.refuse([refusal]);
        client.admin().status(v1::StatusRequest::default()).await.unwrap_err()
    };
    let error = ask(Refusal::Rule { code: text("paused"), message: text("it is paused") }).await;
    assert!(matches!(&error, ClientError::Refused { rule, .. } if rule == "paused"), "{error}");
    let error = ask(Refusal::Invalid { field: text("group"), reason: text("x"), remedy: text("y") }).await;
    assert!(matches!(&error, ClientError::Invalid { field, .. } if field == "group"), "{error}");
    let error = ask(Refusal::NotFound { code: text("unknown_group"), message: text("x") }).await;
    assert!(matches!(&error, ClientError::NotFound { code, .. } if code == "unknown_group"), "{error}");
    assert_eq!(node.asked(), 3, "none of these is tried twice");
    node.refuse((0..1_000).map(|_| Refusal::Stale { age_ms: 9, bound_ms: 5 }));
    let error = client.get_primary("features", v1::Consistency::Local).await.unwrap_err();
    assert!(matches!(error, ClientError::Stale { age_ms: 9, bound_ms: 5 }), "{error}");
}

#[tokio::test]
async fn what_can_be_repeated_is_repeated_at_another_node() {
    let world = World::new();
    let (mut old, new) = (Node::leader(&world, 1), Node::leader(&world, 2));
    old.behaviour.loses_answers.store(true, Ordering::SeqCst);
    let client = client([&old, &new]).build().unwrap();
    let admin = client.admin();
    let pause = tokio::spawn(async move { admin.pause(v1::PauseRequest::default()).await });
    until("the first node has paused", || world.done() == ["n1 pause"]).await;
    old.kill();
    assert_eq!(pause.await.unwrap().unwrap().revision, 7);
    assert_eq!(world.done(), ["n1 pause", "n2 pause"]);
}

#[tokio::test]
async fn what_must_not_be_repeated_ends_in_doubt() {
    let world = World::new();
    let (spare, mut leader) = (Node::follower(&world, 2), Node::leader(&world, 1));
    leader.behaviour.loses_answers.store(true, Ordering::SeqCst);
    let client = client([&spare, &leader]).build().unwrap();
    let admin = client.admin();
    let add = tokio::spawn(async move { admin.add_node(v1::AddNodeRequest::default()).await });
    until("the leader has added it", || world.done() == ["n1 add"]).await;
    leader.kill();
    let error = add.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { outcome_unknown: true, .. }), "{error}");
    assert_eq!(world.done(), ["n1 add"]);
}

#[tokio::test]
async fn what_must_not_be_repeated_goes_past_a_follower_that_hangs() {
    let world = World::new();
    let (hung, leader) = (Node::follower(&world, 2), Node::leader(&world, 1));
    hung.behaviour.hangs.store(true, Ordering::SeqCst);
    let client = client([&hung, &leader]).attempt_max(Duration::from_millis(100)).build().unwrap();
    client.admin().remove_node(v1::RemoveNodeRequest { id: 3 }).await.unwrap();
    assert_eq!(world.done(), ["n1 remove"]);
}

#[tokio::test]
async fn the_news_of_a_switchover_come_in_order_from_the_leader() {
    let world = World::new();
    let (follower, _leader) = (Node::follower(&world, 2), Node::leader(&world, 1));
    let admin = client([&follower]).build().unwrap().admin();
    let news = admin.switchover(v1::SwitchoverRequest::default()).await.unwrap();
    let news: Vec<News> = news.map(|n| n.unwrap().news.unwrap()).collect().await;
    assert!(matches!(news.as_slice(), [News::Checks(_), News::Started(_), News::Ended(_)]), "{news:?}");
    let request = v1::FailoverRequest { dry_run: true, ..Default::default() };
    let news: Vec<_> = admin.failover(request).await.unwrap().collect().await;
    assert_eq!(news.len(), 1);
    assert_eq!(world.done(), ["n1 switchover", "n1 failover"]);
}

#[tokio::test]
async fn a_switchover_whose_leader_dies_is_in_doubt_and_not_repeated() {
    let world = World::new();
    let (follower, mut leader) = (Node::follower(&world, 2), Node::leader(&world, 1));
    leader.behaviour.breaks_news.store(true, Ordering::SeqCst);
    let admin = client([&follower, &leader]).build().unwrap().admin();
    let mut news = Box::pin(admin.switchover(v1::SwitchoverRequest::default()).await.unwrap());
    assert!(matches!(news.next().await.unwrap().unwrap().news, Some(News::Checks(_))));
    assert!(matches!(news.next().await.unwrap().unwrap().news, Some(News::Started(_))));
    leader.kill();
    let error = news.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { outcome_unknown: true, .. }), "{error}");
    assert!(news.next().await.is_none());
    assert_eq!(world.done(), ["n1 switchover"]);
}
