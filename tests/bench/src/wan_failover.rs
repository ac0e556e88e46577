//! Failover by kill -9 at three sites that are far apart, beside Redis Sentinel at the same sites.
//!
//! The clients reach all sites at once, so that what is measured is the failover and not their own way. The leader is
//! at another site than the primary: nearer, it would be a round trip faster.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use futures::future::try_join;
use primacy_testbed::Wan;

use crate::fault::{Fault, Ours, RTT, SentinelDeployment, Tally, Writers, in_turns, over_a_wan};
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
        try_join(Ours::start_over(binary, wan, 3), SentinelDeployment::start(Some(wan))).await?;
    let (mut tally, mut of_peer, mut phases) = (Tally::default(), Tally::default(), Phases::default());
    let fault = format!("primary killed, sites {} ms apart", RTT.as_millis());
    for round in 0..plan.wan_failover_rounds {
        let writers = Writers { direct: 32, patience: Duration::from_millis(500), ..Writers::steady() };
        let key = format!("wan-failover-{round}");
        ours.let_lead(false).await?;
        let (cost, theirs) = in_turns(&mut ours, &mut peer, Fault::Kill, writers, &key).await?;
        phases.add(cost.caused_us, &last_transition(&ours.deployment).await?);
        progress!("{fault}: {cost}; peer {theirs}");
        tally.add(cost);
        of_peer.add(theirs);
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
            note: phases.text(),
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
