//! Failover by kill -9, beside Redis Sentinel.
//!
//! The writers are the same; each side's find the primary in that side's own way. Ours bears further writers, that go
//! through its gates.

use std::path::Path;

use anyhow::Result;
use futures::future::try_join;

use crate::fault::{Fault, Ours, SentinelDeployment, Tally, Writers, in_turns};
use crate::figure::{Figure, Goal, Peer};
use crate::phases::{Phases, last_transition};
use crate::plan::Plan;
use crate::progress;

const GOAL: Goal = Goal::RatioAtMost(1.0 / 20.0);
const FAULT: &str = "primary killed";

/// Measures outage and loss of both.
pub(crate) async fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    progress!("failover: starting a deployment of primacy and one of Redis Sentinel");
    let (mut ours, mut peer) = try_join(Ours::start(binary, &[]), SentinelDeployment::start(None)).await?;
    let (mut tally, mut of_peer, mut phases) = (Tally::default(), Tally::default(), Phases::default());
    for round in 0..plan.failover_rounds {
        let (writers, key) = (Writers::at_full_speed(), format!("failover-{round}"));
        let (cost, theirs) = in_turns(&mut ours, &mut peer, Fault::Kill, writers, &key).await?;
        phases.add(cost.caused_us, &last_transition(&ours.deployment).await?);
        progress!("{FAULT}: {cost}; peer {theirs}");
        tally.add(cost);
        of_peer.add(theirs);
    }
    let sentinel = |samples| Some(Peer { name: "Sentinel", samples });
    Ok(vec![
        Figure {
            name: "failover.first_ack",
            title: format!("{FAULT}: first record acknowledged by the next"),
            unit: "ms",
            ours: tally.outage()?,
            peer: sentinel(of_peer.outage()?),
            goal: GOAL,
            note: phases.text(),
        },
        Figure {
            name: "failover.outage",
            title: format!("{FAULT}: longest wait of a writer"),
            unit: "ms",
            ours: tally.longest_wait()?,
            peer: sentinel(of_peer.longest_wait()?),
            goal: GOAL,
            note: None,
        },
        tally.lost_by_gate("failover.lost_by_gate", FAULT, sentinel(of_peer.lost()?))?,
        tally.lost_unreported("failover.lost_unreported", FAULT)?,
    ])
}
