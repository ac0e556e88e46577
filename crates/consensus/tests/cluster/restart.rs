//! What was agreed is there again after a restart, and reaches who was away.

use crate::support::{SOON, Site, all_hold, eventually, leader, propose};

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_restart_and_keep_everything() {
    let site = Site::new(3);
    let nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    for n in 1..=10 {
        propose(&nodes[leading], n).await;
    }
    let term = nodes[leading].term();
    nodes.into_iter().for_each(crate::support::Node::kill);
    let nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    assert!(nodes[leading].term() > term, "a restarted leader asks for votes");
    propose(&nodes[leading], 11).await;
    all_hold(&nodes.iter().collect::<Vec<_>>(), &(1..=11).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_lets_the_directory_be_opened_again() {
    let site = Site::new(1);
    for n in 1..=3 {
        let nodes = site.start_all().await;
        leader(&nodes).await;
        propose(&nodes[0], n).await;
        assert_eq!(nodes[0].marks(), (1..=n).collect::<Vec<_>>());
        for node in nodes {
            node.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_too_long_takes_a_snapshot() {
    let mut site = Site::new(3);
    site.snapshot_every = 50;
    let mut nodes = site.start_all().await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    let away = (leading + 1) % 3;
    all_hold(&[&nodes[away]], &[1]).await;
    nodes.remove(away).kill();
    let leading = leader(&nodes).await;
    for n in 2..=400 {
        propose(&nodes[leading], n).await;
    }
    let covered = nodes[leading].consensus.snapshot(SOON).await.unwrap();
    assert!(covered >= 400, "{covered}");
    let back = site.start(away as u64 + 1).await;
    all_hold(&[&back], &(1..=400).collect::<Vec<_>>()).await;
    propose(&nodes[leading], 401).await;
    all_hold(&[&back], &(1..=401).collect::<Vec<_>>()).await;

    // From a snapshot and the log behind it.
    back.kill();
    let back = site.start(away as u64 + 1).await;
    assert!(back.marks().len() >= 399, "{:?}", back.marks().len());
    all_hold(&[&back], &(1..=401).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_says_so() {
    let site = Site::new(1);
    let nodes = site.start_all().await;
    leader(&nodes).await;
    nodes[0].consensus.stop().await;
    assert!(nodes[0].consensus.propose(crate::support::mark(1), SOON).await.is_err());
    assert!(nodes[0].consensus.linearizable(SOON).await.is_err());
    eventually("no authority", async || if nodes[0].leads() { Err("leads".into()) } else { Ok(()) }).await;
}
