//! Cut off, healed: no term runs away, and who has no quorum claims nothing.

use crate::mesh::Mesh;
use crate::support::{Node, SOON, Site, TIMINGS, all_hold, eventually, leader, mark, propose};
use primacy_consensus::{ProposeError, ReadError};
use std::time::{Duration, Instant};

async fn meshed(count: u64) -> (Mesh, Site, Vec<Node>) {
    let mesh = Mesh::new();
    let carrier = mesh.clone();
    let site = Site::over(count, move |id| carrier.transport(id));
    let mut nodes = vec![];
    for id in 1..=count {
        let node = site.start(id).await;
        mesh.join(id, &node.consensus);
        nodes.push(node);
    }
    (mesh, site, nodes)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_follower_does_not_disturb_when_it_is_back() {
    let (mesh, _site, nodes) = meshed(3).await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    let cut = (leading + 1) % 3;
    all_hold(&[&nodes[cut]], &[1]).await;
    let term = nodes[leading].term();
    mesh.isolate(&[cut as u64 + 1], 3);
    let until = Instant::now() + TIMINGS.election_max * 6;
    let mut n = 1;
    while Instant::now() < until {
        n += 1;
        propose(&nodes[leading], n).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let age = nodes[cut].consensus.staleness().unwrap();
    assert!(age > TIMINGS.election_max * 4, "it knows that it is out of touch: {age:?}");
    mesh.heal();
    propose(&nodes[leading], n + 1).await;
    all_hold(&nodes.iter().collect::<Vec<_>>(), &(1..=n + 1).collect::<Vec<_>>()).await;
    for node in &nodes {
        assert_eq!(node.term(), term, "pre-vote keeps the term");
    }
    assert!(nodes[leading].leads());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_leader_claims_nothing_once_its_lease_is_over() {
    let (mesh, _site, nodes) = meshed(3).await;
    let leading = leader(&nodes).await;
    let old = &nodes[leading];
    propose(old, 1).await;
    let cut_at = Instant::now();
    mesh.isolate(&[leading as u64 + 1], 3);
    // Accepted by a leader that does not know yet; nobody else ever hears of it.
    let limbo = old.consensus.propose(mark(500), Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(limbo, ProposeError::OutcomeUnknown { .. }), "{limbo}");
    eventually("an end of the lease", async || if old.leads() { Err("leads".into()) } else { Ok(()) }).await;
    let lost_at = Instant::now();
    assert!(lost_at - cut_at < TIMINGS.election_max + Duration::from_secs(2));
    let others: Vec<&Node> = nodes.iter().filter(|node| !std::ptr::eq(*node, old)).collect();
    let next = *eventually("another leader", async || {
        assert!(!(old.leads() && others.iter().any(|node| node.leads())), "two leaders at once");
        others.iter().find(|node| node.leads()).ok_or("none".to_owned())
    })
    .await;
    assert!(matches!(old.consensus.lease().await.unwrap_err(), ReadError::Unavailable { .. }));
    assert!(old.consensus.linearizable(Duration::from_secs(2)).await.is_err());
    let refused = old.consensus.propose(mark(501), Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Unavailable { .. }), "{refused}");
    propose(next, 2).await;
    mesh.heal();
    // What was in limbo is gone: its entry was replaced.
    all_hold(&nodes.iter().collect::<Vec<_>>(), &[1, 2]).await;
    assert!(!old.leads());
    let refused = old.consensus.propose(mark(3), SOON).await.unwrap_err();
    assert!(matches!(refused, ProposeError::NotLeader { leader: Some(_) }), "{refused}");
}

/// Whether the leader that a voter lost its line to is gone cannot be told while nothing reaches it: no vote waits for
/// that.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_ended_as_its_leader_was_cut_off_keeps_nobody_from_voting() {
    let (mesh, _site, nodes) = meshed(3).await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    mesh.isolate(&[leading as u64 + 1], 3);
    mesh.end_lines();
    let others = nodes.iter().enumerate().filter(|(i, _)| *i != leading).map(|(_, node)| node);
    let others: Vec<&Node> = others.collect();
    let next =
        *eventually("another leader", async || others.iter().find(|n| n.leads()).ok_or("none".to_owned()))
            .await;
    propose(next, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_beside_an_isolated_leader_knows_that_it_is_stale() {
    let (mesh, _site, nodes) = meshed(5).await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    let beside = (leading + 1) % 5;
    all_hold(&nodes.iter().collect::<Vec<_>>(), &[1]).await;
    mesh.isolate(&[leading as u64 + 1, beside as u64 + 1], 5);
    let next = eventually("another leader", async || {
        let others = nodes.iter().enumerate().filter(|(i, _)| *i != leading && *i != beside);
        others.map(|(_, node)| node).find(|node| node.leads()).ok_or("none".to_owned())
    })
    .await;
    propose(next, 2).await;
    // Its leader still talks to it.
    eventually("age", async || {
        let age = nodes[beside].consensus.staleness().unwrap();
        if age > TIMINGS.election_max * 3 { Ok(()) } else { Err(format!("{age:?}")) }
    })
    .await;
    assert_eq!(nodes[beside].marks(), [1]);
    mesh.heal();
    all_hold(&nodes.iter().collect::<Vec<_>>(), &[1, 2]).await;
    eventually("freshness", async || {
        let age = nodes[beside].consensus.staleness().unwrap();
        if age < TIMINGS.election_max { Ok(()) } else { Err(format!("{age:?}")) }
    })
    .await;
}

/// What the last leader committed is not known to the next one, however well its followers answer, until they have
/// written an entry of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_whose_entries_nobody_writes_makes_nobody_fresh() {
    let (mesh, _site, nodes) = meshed(3).await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    mesh.hold_entries();
    mesh.isolate(&[leading as u64 + 1], 3);
    let others: Vec<usize> = (0..3).filter(|i| *i != leading).collect();
    let elected = |i: usize| nodes[i].consensus.leadership().borrow().leading;
    let next =
        *eventually("another leader", async || others.iter().find(|i| elected(**i)).ok_or("none".to_owned()))
            .await;
    let elected_at = Instant::now();
    let age = |i: usize| nodes[i].consensus.staleness().unwrap();
    while elected_at.elapsed() < TIMINGS.election_max * 3 {
        for i in &others {
            let known = elected_at.elapsed();
            assert!(
                age(*i) >= known,
                "node {i} is fresh by the word of a leader that knows nothing: {:?}",
                age(*i)
            );
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(elected(next), "its heartbeats keep it");
    mesh.heal();
    for i in &others {
        eventually("freshness", async || {
            if age(*i) < TIMINGS.election_max { Ok(()) } else { Err(format!("{:?}", age(*i))) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_nodes_have_authority_at_once_through_cuts_and_hand_overs() {
    let (mesh, _site, nodes) = meshed(3).await;
    leader(&nodes).await;
    let mut mark_next = 1_000;
    for round in 0..6 {
        let leading = leader(&nodes).await;
        mark_next += 1;
        if round % 2 == 0 {
            mesh.isolate(&[leading as u64 + 1], 3);
        } else {
            // Its target may be out of touch; then the cut of the next round moves the leadership.
            drop(nodes[leading].consensus.transfer(None, Duration::from_secs(2)).await);
        }
        let until = Instant::now() + TIMINGS.election_max * 3;
        while Instant::now() < until {
            let before = nodes[0].consensus.leadership().borrow().term;
            let leading: Vec<bool> = nodes.iter().map(Node::leads).collect();
            // Looked at one after the other: two only count when nothing moved in between.
            if leading.iter().filter(|l| **l).count() > 1 {
                let again: Vec<bool> = nodes.iter().map(Node::leads).collect();
                assert!(again != leading, "two with authority in term {before}: {leading:?}");
            }
            tokio::task::yield_now().await;
        }
        mesh.heal();
        let leading = leader(&nodes).await;
        let _ = nodes[leading].consensus.propose(mark(mark_next), Duration::from_secs(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_that_is_gone_makes_the_outcome_unknown_at_the_deadline() {
    let (mesh, _site, nodes) = meshed(3).await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    mesh.isolate(&[leading as u64 + 1], 3);
    let began = Instant::now();
    let outcome = nodes[leading].consensus.propose(mark(2), Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(outcome, ProposeError::OutcomeUnknown { .. }), "{outcome}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(
        outcome.to_string(),
        "not known to be committed: no quorum has answered in time; look before trying again"
    );
    mesh.leave(leading as u64 + 1);
}
