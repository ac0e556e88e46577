//! What a gate costs, against a direct connection to the same server, which has the same replicas and the same witness
//! meanwhile.
//!
//! Throughput with many clients and a pipeline; added latency with one client that sends one by one, since many
//! clients in a closed loop only show their throughput again.

use std::path::Path;

use anyhow::{Context, Result};

use crate::fault::{Ours, Side, options, site_of};
use crate::figure::{Figure, Goal, Peer, Samples};
use crate::plan::{BenchmarkPlan, Plan};
use crate::progress;
use crate::redis_benchmark::{Sets, set};

/// What is promised of one kind of replies.
struct Promise {
    durability: &'static str,
    throughput: &'static str,
    throughput_min: f64,
    added: &'static str,
    added_us_max: f64,
}

const PROMISES: [Promise; 2] = [
    Promise {
        durability: "async",
        throughput: "gate.async_throughput",
        throughput_min: 0.9,
        added: "gate.async_added_p50",
        added_us_max: 60.0,
    },
    Promise {
        durability: "local",
        throughput: "gate.local_throughput",
        throughput_min: 0.75,
        added: "gate.local_added_p50",
        added_us_max: 300.0,
    },
];

/// Measures both kinds of replies.
pub(crate) async fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for promise in PROMISES {
        figures.extend(measure(binary, &promise, plan.benchmark).await?);
    }
    Ok(figures)
}

/// Of one way to the server.
#[derive(Default)]
struct Way {
    per_second: Vec<f64>,
    p50_us: Vec<f64>,
    p50_of_50_us: Vec<f64>,
}

impl Way {
    async fn measure(&mut self, address: &str, plan: BenchmarkPlan) -> Result<()> {
        let many = Sets { clients: 50, pipeline: 16, requests: plan.pipelined };
        self.per_second.push(set(None, address, many).await?.per_second);
        let one = Sets { clients: 1, pipeline: 1, requests: plan.single };
        self.p50_us.push(set(None, address, one).await?.p50_us);
        let plain = Sets { clients: 50, pipeline: 1, requests: plan.single * 4 };
        self.p50_of_50_us.push(set(None, address, plain).await?.p50_us);
        Ok(())
    }
}

async fn measure(binary: &Path, promise: &Promise, plan: BenchmarkPlan) -> Result<Vec<Figure>> {
    let Promise { durability, .. } = promise;
    progress!("gate: starting a deployment with durability {durability}");
    let setting = format!("durability = {durability:?}");
    let mut options = options(binary, &[&setting]);
    // One standby: on a small machine every further one takes CPU from what is measured, on both sides.
    options.member_sites = options.cluster.sites.iter().take(2).cloned().collect();
    let mut ours = Ours::start_with(options).await?;
    let primary = ours.ready().await?;
    let direct = ours.deployment.group.member(&primary)?.address().to_owned();
    let gate = ours.gate_at(site_of(&primary))?.to_owned();
    let (mut by_gate, mut by_itself) = (Way::default(), Way::default());
    for round in 0..plan.rounds {
        if round % 2 == 0 {
            by_gate.measure(&gate, plan).await?;
            by_itself.measure(&direct, plan).await?;
        } else {
            by_itself.measure(&direct, plan).await?;
            by_gate.measure(&gate, plan).await?;
        }
        let last = |values: &[f64]| values.last().copied().unwrap_or_default();
        progress!(
            "gate, {durability}: {:.0}/s and {:.0} us, directly {:.0}/s and {:.0} us",
            last(&by_gate.per_second),
            last(&by_gate.p50_us),
            last(&by_itself.per_second),
            last(&by_itself.p50_us),
        );
    }
    let samples = |values: Vec<f64>| Samples::new(values).context("nothing was measured");
    let added =
        |gate: &[f64], direct: &[f64]| gate.iter().zip(direct).map(|(g, d)| g - d).collect::<Vec<_>>();
    let added_many = samples(added(&by_gate.p50_of_50_us, &by_itself.p50_of_50_us))?;
    let peer = Some(Peer { name: "a direct connection", samples: samples(by_itself.per_second)? });
    Ok(vec![
        Figure {
            name: promise.throughput,
            title: format!("gate, {durability}: SET/s, 50 clients, pipeline 16"),
            unit: "1/s",
            ours: samples(by_gate.per_second)?,
            peer,
            goal: Goal::RatioAtLeast(promise.throughput_min),
            note: None,
        },
        Figure {
            name: promise.added,
            title: format!("gate, {durability}: p50 added, one client"),
            unit: "us",
            ours: samples(added(&by_gate.p50_us, &by_itself.p50_us))?,
            peer: None,
            goal: Goal::MedianAtMost(promise.added_us_max),
            note: Some(format!(
                "directly {:.0} us, median; added with 50 clients and no pipeline {:.0} us",
                samples(by_itself.p50_us)?.median(),
                added_many.median()
            )),
        },
    ])
}
