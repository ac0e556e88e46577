//! From the kill of the leader to the first commit through the next one.
//!
//! A request that a follower passed on to a leader that just died is never answered, so one patient client would
//! measure its own timeout. Instead a new attempt sets out to each survivor every few milliseconds, whatever became
//! of the ones before; the first that is committed ends the measurement. The same for both sides.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use primacy_testbed::wait_for;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::{Client, RaftCluster, endpoint};
use crate::figure::{Figure, Goal, Peer, Samples};
use crate::plan::Plan;
use crate::progress;

const ATTEMPT_EVERY: Duration = Duration::from_millis(3);
const ATTEMPT_DEADLINE: Duration = Duration::from_millis(150);
const GIVE_UP: Duration = Duration::from_secs(20);
const LEADER_DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn figure(
    ours: &mut impl RaftCluster,
    peer: &mut impl RaftCluster,
    plan: &Plan,
) -> Result<Figure> {
    let (mut ours_ms, mut peer_ms) = (Vec::new(), Vec::new());
    for _ in 0..plan.takeover_rounds {
        let (ours_took, peer_took) = (takeover(ours).await?, takeover(peer).await?);
        progress!("leader killed to next commit: {ours_took:.0?}, peer {peer_took:.0?}");
        ours_ms.push(ours_took.as_secs_f64() * 1_000.0);
        peer_ms.push(peer_took.as_secs_f64() * 1_000.0);
    }
    let samples = |values| Samples::new(values).ok_or_else(|| anyhow!("no leader was killed"));
    Ok(Figure {
        name: "raft.takeover",
        title: "leader killed to first commit of the next".to_owned(),
        unit: "ms",
        ours: samples(ours_ms)?,
        peer: Some(Peer { name: "etcd", samples: samples(peer_ms)? }),
        goal: Goal::RatioAtMost(1.0),
        note: None,
    })
}

async fn takeover<C: RaftCluster>(cluster: &mut C) -> Result<Duration> {
    let leader = wait_for("a leader", LEADER_DEADLINE, async || cluster.leader().await).await?;
    let mut clients = Vec::new();
    for (number, address) in cluster.addresses().iter().enumerate().filter(|(node, _)| *node != leader) {
        let mut client = cluster.client(number, endpoint(address)?.connect().await?);
        client.read().await.or_else(|_| Ok::<_, anyhow::Error>(()))?;
        clients.push(client);
    }
    // The first attempts after a start may meet a cluster that still settles.
    let killed_at = Instant::now();
    cluster.kill(leader)?;
    let took = first_commit(&clients, killed_at).await?;
    cluster.restart(leader).await?;
    Ok(took)
}

async fn first_commit<C: Client>(survivors: &[C], killed_at: Instant) -> Result<Duration> {
    let mut ticks = interval(ATTEMPT_EVERY);
    let mut attempts = JoinSet::new();
    let mut last_error = anyhow!("no attempt was answered");
    while killed_at.elapsed() < GIVE_UP {
        tokio::select! {
            biased;
            Some(ended) = attempts.join_next() => match ended? {
                Ok(at) => return Ok(Instant::duration_since(&at, killed_at)),
                Err(error) => last_error = error,
            },
            _ = ticks.tick() => {
                for client in survivors {
                    attempts.spawn(attempt(client.clone()));
                }
            }
        }
    }
    bail!("no commit within {GIVE_UP:?} of the kill: {last_error:#}")
}

async fn attempt(mut client: impl Client) -> Result<Instant> {
    timeout(ATTEMPT_DEADLINE, client.commit()).await??;
    Ok(Instant::now())
}
