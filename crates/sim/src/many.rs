//! Many seeds, on all the cores that are wanted.

use crate::coverage::Coverage;
use crate::{Options, Violation, run};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many were run.
    pub runs: u64,
    /// Simulated seconds of all.
    pub seconds: u64,
    /// Events of all.
    pub events: u64,
    /// Faults of all.
    pub faults: u64,
    /// The hashes of all runs, in any order, as one number.
    pub hash: u64,
    /// Seeds that broke an invariant, lowest first.
    pub violations: Vec<(u64, Violation)>,
    /// How long it took.
    pub took: Duration,
    coverage: Coverage,
}

impl Summary {
    /// What was never met.
    pub fn missing(&self) -> Vec<String> {
        self.coverage.missing()
    }

    fn add(&mut self, other: Summary) {
        self.runs += other.runs;
        self.seconds += other.seconds;
        self.events += other.events;
        self.faults += other.faults;
        self.hash = self.hash.wrapping_add(other.hash);
        self.violations.extend(other.violations);
        self.coverage.add(&other.coverage);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.coverage)?;
        let took = self.took.as_secs_f64();
        writeln!(
            f,
            "{} runs, {} simulated seconds, {} faults, {} events in {took:.1} s ({:.0} runs/s), {} violations, hash {:016x}",
            self.runs,
            self.seconds,
            self.faults,
            self.events,
            self.runs as f64 / took.max(0.001),
            self.violations.len(),
            self.hash
        )
    }
}

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

/// Runs a span of seeds.
pub fn many(span: &Span, options: &Options) -> Summary {
    let began = Instant::now();
    let (next, stop) = (AtomicU64::new(span.from), AtomicBool::new(false));
    let total = Mutex::new(Summary::default());
    let found = AtomicU64::new(0);
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
                    let outcome = run(seed, options);
                    mine.runs += 1;
                    mine.seconds += outcome.seconds;
                    mine.events += outcome.events;
                    mine.faults += outcome.faults.len() as u64;
                    mine.hash = mine.hash.wrapping_add(outcome.hash);
                    mine.coverage.add(&outcome.coverage);
                    if let Some(violation) = outcome.violation {
                        mine.violations.push((seed, violation));
                        let so_far = found.fetch_add(1, Ordering::Relaxed) + 1;
                        stop.fetch_or(so_far >= span.violations_max as u64, Ordering::Relaxed);
                    }
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
