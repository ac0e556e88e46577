//! Many seeds beside each other, and what they add up to.

use crate::check::Counts;
use crate::run::{Options, run};
use primacy_sim::Violation;
pub use primacy_sim::many::Span;
use primacy_sim::many::{Total, each};
use std::fmt;
use std::time::Duration;

/// What is never to be at zero once enough seeds have run.
pub const EXERCISED: [&str; 32] = [
    "acknowledged",
    "added",
    "batches_lost",
    "blackout",
    "emptied",
    "empty",
    "end_lines",
    "flap",
    "freeze",
    "isolate",
    "kill",
    "leaders",
    "lease_reads",
    "loss",
    "one_way",
    "outcome_unknown",
    "pair",
    "power_loss",
    "promoted",
    "quorum_reads",
    "reads_refused",
    "refused",
    "removed",
    "replace",
    "slow",
    "slow_disk",
    "snapshot",
    "snapshots_by_hand",
    "snapshots_sent",
    "transfer",
    "transferred",
    "unanswered",
];

/// What a span of seeds came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// Microseconds that passed in them.
    pub took_us: u64,
    /// Steps of tasks.
    pub steps: u64,
    /// Messages between nodes.
    pub messages: u64,
    /// Faults.
    pub faults: u64,
    /// The sum of the runs' hashes.
    pub hash: u64,
    /// What was found, by seed.
    pub violations: Vec<(u64, Violation)>,
    /// What was exercised.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
}

impl Total for Summary {
    fn add(&mut self, other: Summary) {
        self.runs += other.runs;
        self.took_us += other.took_us;
        self.steps += other.steps;
        self.messages += other.messages;
        self.faults += other.faults;
        self.hash = self.hash.wrapping_add(other.hash);
        self.violations.extend(other.violations);
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    fn violations(&mut self) -> &mut Vec<(u64, Violation)> {
        &mut self.violations
    }
}

impl Summary {
    /// What was never exercised.
    pub fn missing(&self) -> Vec<&'static str> {
        EXERCISED.into_iter().filter(|name| self.counts.get(name).is_none_or(|count| *count == 0)).collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.counts {
            writeln!(f, "{name:<20} {count:>10}")?;
        }
        let (took, simulated) = (self.took.as_secs_f64().max(0.001), self.took_us as f64 / 1e6);
        writeln!(
            f,
            "{} runs, {simulated:.0} simulated seconds, {} faults, {} messages, {} steps in {took:.1} s ({:.0} simulated \
             seconds a second), {} violations, hash {:016x}",
            self.runs,
            self.faults,
            self.messages,
            self.steps,
            simulated / took,
            self.violations.len(),
            self.hash
        )
    }
}

/// Runs a span of seeds.
pub fn many(span: &Span, options: &Options) -> Summary {
    let (total, took) = each(span, |seed| one(seed, options));
    Summary { took, ..total }
}

fn one(seed: u64, options: &Options) -> Summary {
    let outcome = run(seed, options);
    Summary {
        runs: 1,
        took_us: outcome.took_us,
        steps: outcome.steps,
        messages: outcome.messages,
        faults: outcome.faults.len() as u64,
        hash: outcome.hash,
        violations: outcome.violation.map(|violation| (seed, violation)).into_iter().collect(),
        counts: outcome.counts,
        took: Duration::ZERO,
    }
}
