//! One leader at a time: killed, replaced, handed over.

use crate::support::{SOON, Site, TIMINGS, all_hold, eventually, leader, propose, within};
use primacy_consensus::{ChangeError, ProposeError};
use primacy_core::NodeId;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_nothing_committed_is_lost() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    for n in 1..=20 {
        propose(&nodes[leading], n).await;
    }
    let dead = nodes.remove(leading);
    let old_term = dead.term();
    dead.kill();
    let next = leader(&nodes).await;
    assert!(nodes[next].term() > old_term);
    propose(&nodes[next], 21).await;
    all_hold(&nodes.iter().collect::<Vec<_>>(), &(1..=21).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_says_who_leads_and_proposes_nothing() {
    let site = Site::new(3);
    let nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    let (id, address) = (leading as u64 + 1, site.founding[leading].address.clone());
    let follower = &nodes[(leading + 1) % 3];
    let refused = eventually("a hint", async || {
        match follower.consensus.propose(crate::support::mark(1), SOON).await.unwrap_err() {
            ProposeError::NotLeader { leader: Some(hint) } => Ok(hint),
            other => Err(other.to_string()),
        }
    })
    .await;
    assert_eq!((refused.id, refused.address), (NodeId(id), address));
    assert!(follower.consensus.linearizable(SOON).await.is_err());
    assert!(follower.consensus.lease().await.is_err());
    assert!(!follower.consensus.has_authority());
    eventually("a fresh follower", async || {
        let stale = follower.consensus.staleness();
        if stale.is_some_and(|age| age < TIMINGS.election_max) { Ok(()) } else { Err(format!("{stale:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_to_who_is_named() {
    let site = Site::new(3);
    let nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    let to = (leading + 1) % 3;
    let target = NodeId(to as u64 + 1);
    let hint = eventually("a hand-over", async || {
        // Refused for as long as the follower is not in touch yet.
        nodes[leading].consensus.transfer(Some(target), SOON).await.map_err(|e| e.to_string())
    })
    .await;
    assert_eq!(hint.id, target);
    eventually("the new leader", async || if nodes[to].leads() { Ok(()) } else { Err(String::new()) }).await;
    assert!(!nodes[leading].leads());
    propose(&nodes[to], 2).await;
    all_hold(&nodes.iter().collect::<Vec<_>>(), &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_not_handed_to_a_node_that_is_gone() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    let gone = (leading + 1) % 3;
    let id = NodeId(gone as u64 + 1);
    let stranger = nodes[leading].consensus.transfer(Some(NodeId(9)), SOON).await.unwrap_err();
    assert!(matches!(stranger, ChangeError::Refused { code: "unknown_node", .. }), "{stranger}");
    let dead = nodes.remove(gone);
    dead.kill();
    let leading = leader(&nodes).await;
    let refused = within("a refusal", nodes[leading].consensus.transfer(Some(id), SOON)).await.unwrap_err();
    assert!(matches!(refused, ChangeError::Refused { code: "node_unreachable", .. }), "{refused}");
    assert!(nodes[leading].leads(), "a refused hand-over changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_shuts_down_hands_over_first() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    eventually("followers in touch", async || {
        let members = nodes[leading].consensus.membership();
        let behind = members.nodes.values().filter(|m| m.matched_index != members.last_index).count();
        if behind == 0 { Ok(()) } else { Err(format!("{members:?}")) }
    })
    .await;
    let leaving = nodes.remove(leading);
    let began = std::time::Instant::now();
    leaving.shutdown().await;
    leader(&nodes).await;
    let took = began.elapsed();
    assert!(took < TIMINGS.election_max, "an election after silence would take longer: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_see_what_was_written_before_them() {
    let site = Site::new(3);
    let nodes = site.start_all().await;
    let leading = &nodes[leader(&nodes).await];
    let reader = |n: u64| async move {
        leading.consensus.linearizable(SOON).await.unwrap();
        let seen = leading.marks().last().copied().unwrap_or(0);
        assert!(seen >= n, "{seen} < {n}");
    };
    for n in 1..=50 {
        propose(leading, n).await;
        let many = (0..32).map(|_| reader(n));
        futures::future::join_all(many).await;
        leading.consensus.lease().await.unwrap();
        assert_eq!(leading.marks().last(), Some(&n));
        assert_eq!(leading.consensus.revision_watch().borrow().0, leading.consensus.read(|s| s.revision.0));
    }
}
