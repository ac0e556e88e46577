//! What the witness costs the primary: the same group with it, and with `fence = "none"`, which has none.

use std::path::Path;

use anyhow::{Context, Result};
use futures::future::try_join;
use primacy_testbed::{Deployment, DeploymentOptions};

use crate::fault::{Ours, Side, options};
use crate::figure::{Figure, Goal, Peer, Samples};
use crate::plan::Plan;
use crate::progress;
use crate::redis_benchmark::{Sets, set};

/// Measures the throughput of both, with and without a pipeline.
pub(crate) async fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    progress!("witness: starting a deployment with witness and one without");
    let with = Ours::start_with(small(binary, &[]));
    let without = Deployment::start_serving(small(binary, &["fence = \"none\""]));
    let (mut ours, peer) = try_join(with, without).await?;
    let primary = ours.ready().await?;
    let with = ours.deployment.group.member(&primary)?.address().to_owned();
    let primary = peer.primary().await?.address.context("the group without witness has no primary")?;
    let plan = plan.benchmark;
    let mut figures = Vec::new();
    for (name, pipeline, requests) in
        [("witness.cost", 1, plan.single * 4), ("witness.cost_pipelined", 16, plan.pipelined)]
    {
        let sets = Sets { clients: 50, pipeline, requests };
        figures.push(compare(name, &with, &primary, sets, plan.rounds).await?);
    }
    Ok(figures)
}

/// One standby: every further one is the same cost on both sides.
fn small(binary: &Path, settings: &[&str]) -> DeploymentOptions {
    let mut options = options(binary, settings);
    options.member_sites = options.cluster.sites.iter().take(2).cloned().collect();
    options
}

async fn compare(name: &'static str, with: &str, without: &str, sets: Sets, rounds: usize) -> Result<Figure> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Whoever began a round is second in the next one.
        if round % 2 == 0 {
            ours.push(set(None, with, sets).await?.per_second);
            peer.push(set(None, without, sets).await?.per_second);
        } else {
            peer.push(set(None, without, sets).await?.per_second);
            ours.push(set(None, with, sets).await?.per_second);
        }
    }
    let samples = |values| Samples::new(values).context("nothing was measured");
    let (ours, peer) = (samples(ours)?, samples(peer)?);
    progress!("{name}: {:.0}/s, without {:.0}/s", ours.median(), peer.median());
    let title = format!("SET/s with a witness, 50 clients, pipeline {}", sets.pipeline);
    let peer = Some(Peer { name: "without", samples: peer });
    Ok(Figure { name, title, unit: "1/s", ours, peer, goal: Goal::RatioAtLeast(0.97), note: None })
}
