//! SIGSTOP: a primary that answers nothing and may wake up. Waited out as it is by default, and killed by the node on its
//! host where the group allows that, beside Redis Sentinel, which proves nothing.
//!
//! The outage ends with the first record that the next primary acknowledges, directly and through a gate, the later of
//! both.

use std::path::Path;

use anyhow::Result;
use futures::future::{try_join, try_join3};

use crate::fault::{Fault, Ours, SentinelDeployment, Tally, Writers, bear, cost, count};
use crate::figure::{Figure, Goal, Peer};
use crate::phases::{Phases, last_transition};
use crate::plan::Plan;
use crate::progress;

const FAULT: &str = "primary frozen";

/// Measures outage and loss of both.
pub(crate) async fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    progress!("freeze: starting two deployments of primacy and one of Redis Sentinel");
    let (mut waiting, mut killing, mut peer) = Box::pin(try_join3(
        Ours::start_patient(binary, &[]),
        Ours::start_patient(binary, &["may_kill = true"]),
        SentinelDeployment::start(None),
    ))
    .await?;
    let (mut waited, mut killed, mut of_peer) = (Tally::default(), Tally::default(), Tally::default());
    let (mut of_waited, mut of_killed) = (Phases::default(), Phases::default());
    for round in 0..plan.freeze_rounds {
        let (writers, key) = (Writers::steady(), format!("freeze-{round}"));
        let trial = bear(&mut peer, Fault::Freeze, writers, &key).await?;
        let both = async {
            let waited = cost(&mut waiting, Fault::Freeze, writers, &key).await?;
            Ok((waited, cost(&mut killing, Fault::Freeze, writers, &key).await?))
        };
        // Sentinel settles in ten seconds in which it has nothing to do.
        let ((of_waiting, of_killing), theirs) = try_join(both, count(&mut peer, &trial)).await?;
        progress!("{FAULT}: {of_waiting}; may_kill {of_killing}; peer {theirs}");
        of_waited.add(of_waiting.caused_us, &last_transition(&waiting.deployment).await?);
        of_killed.add(of_killing.caused_us, &last_transition(&killing.deployment).await?);
        waited.add(of_waiting);
        killed.add(of_killing);
        of_peer.add(theirs);
    }
    let sentinel = |samples| Some(Peer { name: "Sentinel", samples });
    Ok(vec![
        Figure {
            name: "freeze.outage",
            title: format!("{FAULT}: outage"),
            unit: "ms",
            ours: waited.outage_of_both()?,
            peer: sentinel(of_peer.outage()?),
            goal: Goal::MaxAtMost(4_500.0),
            note: of_waited.text(),
        },
        Figure {
            name: "freeze.outage_may_kill",
            title: format!("{FAULT}, may_kill: outage"),
            unit: "ms",
            ours: killed.outage_of_both()?,
            peer: sentinel(of_peer.outage()?),
            goal: Goal::RatioAtMost(1.0),
            note: of_killed.text(),
        },
        waited.lost_by_gate("freeze.lost_by_gate", "frozen, then woken up", sentinel(of_peer.lost()?))?,
        killed.lost_by_gate(
            "freeze.lost_by_gate_may_kill",
            "frozen, then killed",
            sentinel(of_peer.lost()?),
        )?,
        waited.lost_unreported("freeze.lost_unreported", FAULT)?,
    ])
}
