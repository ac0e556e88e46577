//! Commits and reads a second.

use anyhow::{Result, anyhow, ensure};

use super::{Client, RaftCluster, clients_of_leader};
use crate::closed_loop::{self, Call};
use crate::figure::{Figure, Goal, Peer, Samples};
use crate::plan::Plan;
use crate::progress;

pub(super) async fn commits(
    ours: &impl RaftCluster,
    peer: &impl RaftCluster,
    clients: usize,
    name: &'static str,
    plan: &Plan,
) -> Result<Figure> {
    let title = format!("commits/s, {clients} {}", if clients == 1 { "client" } else { "clients" });
    let (ours_samples, peer_samples) = in_turns(ours, peer, clients, Kind::Commit, &title, plan).await?;
    Ok(figure(name, title, ours_samples, peer_samples, Goal::RatioAtLeast(1.0)))
}

pub(super) async fn reads(
    ours: &impl RaftCluster,
    peer: &impl RaftCluster,
    clients: usize,
    name: &'static str,
    plan: &Plan,
) -> Result<Figure> {
    let title = format!("linearizable reads/s, {clients} clients");
    let (ours_samples, peer_samples) = in_turns(ours, peer, clients, Kind::Read, &title, plan).await?;
    Ok(figure(name, title, ours_samples, peer_samples, Goal::RatioAtLeast(2.0)))
}

fn figure(name: &'static str, title: String, ours: Samples, peer: Samples, goal: Goal) -> Figure {
    let peer = Some(Peer { name: "etcd", samples: peer });
    Figure { name, title, unit: "1/s", ours, peer, goal, note: None }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Commit,
    Read,
}

/// Whoever began a round is second in the next one.
async fn in_turns(
    ours: &impl RaftCluster,
    peer: &impl RaftCluster,
    clients: usize,
    kind: Kind,
    title: &str,
    plan: &Plan,
) -> Result<(Samples, Samples)> {
    let (mut ours_rates, mut peer_rates) = (Vec::new(), Vec::new());
    for round in 0..plan.rate_rounds {
        if round % 2 == 0 {
            ours_rates.push(rate(ours, clients, kind, plan).await?);
            peer_rates.push(rate(peer, clients, kind, plan).await?);
        } else {
            peer_rates.push(rate(peer, clients, kind, plan).await?);
            ours_rates.push(rate(ours, clients, kind, plan).await?);
        }
        if let (Some(ours), Some(peer)) = (ours_rates.last(), peer_rates.last()) {
            progress!("{title}: {ours:.0}, peer {peer:.0}");
        }
    }
    let samples = |rates| Samples::new(rates).ok_or_else(|| anyhow!("no round of {title} was run"));
    Ok((samples(ours_rates)?, samples(peer_rates)?))
}

async fn rate<C: RaftCluster>(cluster: &C, clients: usize, kind: Kind, plan: &Plan) -> Result<f64> {
    let mut clients = clients_of_leader(cluster, clients).await?;
    if kind == Kind::Read {
        for client in &mut clients {
            client.commit().await?;
        }
        let readers = clients.into_iter().map(Reader).collect();
        return Ok(closed_loop::run(readers, plan.rate_bounds).await?.per_second);
    }
    let before = cluster.log_index().await?;
    let round = closed_loop::run(clients.into_iter().map(Committer).collect(), plan.rate_bounds).await?;
    let entries = cluster.log_index().await?.saturating_sub(before);
    ensure!(
        entries >= round.answered,
        "{} answered {} commits and has only {entries} more entries in its log",
        C::NAME,
        round.answered
    );
    Ok(round.per_second)
}

struct Committer<C>(C);

impl<C: Client> Call for Committer<C> {
    async fn call(&mut self) -> Result<()> {
        self.0.commit().await
    }
}

struct Reader<C>(C);

impl<C: Client> Call for Reader<C> {
    async fn call(&mut self) -> Result<()> {
        self.0.read().await
    }
}
