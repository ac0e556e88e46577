//! Clients: each asks one node after another, to write and to read in each of the ways that claim to be fresh.

use crate::check::Kind;
use crate::cluster::{Cluster, Living};
use primacy_core::{Command, NodeId, Term, WallTime};
use primacy_sim::Dice;
use std::time::Duration;

/// What a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// A command that can be found again: each is proposed once.
fn marked(mark: u64) -> Command {
    Command::AssumeLeadership { node: NodeId(mark), term: Term(1), at: WallTime(mark) }
}

/// Runs client number `client` until `until_us`.
pub(crate) async fn run(cluster: Cluster, client: u64, until_us: u64) {
    let mut dice = Dice::new(cluster.setup().seed, 400 + client);
    let mut written = 0;
    while cluster.executor().now_us() < until_us {
        let pause_ms = dice.range(1, cluster.setup().pause_max_ms);
        primacy_runtime::sleep(Duration::from_millis(pause_ms)).await;
        let Some(node) = whom(&cluster, &mut dice) else { continue };
        let within = Duration::from_millis(dice.range(20, 2_000));
        let asked = match dice.below(10) {
            0..6 => {
                written += 1;
                let mark = (client + 1) * 1_000_000 + written;
                primacy_runtime::timeout(PATIENCE, propose(&cluster, &node, mark, within)).await
            }
            6..8 => primacy_runtime::timeout(PATIENCE, read_by_quorum(&cluster, &node, within)).await,
            _ => primacy_runtime::timeout(PATIENCE, read_by_lease(&cluster, &node)).await,
        };
        if asked.is_err() {
            cluster.checker().count("unanswered");
        }
    }
}

/// Mostly who says that it leads, else anyone.
fn whom(cluster: &Cluster, dice: &mut Dice) -> Option<Living> {
    let living = cluster.living();
    if dice.chance(75) {
        let leads = |node: &&Living| node.consensus.leadership().borrow().leading;
        let leading: Vec<&Living> = living.iter().filter(leads).collect();
        if !leading.is_empty() {
            return Some(leading[dice.index(leading.len())].clone());
        }
    }
    if living.is_empty() { None } else { Some(living[dice.index(living.len())].clone()) }
}

/// Proposes `mark` at `node`. The answer counts where it is given, heard or not.
pub(crate) async fn propose(cluster: &Cluster, node: &Living, mark: u64, within: Duration) -> bool {
    let (there, consensus, at) = (cluster.clone(), node.consensus.clone(), node.place.node);
    let asked = cluster.within(node, async move {
        let outcome = consensus.propose(marked(mark), within).await;
        let now_us = there.executor().now_us();
        there.checker().proposed(now_us, mark, &outcome);
        if let Err(error) = &outcome {
            there.tell(|| format!("node {at}: {mark}: {error}"));
        }
        outcome.is_ok()
    });
    asked.await.unwrap_or(false)
}

async fn read_by_quorum(cluster: &Cluster, node: &Living, within: Duration) -> bool {
    let (there, consensus, at) = (cluster.clone(), node.consensus.clone(), node.place.node);
    let asked = cluster.within(node, async move {
        let floor = there.checker().applied();
        if consensus.linearizable(within).await.is_err() {
            there.checker().count("reads_refused");
            return false;
        }
        let saw = consensus.read(|state| state.events.len());
        let now_us = there.executor().now_us();
        there.checker().read(now_us, at, Kind::Quorum, floor, saw);
        true
    });
    asked.await.unwrap_or(false)
}

async fn read_by_lease(cluster: &Cluster, node: &Living) -> bool {
    let (there, consensus, at) = (cluster.clone(), node.consensus.clone(), node.place.node);
    let asked = cluster.within(node, async move {
        let floor = there.checker().applied();
        if consensus.lease().await.is_err() {
            there.checker().count("reads_refused");
            return false;
        }
        let saw = consensus.read(|state| state.events.len());
        let now_us = there.executor().now_us();
        there.checker().read(now_us, at, Kind::Lease, floor, saw);
        true
    });
    asked.await.unwrap_or(false)
}
