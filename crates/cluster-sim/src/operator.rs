//! What an operator does at a bad moment: hands leadership over, takes snapshots, exchanges nodes.

use crate::cluster::{Cluster, Living};
use crate::setup::peer;
use primacy_consensus::{ChangeError, Consensus};
use primacy_core::NodeId;
use primacy_wire::v1;
use std::time::Duration;

/// How long one command may take.
const WITHIN: Duration = Duration::from_secs(4);

/// How often a step is tried.
const TRIES: u64 = 5;

/// The pause before a step is tried again.
const AGAIN: Duration = Duration::from_millis(700);

/// Hands leadership over: to `to`, or to whoever is closest.
pub(crate) async fn transfer(cluster: &Cluster, to: Option<u64>) {
    let Some(leader) = cluster.leader() else { return };
    let consensus = leader.consensus.clone();
    let asked = cluster.within(&leader, async move {
        consensus.transfer(to.map(NodeId), WITHIN).await.map_err(|e| e.to_string())
    });
    match asked.await {
        Some(Ok(hint)) => {
            cluster.checker().count("transferred");
            cluster.tell(|| format!("node {} has taken over", hint.id));
        }
        Some(Err(error)) => cluster.tell(|| format!("not handed over: {error}")),
        None => {}
    }
}

/// Has `node` take a snapshot.
pub(crate) async fn snapshot(cluster: &Cluster, node: &Living) {
    let consensus = node.consensus.clone();
    let taken = cluster.within(node, async move { consensus.snapshot(WITHIN).await.is_ok() });
    if taken.await == Some(true) {
        cluster.checker().count("snapshots_by_hand");
    }
}

/// Puts a new node in the place of `old`, and ends that one when it is certainly out.
pub(crate) async fn replace(cluster: &Cluster, old: u64) {
    let new = cluster.new_id();
    cluster.tell(|| format!("node {new} is to take the place of node {old}"));
    cluster.start(new);
    let added = step(cluster, "added", |leader| async move {
        let Some(peer) = peer(new) else { return Ok(()) };
        leader.add_learner(peer, WITHIN).await
    });
    if !added.await {
        return;
    }
    let promoted =
        step(cluster, "promoted", |leader| async move { leader.promote(NodeId(new), WITHIN).await });
    if !promoted.await {
        return;
    }
    let removed = step(cluster, "removed", |leader| async move { leader.remove(NodeId(old), WITHIN).await });
    if removed.await {
        cluster.retire(old);
    }
}

/// One command to whoever leads, again until it is done.
async fn step<F>(cluster: &Cluster, name: &'static str, ask: impl Fn(Consensus) -> F) -> bool
where
    F: Future<Output = Result<(), ChangeError>> + Send + 'static,
{
    for _ in 0..TRIES {
        if let Some(leader) = cluster.leader() {
            let asked = cluster.within(&leader, ask(leader.consensus.clone()));
            match asked.await {
                Some(Ok(())) => {
                    cluster.checker().count(name);
                    return true;
                }
                Some(Err(error)) => cluster.tell(|| format!("not {name}: {error}")),
                None => {}
            }
        }
        primacy_runtime::sleep(AGAIN).await;
    }
    false
}

/// Whether the cluster has tied `node` to its data directory, by its leader's word.
pub(crate) async fn is_registered(cluster: &Cluster, node: u64) -> bool {
    let Some(leader) = cluster.leader() else { return false };
    if leader.place.node == node {
        return false;
    }
    let header = v1::RaftHeader {
        cluster: "simulated".to_owned(),
        from_node: node,
        to_node: leader.place.node,
        from_store_id: 1,
        to_store_id: 0,
    };
    let service = leader.consensus.service();
    let asked = cluster.within(&leader, async move {
        service.identify(v1::IdentifyRequest { header: Some(header) }).await.ok()
    });
    asked.await.flatten().is_some_and(|answer| answer.registered_store_id.is_some())
}
