//! Replies that wait for another site (`durability = "site"`), at sites that are far apart: how much later than a round
//! trip, and how many a second.
//!
//! The clients are at the primary's site and go through the gate there. With so many clients no more than clients / RTT
//! is possible, and no more than a gate that waits for nobody else gets through.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures::future::try_join;
use primacy_testbed::{Host, Wan, wait_for};

use crate::fault::{Ours, RTT, SETTLE_DEADLINE, Side, options_over, over_a_wan, site_of};
use crate::figure::{Figure, Goal, Peer, Samples};
use crate::plan::Plan;
use crate::progress;
use crate::redis_benchmark::{Sets, set};

const FEW: u32 = 32;
const MANY: u32 = 512;
/// Above the round trip.
const ADDED_MAX: f64 = 3.0;

/// Measures latency and throughput.
pub(crate) fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    over_a_wan(async |wan| measure(binary, plan, &wan).await)
}

async fn measure(binary: &Path, plan: &Plan, wan: &Wan) -> Result<Vec<Figure>> {
    progress!("site: starting a deployment with durability site and one with durability local");
    let (mut far, mut plain) =
        Box::pin(try_join(start(binary, wan, "site"), start(binary, wan, "local"))).await?;
    wait_for("another site to hold the stream", SETTLE_DEADLINE, async || {
        let fence = far.deployment.fence().await?;
        ensure!(fence["holder_node"].is_u64(), "{fence}");
        Ok(())
    })
    .await?;
    let (far, plain) = (Gate::of(&mut far, wan).await?, Gate::of(&mut plain, wan).await?);
    let few = Sets { clients: FEW, pipeline: 1, requests: FEW * plan.benchmark.far };
    let many = Sets { clients: MANY, pipeline: 1, requests: MANY * plan.benchmark.far * 2 };
    let possible = f64::from(MANY) / RTT.as_secs_f64();
    let (mut p50_ms, mut ours, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.benchmark.rounds {
        let p50_us = set(Some(&far.host), &far.address, few).await?.p50_us;
        let of_far = set(Some(&far.host), &far.address, many).await?.per_second;
        let of_plain = set(Some(&plain.host), &plain.address, many).await?.per_second;
        progress!("site: p50 {:.1} ms, {of_far:.0}/s, plain {of_plain:.0}/s", p50_us / 1_000.0);
        p50_ms.push(p50_us / 1_000.0);
        ours.push(of_far);
        peer.push(of_plain.min(possible));
    }
    let samples = |values| Samples::new(values).context("nothing was measured");
    let rtt_ms = RTT.as_secs_f64() * 1_000.0;
    Ok(vec![
        Figure {
            name: "site.p50",
            title: format!("gate, site, {rtt_ms} ms apart: p50 of {FEW} clients"),
            unit: "ms",
            ours: samples(p50_ms)?,
            peer: None,
            goal: Goal::MedianAtMost(rtt_ms + ADDED_MAX),
            note: None,
        },
        Figure {
            name: "site.throughput",
            title: format!("gate, site, {rtt_ms} ms apart: SET/s of {MANY} clients"),
            unit: "1/s",
            ours: samples(ours)?,
            peer: Some(Peer { name: "clients/RTT or a plain gate", samples: samples(peer)? }),
            goal: Goal::RatioAtLeast(0.8),
            note: None,
        },
    ])
}

async fn start(binary: &Path, wan: &Wan, durability: &str) -> Result<Ours> {
    let setting = format!("durability = {durability:?}");
    let settings = [setting.as_str(), "max_loss = \"any\""];
    Ours::start_with(options_over(binary, wan, &settings)).await
}

/// The gate at the primary's site, and the host there: its clients need no network between hosts.
struct Gate {
    host: Host,
    address: String,
}

impl Gate {
    async fn of(ours: &mut Ours, wan: &Wan) -> Result<Self> {
        let primary = ours.ready().await?;
        let site = site_of(&primary);
        Ok(Self { host: wan.host(site)?.clone(), address: ours.gate_at(site)?.to_owned() })
    }
}
