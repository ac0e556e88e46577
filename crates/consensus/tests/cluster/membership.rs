//! Nodes come and go; ids do not come back.

use crate::support::{Node, SOON, Site, all_hold, eventually, leader, peer, propose, registered};
use primacy_consensus::{ChangeError, Peer};
use primacy_core::NodeId;

/// Starts a node that is in no founding list.
async fn join(site: &Site, id: u64) -> (Node, Peer) {
    let config = site.config(id);
    let me = peer(id, &config.address);
    (site.try_start(config).await.unwrap(), me)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_added_promoted_and_removed() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    let (fourth, me) = join(&site, 4).await;
    assert!(fourth.consensus.membership().nodes.is_empty());

    nodes[leading].consensus.add_learner(me.clone(), SOON).await.unwrap();
    all_hold(&[&fourth], &[1]).await;
    assert!(!nodes[leading].consensus.membership().nodes[&NodeId(4)].voter);
    nodes[leading].consensus.add_learner(me.clone(), SOON).await.unwrap();
    let taken = nodes[leading].consensus.add_learner(peer(4, "127.0.0.1:1"), SOON).await.unwrap_err();
    assert!(matches!(taken, ChangeError::Refused { code: "node_exists", .. }), "{taken}");

    nodes[leading].consensus.promote(NodeId(4), SOON).await.unwrap();
    assert!(nodes[leading].consensus.membership().nodes[&NodeId(4)].voter);
    propose(&nodes[leading], 2).await;
    all_hold(&[&fourth], &[1, 2]).await;

    let gone = (leading + 1) % 3;
    nodes[leading].consensus.remove(NodeId(gone as u64 + 1), SOON).await.unwrap();
    nodes.remove(gone).kill();
    nodes.push(fourth);
    let leading = leader(&nodes).await;
    assert_eq!(nodes[leading].consensus.membership().nodes.len(), 3);
    propose(&nodes[leading], 3).await;
    all_hold(&nodes.iter().collect::<Vec<_>>(), &[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_replaced_under_a_new_id_and_not_under_the_old_one() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    let lost = (leading + 1) % 3;
    let lost_id = NodeId(lost as u64 + 1);
    registered(&nodes[leading], leading as u64 + 1, lost_id.0).await;
    nodes.remove(lost).kill();
    let leading = leader(&nodes).await;

    let (fourth, me) = join(&site, 4).await;
    nodes[leading].consensus.add_learner(me, SOON).await.unwrap();
    nodes[leading].consensus.promote(NodeId(4), SOON).await.unwrap();
    nodes[leading].consensus.remove(lost_id, SOON).await.unwrap();
    nodes.push(fourth);
    propose(&nodes[leading], 2).await;
    all_hold(&nodes.iter().collect::<Vec<_>>(), &[1, 2]).await;
    let ids: Vec<u64> = nodes[leading].consensus.membership().nodes.keys().map(|id| id.0).collect();
    assert!(ids.len() == 3 && ids.contains(&4) && !ids.contains(&lost_id.0), "{ids:?}");

    // Another machine under the lost id.
    let elsewhere = Site::new(3);
    let mut config = elsewhere.config(lost_id.0);
    config.founding.retain(|peer| peer.id == lost_id);
    config.founding.push(peer(77, "127.0.0.1:1"));
    config.founding.push(peer(78, "127.0.0.1:1"));
    let back = peer(lost_id.0, &config.address);
    let _imposter = elsewhere.try_start(config).await.unwrap();
    let refused = eventually("a refusal", async || {
        match nodes[leading].consensus.add_learner(back.clone(), SOON).await {
            Err(ChangeError::Refused { code, message }) => Ok((code, message)),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(refused.0, "known_elsewhere");
    assert!(refused.1.ends_with("join under a new id"), "{}", refused.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_would_hurt_are_refused() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    let follower = (leading + 1) % 3;
    let not_leader = nodes[follower].consensus.remove(NodeId(1), SOON).await.unwrap_err();
    assert!(matches!(not_leader, ChangeError::NotLeader { .. }), "{not_leader}");
    let unknown = nodes[leading].consensus.promote(NodeId(9), SOON).await.unwrap_err();
    assert!(matches!(unknown, ChangeError::Refused { code: "unknown_node", .. }), "{unknown}");
    let absent = nodes[leading].consensus.add_learner(peer(5, "127.0.0.1:1"), SOON).await.unwrap_err();
    assert!(matches!(absent, ChangeError::Refused { code: "node_not_running", .. }), "{absent}");
    assert!(absent.to_string().contains("start it first"), "{absent}");
    let meant = peer(5, &site.founding[follower].address);
    let mixed_up = nodes[leading].consensus.add_learner(meant, SOON).await.unwrap_err();
    assert!(mixed_up.to_string().contains("node 5 was meant"), "{mixed_up}");

    nodes.remove(follower).kill();
    let leading = leader(&nodes).await;
    let other = nodes[1 - leading].consensus.membership();
    let mine = nodes[leading].consensus.leadership().borrow().leader.clone().unwrap().id;
    let dead = NodeId(follower as u64 + 1);
    let alive = *other.nodes.keys().find(|id| **id != mine && **id != dead).unwrap();
    let refused = eventually("a refusal", async || {
        // The dead one counts until its last answer is old.
        let members = nodes[leading].consensus.membership();
        let age = members.nodes[&dead].last_ack_age;
        if age.is_some_and(|age| age < crate::support::TIMINGS.election_max) {
            return Err(format!("{age:?}"));
        }
        nodes[leading].consensus.remove(alive, SOON).await.err().ok_or("removed".to_owned())
    })
    .await;
    assert!(matches!(refused, ChangeError::Refused { code: "quorum_would_be_lost", .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_removed_hands_over() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    let id = NodeId(leading as u64 + 1);
    eventually("removal", async || {
        nodes[leading].consensus.remove(id, SOON).await.map_err(|e| e.to_string())
    })
    .await;
    let removed = nodes.remove(leading);
    let next = leader(&nodes).await;
    propose(&nodes[next], 2).await;
    assert_eq!(nodes[next].consensus.membership().nodes.len(), 2);
    assert!(!removed.leads());
}
