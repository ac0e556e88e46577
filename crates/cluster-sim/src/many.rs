//! Many seeds beside each other, and what they add up to.

use crate::check::Counts;
use crate::run::{Options, run};
use primacy_sim::Violation;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// How far to go.
#[derive(Clone, Debug)]
pub struct Span {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
    /// It stops when so many runs broke an invariant.
    pub violations_max: usize,
    /// It stops after so long.
    pub within: Option<Duration>,
}

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

impl Summary {
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
    let began = Instant::now();
    let (next, stop, found) = (AtomicU64::new(span.from), AtomicBool::new(false), AtomicU64::new(0));
    let total = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..span.jobs.max(1) {
            scope.spawn(|| {
                let mut mine = Summary::default();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let late = span.within.is_some_and(|within| began.elapsed() >= within);
                    if seed >= span.from + span.seeds || late {
                        break;
                    }
                    let one = one(seed, options);
                    let so_far = found.fetch_add(one.violations.len() as u64, Ordering::Relaxed);
                    let enough = so_far + one.violations.len() as u64 >= span.violations_max as u64;
                    stop.fetch_or(enough && !one.violations.is_empty(), Ordering::Relaxed);
                    mine.add(one);
                }
                total.lock().unwrap_or_else(PoisonError::into_inner).add(mine);
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.violations.sort_by_key(|(seed, _)| *seed);
    total.took = began.elapsed();
    total
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
