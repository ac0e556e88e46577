//! Nodes are down, some or all: the primary goes on while its replicas are attached.

use super::{ByGate, Scene, fence_is_whole, options};
use crate::harness::{PATIENCE, transitions, writes_go_on};
use std::time::{Duration, Instant};

const DOWN: Duration = Duration::from_secs(10);
/// A busy machine may stop a client for so long; a refused write shows as a failure.
const GAP_MAX: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_refused_while_nodes_are_down_and_come_back() {
    let mut scene = Scene::start(options()).await;
    let (before, start) = (scene.direct.progress(), Instant::now());
    for (node, until) in [(1, Duration::ZERO), (2, DOWN), (3, DOWN + DOWN / 2)] {
        scene.d.cluster.node(node).unwrap().kill().unwrap();
        while start.elapsed() < until {
            writes_go_on(&scene.direct, 100).await;
        }
    }
    for node in [2, 3, 1] {
        scene.d.cluster.node_mut(node).unwrap().respawn().unwrap();
        writes_go_on(&scene.direct, 1_000).await;
    }
    for node in scene.d.cluster.nodes() {
        node.wait_ready(PATIENCE).await.unwrap();
    }
    scene.at_rest().await;
    fence_is_whole(&scene.d, 2).await;
    scene.writes_go_on(200).await;
    let outage = scene.outage(start);
    eprintln!("FIGURE nodes down for 15 s: {outage:?}");
    let after = scene.direct.progress();
    assert_eq!(after.failures, before.failures, "{after:?}");
    assert!(outage.direct < GAP_MAX, "{outage:?}");
    let all = transitions(&scene.d, scene.transitions).await;
    assert_eq!(all.len(), scene.transitions, "{:?}", all.last());
    scene.reckon("nodes down", ByGate::Nothing).await;
}
