//! One run of a seed, from the first event to the verdict.

use crate::coverage::Coverage;
use crate::defect::Defect;
use crate::invariant::{self, Violation};
use crate::setup::Setup;
use crate::trace::Trace;
use crate::world::{Event, World};

/// What is wanted of a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A mistake that the adapters make.
    pub defect: Option<Defect>,
    /// Whether a transcript is wanted.
    pub told: bool,
    /// The faults to leave out, by number.
    pub without: Vec<usize>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What must not be and was.
    pub violation: Option<Violation>,
    /// The same for the same seed, on every machine and in every build.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// Simulated seconds.
    pub seconds: u64,
    /// The faults, in words.
    pub faults: Vec<String>,
    /// The transcript, where one was wanted.
    pub transcript: String,
    pub(crate) coverage: Coverage,
}

/// Runs a seed to its end, or to the first violation.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut setup = Setup::draw(seed);
    let mut number = 0;
    setup.faults.retain(|_| {
        number += 1;
        !options.without.contains(&(number - 1))
    });
    let faults = setup
        .faults
        .iter()
        .map(|f| format!("{:>9.3} s  {:?} for {} ms", f.at as f64 / 1e6, f.act, f.lasts / 1_000));
    let faults = faults.collect();
    let mut world = World::new(setup, options.defect, Trace::new(options.told));
    let now = world.now;
    world.schedule(now + 500_000, Event::Operator);
    while world.step() {}
    if world.violation.is_none() {
        invariant::acknowledged::settle(&mut world);
    }
    if world.violation.is_none() {
        invariant::converge::at_the_end(&mut world);
    }
    Outcome {
        seed,
        violation: world.violation.clone(),
        hash: world.trace.sum(),
        events: world.trace.events(),
        seconds: world.now / 1_000_000,
        faults,
        transcript: world.trace.transcript(),
        coverage: world.coverage,
    }
}

/// Leaves out faults for as long as the same invariant is violated. Says which are left out in the end.
pub fn shrink(seed: u64, options: &Options) -> Options {
    let fails = |o: &Options| run(seed, o).violation.map(|v| v.invariant);
    let Some(invariant) = fails(options) else { return options.clone() };
    let count = Setup::draw(seed).faults.len();
    let mut least = options.clone();
    // Later ones first: most of what comes before a violation prepares it.
    for number in (0..count).rev() {
        let mut fewer = least.clone();
        fewer.without.push(number);
        if fails(&fewer) == Some(invariant) {
            least = fewer;
        }
    }
    least
}
