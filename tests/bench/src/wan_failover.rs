//! Failover by kill -9 at three sites that are far apart, beside Redis Sentinel at the same sites.
//!
//! The clients reach all sites at once, so that what is measured is the failover and not their own way. Each node leads
//! in turn: where the leader is decides how many round trips a failover takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use futures::future::try_join;
use primacy_testbed::Wan;
use primacy_wire::v1::Transition;

use crate::fault::{
    Fault, Ours, RTT, SentinelDeployment, Tally, Writers, cost, in_turns, over_a_wan, site_of,
};
use crate::figure::{Figure, Goal, Peer};
use crate::phases::{Phases, last_transition};
use crate::plan::Plan;
use crate::progress;

const GOAL: Goal = Goal::MedianAtMost(350.0);

/// Measures outage and loss of both.
pub(crate) fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    over_a_wan(async |wan| measure(binary, plan, &wan).await)
}

async fn measure(binary: &Path, plan: &Plan, wan: &Wan) -> Result<Vec<Figure>> {
    progress!("wan_failover: starting primacy and Redis Sentinel at three sites");
    let (mut ours, mut peer) =
        try_join(Ours::start_over(binary, wan, 3, &[]), SentinelDeployment::start(Some(wan))).await?;
    let (mut tally, mut of_peer, mut phases) = (Tally::default(), Tally::default(), Phases::default());
    let fault = format!("primary killed, sites {} ms apart", RTT.as_millis());
    let mut places = Places::default();
    for round in 0..plan.wan_failover_rounds {
        let writers = Writers { direct: 32, patience: Duration::from_millis(500), ..Writers::steady() };
        let key = format!("wan-failover-{round}");
        let nodes = ours.nodes();
        let leader = nodes[round % nodes.len()];
        ours.lead(leader).await?;
        // Sentinel needs several times as long until it may fail over again.
        let cost = if round % 2 == 0 {
            let (cost, theirs) = in_turns(&mut ours, &mut peer, Fault::Kill, writers, &key).await?;
            progress!("{fault}: peer {theirs}");
            of_peer.add(theirs);
            cost
        } else {
            cost(&mut ours, Fault::Kill, writers, &key).await?
        };
        let transition = last_transition(&ours.deployment).await?;
        let place = place(ours.site(leader)?, &transition);
        progress!("{fault}, leader {place}: {cost}");
        places.entry(place).or_default().add(cost.clone());
        phases.add(cost.caused_us, &transition);
        tally.add(cost);
    }
    let sentinel = |samples| Some(Peer { name: "Sentinel", samples });
    Ok(vec![
        Figure {
            name: "wan_failover.first_ack",
            title: format!("{fault}: first record acknowledged by the next"),
            unit: "ms",
            ours: tally.outage()?,
            peer: sentinel(of_peer.outage()?),
            goal: GOAL,
            note: Some(format!("{}; {}", by_place(&places)?, phases.text().unwrap_or_default())),
        },
        Figure {
            name: "wan_failover.first_ack_gate",
            title: format!("{fault}: the same through a gate"),
            unit: "ms",
            ours: tally.outage_gate()?,
            peer: sentinel(of_peer.outage()?),
            goal: GOAL,
            note: None,
        },
        tally.lost_by_gate("wan_failover.lost_by_gate", &fault, sentinel(of_peer.lost()?))?,
        tally.lost_unreported("wan_failover.lost_unreported", &fault)?,
    ])
}

/// The rounds by where the leader was.
type Places = BTreeMap<&'static str, Tally>;

fn place(leader: &str, transition: &Transition) -> &'static str {
    match transition.from.as_deref().map(site_of) {
        Some(from) if from == leader => "beside the old primary",
        _ if site_of(&transition.to) == leader => "beside the new primary",
        _ => "beside neither",
    }
}

fn by_place(places: &Places) -> Result<String> {
    let median = |(place, tally): (&&str, &Tally)| {
        let (direct, gate) = (tally.outage()?, tally.outage_gate()?);
        Ok(format!("leader {place} {:.0} ms and {:.0} ms, n {}", direct.median(), gate.median(), direct.n()))
    };
    let medians: Vec<String> = places.iter().map(median).collect::<Result<_>>()?;
    Ok(format!("directly and through a gate, medians: {}", medians.join(", ")))
}
