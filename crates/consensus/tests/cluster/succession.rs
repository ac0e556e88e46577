//! A leader whose process is gone is not waited for.

use crate::support::{Node, Site, eventually, leader, mark, propose};
use primacy_consensus::{Consensus, Timings};
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

/// Killed while it writes, the leader leaves one voter with a longer log than the other. When the one whose turn it is
/// first has the shorter, it is refused, and must not be in the other's way.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_the_shorter_log_does_not_stand_in_the_way() {
    let (site, mut nodes) = started().await;
    let mut ids = vec![1, 2, 3];
    for round in 1..=5 {
        let leading = leader(&nodes).await;
        propose(&nodes[leading], round * 1_000_000).await;
        let writers: Vec<_> =
            (0..16).map(|w| write_on(nodes[leading].consensus.clone(), round * 1_000_000 + w)).collect();
        propose(&nodes[leading], round * 1_000_000 + 500_000).await;
        let (dead, id) = (nodes.remove(leading), ids.remove(leading));
        let term = dead.term();
        dead.kill();
        let next = tokio::time::timeout(BEFORE_ANY_TIMEOUT, leader(&nodes)).await;
        assert!(nodes[next.expect("a leader before the lease ends")].term() > term);
        writers.iter().for_each(tokio::task::JoinHandle::abort);
        let mut config = site.config(id);
        config.timings = SLOW;
        nodes.push(site.try_start(config).await.unwrap());
        ids.push(id);
        // A voter that does not know the leader yet cannot say that it is gone.
        let back = nodes.last().unwrap();
        eventually("the restarted node to follow", async || {
            let known = back.consensus.leadership().borrow().leader.clone();
            known.filter(|leader| leader.term > term).map(drop).ok_or("no leader".to_owned())
        })
        .await;
    }
}

/// Entries as fast as they are taken; whether they are accepted does not matter.
fn write_on(consensus: Consensus, from: u64) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        for n in 0..10_000 {
            let _ = consensus.propose(mark(from + 16 * n), SLOW.heartbeat).await;
        }
    })
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
