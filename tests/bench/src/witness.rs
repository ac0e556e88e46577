//! What the witness costs the primary: the same group with it, and with `fence = "none"`, which has none.

use std::path::Path;

use anyhow::{Context, Result};
use futures::future::try_join;
use primacy_testbed::{Deployment, DeploymentOptions, RedisServer};

use crate::fault::{Ours, Side, options};
use crate::figure::{Figure, Goal, Peer, Samples};
use crate::plan::Plan;
use crate::progress;
use crate::redis_benchmark::{Sets, set};
use crate::usage::cpu_time;

/// Measures the throughput of both, with and without a pipeline, and what the primary itself spent on it: where server,
/// load and node share few cores, the witness takes CPU from the load as well.
pub(crate) async fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    progress!("witness: starting a deployment with witness and one without");
    let with = Ours::start_with(small(binary, &[]));
    let without = Deployment::start_serving(small(binary, &["fence = \"none\""]));
    let (mut ours, peer) = try_join(with, without).await?;
    let primary = ours.ready().await?;
    let with = ours.deployment.group.member(&primary)?;
    let primary = peer.primary().await?.member.context("the group without witness has no primary")?;
    let without = peer.group.member(&primary)?;
    let plan = plan.benchmark;
    let mut figures = Vec::new();
    for (names, pipeline, requests) in [
        (["witness.cost", "witness.cpu"], 1, plan.single * 4),
        (["witness.cost_pipelined", "witness.cpu_pipelined"], 16, plan.pipelined),
    ] {
        let sets = Sets { clients: 50, pipeline, requests };
        figures.extend(compare(names, with, without, sets, plan.rounds).await?);
    }
    Ok(figures)
}

/// One standby: every further one is the same cost on both sides.
fn small(binary: &Path, settings: &[&str]) -> DeploymentOptions {
    let mut options = options(binary, settings);
    options.member_sites = options.cluster.sites.iter().take(2).cloned().collect();
    options
}

/// What one server did.
#[derive(Default)]
struct Served {
    per_second: Vec<f64>,
    cpu_us: Vec<f64>,
}

impl Served {
    async fn measure(&mut self, server: &RedisServer, sets: Sets) -> Result<()> {
        let pid = server.process().pid();
        let before = cpu_time(pid)?;
        self.per_second.push(set(None, server.address(), sets).await?.per_second);
        let spent = cpu_time(pid)?.saturating_sub(before);
        self.cpu_us.push(spent.as_secs_f64() * 1e6 / f64::from(sets.requests));
        Ok(())
    }
}

async fn compare(
    names: [&'static str; 2],
    with: &RedisServer,
    without: &RedisServer,
    sets: Sets,
    rounds: usize,
) -> Result<[Figure; 2]> {
    let (mut ours, mut peer) = (Served::default(), Served::default());
    for round in 0..rounds {
        // Whoever began a round is second in the next one.
        if round % 2 == 0 {
            ours.measure(with, sets).await?;
            peer.measure(without, sets).await?;
        } else {
            peer.measure(without, sets).await?;
            ours.measure(with, sets).await?;
        }
    }
    let [rate, cpu] = names;
    let figure = |name, title, unit, ours: Vec<f64>, peer: Vec<f64>, goal| -> Result<Figure> {
        let samples = |values| Samples::new(values).context("nothing was measured");
        let (ours, peer) = (samples(ours)?, samples(peer)?);
        progress!("{name}: {:.2} {unit}, without {:.2}", ours.median(), peer.median());
        let title = format!("{title}, 50 clients, pipeline {}", sets.pipeline);
        let peer = Some(Peer { name: "without", samples: peer });
        Ok(Figure { name, title, unit, ours, peer, goal, note: None })
    };
    let (least, most) = (Goal::RatioAtLeast(0.97), Goal::RatioAtMost(1.03));
    Ok([
        figure(rate, "SET/s with a witness", "1/s", ours.per_second, peer.per_second, least)?,
        figure(cpu, "CPU of the primary for a SET, with a witness", "us", ours.cpu_us, peer.cpu_us, most)?,
    ])
}
