//! A leader whose process is gone is not waited for.

use crate::support::{Node, Site, leader, propose};
use primacy_consensus::Timings;
use std::time::Duration;

/// So long that no election by timeout comes within the deadlines below.
const SLOW: Timings = Timings {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_secs(6),
    election_max: Duration::from_secs(8),
};

/// Well below `election_max + election_min`, which an election after silence takes.
const BEFORE_ANY_TIMEOUT: Duration = Duration::from_secs(7);

async fn started() -> (Site, Vec<Node>) {
    let site = Site::new(3);
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let mut config = site.config(id);
        config.timings = SLOW;
        nodes.push(site.try_start(config).await.unwrap());
    }
    (site, nodes)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_voters_elect_another_before_the_lease_is_over() {
    let (_site, mut nodes) = started().await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    let dead = nodes.remove(leading);
    let term = dead.term();
    dead.kill();
    let next = tokio::time::timeout(BEFORE_ANY_TIMEOUT, leader(&nodes))
        .await
        .expect("a leader before the lease ends");
    assert!(nodes[next].term() > term);
    propose(&nodes[next], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_follower_deposes_nobody() {
    let (_site, mut nodes) = started().await;
    let leading = leader(&nodes).await;
    propose(&nodes[leading], 1).await;
    let term = nodes[leading].term();
    let id = (leading + 1) % 3;
    nodes.remove(id).kill();
    let leading = nodes.iter().position(Node::leads).expect("it leads still");
    for n in 2..=20 {
        propose(&nodes[leading], n).await;
    }
    assert_eq!(nodes[leading].term(), term);
}
