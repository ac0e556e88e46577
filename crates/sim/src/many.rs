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

/// What runs add up to.
pub trait Total: Default + Send {
    /// Takes in what other runs came to.
    fn add(&mut self, other: Self);

    /// Seeds that broke an invariant.
    fn violations(&mut self) -> &mut Vec<(u64, Violation)>;
}

impl Total for Summary {
    fn add(&mut self, other: Summary) {
        self.runs += other.runs;
        self.seconds += other.seconds;
        self.events += other.events;
        self.faults += other.faults;
        self.hash = self.hash.wrapping_add(other.hash);
        self.violations.extend(other.violations);
        self.coverage.add(&other.coverage);
    }

    fn violations(&mut self) -> &mut Vec<(u64, Violation)> {
        &mut self.violations
    }
}

/// Runs a span of seeds.
pub fn many(span: &Span, options: &Options) -> Summary {
    let (total, took) = each(span, |seed| {
        let outcome = run(seed, options);
        Summary {
            runs: 1,
            seconds: outcome.seconds,
            events: outcome.events,
            faults: outcome.faults.len() as u64,
            hash: outcome.hash,
            violations: outcome.violation.map(|violation| (seed, violation)).into_iter().collect(),
            took: Duration::ZERO,
            coverage: outcome.coverage,
        }
    });
    Summary { took, ..total }
}

/// Runs `one` for each seed of a span, on as many threads as it asks for. Says what they add up to, violations by seed,
/// and how long it took.
pub fn each<T: Total>(span: &Span, one: impl Fn(u64) -> T + Sync) -> (T, Duration) {
    let began = Instant::now();
    let (next, stop, found) = (AtomicU64::new(span.from), AtomicBool::new(false), AtomicU64::new(0));
    let total = Mutex::new(T::default());
    std::thread::scope(|scope| {
        for _ in 0..span.jobs.max(1) {
            scope.spawn(|| {
                let mut mine = T::default();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let late = span.within.is_some_and(|within| began.elapsed() >= within);
                    if seed >= span.from + span.seeds || late {
                        break;
                    }
                    let mut ran = one(seed);
                    let violations = ran.violations().len() as u64;
                    if violations > 0 {
                        let so_far = found.fetch_add(violations, Ordering::Relaxed) + violations;
                        stop.fetch_or(so_far >= span.violations_max as u64, Ordering::Relaxed);
                    }
                    mine.add(ran);
                }
                total.lock().unwrap_or_else(PoisonError::into_inner).add(mine);
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.violations().sort_by_key(|(seed, _)| *seed);
    (total, began.elapsed())
}
