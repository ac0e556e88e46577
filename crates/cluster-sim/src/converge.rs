//! Once faults are over, the cluster is whole again within a bound: one leader, who commits, and nobody behind.

use crate::client;
use crate::cluster::Cluster;
use std::time::Duration;

/// The bound, in microseconds. Elections after silence take two seconds; openraft backs off from a peer that was away,
/// and a connection that was cut is given up after five.
pub(crate) const WITHIN_US: u64 = 20_000_000;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// How long one proposal may take.
const PROPOSE_WITHIN: Duration = Duration::from_secs(1);

/// The marks of this module.
const MARKS_FROM: u64 = 900_000_000;

/// Ends all faults and waits until the cluster is whole.
pub(crate) async fn watch(cluster: &Cluster) {
    cluster.tell(|| "-- calm".to_owned());
    cluster.net().mend_all();
    for node in cluster.known() {
        cluster.disk(node).set_speed(cluster.setup().speed);
        cluster.thaw(node);
        cluster.start(node);
    }
    let until_us = cluster.executor().now_us() + WITHIN_US;
    let mut mark = MARKS_FROM;
    loop {
        let missing = match cluster.leader() {
            None => "nobody leads for certain".to_owned(),
            Some(leader) => {
                mark += 1;
                if client::propose(cluster, &leader, mark, PROPOSE_WITHIN).await {
                    match behind(cluster) {
                        None => break,
                        Some(text) => text,
                    }
                } else {
                    format!("node {} leads and commits nothing", leader.place.node)
                }
            }
        };
        let now_us = cluster.executor().now_us();
        if now_us >= until_us {
            let text = format!("{} s after the last fault {missing}", WITHIN_US / 1_000_000);
            return cluster.checker().violate("converges", now_us, text);
        }
        primacy_runtime::sleep(EVERY).await;
    }
    let now_us = cluster.executor().now_us();
    cluster.checker().all_there(now_us);
    cluster.tell(|| "-- whole again".to_owned());
}

/// Who is missing something, of those who belong to the cluster.
fn behind(cluster: &Cluster) -> Option<String> {
    let leader = cluster.leader()?;
    let membership = cluster.executor().at(leader.place, || leader.consensus.membership());
    for (id, member) in &membership.nodes {
        if cluster.is_emptied(id.0) {
            continue;
        }
        let Some(living) = cluster.process(id.0) else { return Some(format!("node {id} is not up")) };
        if let Some(why) = &*living.halted.borrow() {
            return Some(format!("node {id} has halted: {why}"));
        }
        let (holds, of) = cluster.checker().holds(id.0);
        // The clients go on, so the last few may be on their way.
        if holds + 20 < of {
            let voter = if member.voter { "voter" } else { "learner" };
            return Some(format!("node {id}, a {voter}, holds {holds} of {of} changes"));
        }
    }
    None
}
