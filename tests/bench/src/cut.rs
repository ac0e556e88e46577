//! The primary's site reaches no other site, while clients reach them all: the fault that makes two writers.
//!
//! There is no peer. Redis Sentinel promotes another member meanwhile, and whoever asked a Sentinel at the lost site
//! goes on at the old primary without noticing: no outage, and all of it lost.
//!
//! The outage ends with the first record that the next primary acknowledges, directly and through a gate, the later of
//! both. Until the old one shuts, clients that reach it are answered there: that is what may be lost.
//!
//! One deployment after the other: a cut is a cut for all that is at the site.

use std::path::Path;

use anyhow::Result;
use primacy_testbed::Wan;

use crate::fault::{Fault, Ours, Tally, Writers, cost, over_a_wan};
use crate::figure::{Figure, Goal};
use crate::phases::{Phases, last_transition};
use crate::plan::Plan;
use crate::progress;

const FAULT: &str = "primary's site cut off";

/// Measures outage, overlap and loss.
pub(crate) fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    over_a_wan(async |wan| measure(binary, plan, &wan).await)
}

async fn measure(binary: &Path, plan: &Plan, wan: &Wan) -> Result<Vec<Figure>> {
    progress!("cut: starting primacy with members at three sites, then at two");
    let three = outages(binary, plan, wan, 3, false).await?;
    let with_leader = outages(binary, plan, wan, 3, true).await?;
    let two = outages(binary, plan, wan, 2, false).await?;
    let outage = |name, members: &str, (tally, phases): &(Tally, Phases), goal_ms| {
        let silence =
            format!("nobody at all acknowledged a record for {:.0} ms, median", tally.silence()?.median());
        Ok::<_, anyhow::Error>(Figure {
            name,
            title: format!("{FAULT}, {members}: outage"),
            unit: "ms",
            ours: tally.outage_of_both()?,
            peer: None,
            goal: Goal::MaxAtMost(goal_ms),
            note: phases.text().map(|phases| format!("{silence}; {phases}")),
        })
    };
    let all = Tally::of([&three.0, &with_leader.0, &two.0]);
    Ok(vec![
        outage("cut.outage_three", "members at three sites", &three, 4_500.0)?,
        outage("cut.outage_three_leader", "members at three sites, the leader's too", &with_leader, 4_500.0)?,
        outage("cut.outage_two", "members at two sites", &two, 6_500.0)?,
        Figure {
            name: "cut.overlap",
            title: format!("{FAULT}: times that two members accepted writes at once"),
            unit: "times",
            ours: all.overlaps()?,
            peer: None,
            goal: Goal::MaxAtMost(0.0),
            note: None,
        },
        all.lost_unreported("cut.lost_unreported", FAULT)?,
    ])
}

/// With the leader at the primary's site, or at another.
async fn outages(
    binary: &Path,
    plan: &Plan,
    wan: &Wan,
    members: usize,
    leader_too: bool,
) -> Result<(Tally, Phases)> {
    let mut ours = Ours::start_over(binary, wan, members).await?;
    let writers = Writers { at_each: true, ..Writers::steady() };
    let (mut tally, mut phases) = (Tally::default(), Phases::default());
    for round in 0..plan.cut_rounds {
        ours.let_lead(leader_too).await?;
        let cost = cost(&mut ours, Fault::CutOff(wan), writers, &format!("cut-{round}")).await?;
        phases.add(cost.caused_us, &last_transition(&ours.deployment).await?);
        progress!("{FAULT}, {members} members: {cost}");
        tally.add(cost);
    }
    Ok((tally, phases))
}
