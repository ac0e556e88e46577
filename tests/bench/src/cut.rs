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
/// What an operator may set whose sites are never more than 50 ms apart: `profile = "wan"` allows for 100 ms.
const FOR_50_MS: [(&str, &str); 5] = [
    ("heartbeat", "150ms"),
    ("election", "450ms..800ms"),
    ("lease_renew", "800ms"),
    ("lease_ttl", "2600ms"),
    ("rtt", "50ms"),
];

/// Measures outage, overlap and loss.
pub(crate) fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    over_a_wan(async |wan| measure(binary, plan, &wan).await)
}

/// Who is where, and how long an outage may last then.
struct Case {
    name: &'static str,
    text: &'static str,
    members: usize,
    /// Whether the leader is at the primary's site.
    leader_too: bool,
    timings: &'static [(&'static str, &'static str)],
    goal_ms: f64,
    rounds: usize,
}

fn cases(plan: &Plan) -> [Case; 5] {
    [
        Case {
            name: "cut.outage_three",
            text: "members at three sites",
            members: 3,
            leader_too: false,
            timings: &[],
            goal_ms: 4_500.0,
            rounds: plan.cut_rounds,
        },
        Case {
            name: "cut.outage_three_leader",
            text: "members at three sites, the leader's too",
            members: 3,
            leader_too: true,
            timings: &[],
            goal_ms: 4_500.0,
            rounds: plan.cut_leader_rounds,
        },
        Case {
            name: "cut.outage_two",
            text: "members at two sites",
            members: 2,
            leader_too: false,
            timings: &[],
            goal_ms: 6_500.0,
            rounds: plan.cut_rounds,
        },
        Case {
            name: "cut.outage_three_leader_50",
            text: "members at three sites, the leader's too, timings for 50 ms",
            members: 3,
            leader_too: true,
            timings: &FOR_50_MS,
            goal_ms: 4_500.0,
            rounds: plan.cut_leader_rounds,
        },
        Case {
            name: "cut.outage_two_50",
            text: "members at two sites, timings for 50 ms",
            members: 2,
            leader_too: false,
            timings: &FOR_50_MS,
            goal_ms: 6_500.0,
            rounds: plan.cut_rounds,
        },
    ]
}

async fn measure(binary: &Path, plan: &Plan, wan: &Wan) -> Result<Vec<Figure>> {
    progress!("cut: starting primacy with members at three sites, then at two");
    let (mut figures, mut tallies) = (Vec::new(), Vec::new());
    for case in cases(plan).iter().filter(|case| case.rounds > 0) {
        let (tally, phases) = outages(binary, wan, case).await?;
        let silence =
            format!("nobody at all acknowledged a record for {:.0} ms, median", tally.silence()?.median());
        figures.push(Figure {
            name: case.name,
            title: format!("{FAULT}, {}: outage", case.text),
            unit: "ms",
            ours: tally.outage_of_both()?,
            peer: None,
            goal: Goal::MaxAtMost(case.goal_ms),
            note: phases.text().map(|phases| format!("{silence}; {phases}")),
        });
        tallies.push(tally);
    }
    let all = Tally::of(&tallies);
    figures.push(Figure {
        name: "cut.overlap",
        title: format!("{FAULT}: times that two members accepted writes at once"),
        unit: "times",
        ours: all.overlaps()?,
        peer: None,
        goal: Goal::MaxAtMost(0.0),
        note: None,
    });
    figures.push(all.lost_unreported("cut.lost_unreported", FAULT)?);
    Ok(figures)
}

async fn outages(binary: &Path, wan: &Wan, case: &Case) -> Result<(Tally, Phases)> {
    let mut ours = Ours::start_over(binary, wan, case.members, case.timings).await?;
    let writers = Writers { at_each: true, ..Writers::steady() };
    let (mut tally, mut phases) = (Tally::default(), Phases::default());
    for round in 0..case.rounds {
        ours.let_lead(case.leader_too).await?;
        let cost = cost(&mut ours, Fault::CutOff(wan), writers, &format!("cut-{round}")).await?;
        phases.add(cost.caused_us, &last_transition(&ours.deployment).await?);
        progress!("{FAULT}, {}: {cost}", case.text);
        tally.add(cost);
    }
    Ok((tally, phases))
}
