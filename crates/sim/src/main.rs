//! `cargo xtask sim`: seeds in, verdicts out.

#![allow(clippy::print_stdout)] // the report is what this program is for

use clap::Parser;
use primacy_sim::exhaustive::{Bounds, Mistake, search};
use primacy_sim::many::{Span, many};
use primacy_sim::{Defect, Options, run, shrink};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "cargo xtask sim", about = "The shipped rules under seeds and virtual time")]
struct Arguments {
    /// Runs this seed alone
    #[arg(long)]
    seed: Option<u64>,
    /// Prints the transcript of the seed
    #[arg(long)]
    trace: bool,
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Stops when so many runs have failed
    #[arg(long, default_value_t = 1)]
    violations: usize,
    /// Stops after so many seconds
    #[arg(long)]
    within: Option<u64>,
    /// Fails when something was never exercised; on by itself from 5000 seeds
    #[arg(long)]
    coverage: bool,
    /// Leaves these faults out, by number
    #[arg(long, value_delimiter = ',')]
    without: Vec<usize>,
    /// Visits every state of a small world instead
    #[arg(long)]
    exhaustive: bool,
    /// Of a small world: members
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Of a small world: faults
    #[arg(long, default_value_t = 2)]
    faults: u8,
    /// Of a small world: writes
    #[arg(long, default_value_t = 1)]
    writes: u8,
    /// Of a small world: half seconds
    #[arg(long, default_value_t = 18)]
    steps: u8,
    /// Of a small world: ends after so many states
    #[arg(long, default_value_t = u64::MAX)]
    states: u64,
    /// Makes a mistake in the adapters, which is to be found
    #[arg(long)]
    defect: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.exhaustive {
        return exhaustive(&arguments);
    }
    let defect = match arguments.defect.as_deref().map(named) {
        Some(None) => {
            println!("no such defect; there are: {:?}", Defect::ALL);
            return ExitCode::from(2);
        }
        Some(Some(defect)) => Some(defect),
        None => None,
    };
    let options = Options { defect, told: arguments.trace, without: arguments.without.clone() };
    match arguments.seed {
        Some(seed) => one(seed, &options),
        None => span(&arguments, &options),
    }
}

fn exhaustive(arguments: &Arguments) -> ExitCode {
    let wanted = arguments.defect.as_deref();
    let mistake =
        Mistake::ALL.into_iter().find(|m| wanted.is_some_and(|w| format!("{m:?}").eq_ignore_ascii_case(w)));
    if wanted.is_some() && mistake.is_none() {
        println!("no such defect of a small world; there are: {:?}", Mistake::ALL);
        return ExitCode::from(2);
    }
    let bounds = Bounds {
        members: arguments.members.clamp(2, 3),
        faults: arguments.faults,
        writes: arguments.writes,
        steps: arguments.steps,
        states_max: arguments.states,
        mistake,
    };
    let report = search(&bounds);
    println!("{report}");
    if report.found.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn named(name: &str) -> Option<Defect> {
    Defect::ALL.iter().copied().find(|d| format!("{d:?}").eq_ignore_ascii_case(name))
}

fn one(seed: u64, options: &Options) -> ExitCode {
    let outcome = run(seed, options);
    if options.told {
        print!("{}", outcome.transcript);
    }
    for (number, fault) in outcome.faults.iter().enumerate() {
        println!("fault {number:>2}  {fault}");
    }
    println!(
        "seed {seed}: {} simulated seconds, {} events, hash {:016x}",
        outcome.seconds, outcome.events, outcome.hash
    );
    match outcome.violation {
        None => {
            println!("no violation");
            ExitCode::SUCCESS
        }
        Some(v) => {
            println!("{v}");
            ExitCode::FAILURE
        }
    }
}

fn span(arguments: &Arguments, options: &Options) -> ExitCode {
    let span = Span {
        from: arguments.from,
        seeds: arguments.seeds,
        jobs: arguments.jobs,
        violations_max: arguments.violations,
        within: arguments.within.map(Duration::from_secs),
    };
    let summary = many(&span, options);
    println!("{summary}");
    for (seed, v) in &summary.violations {
        println!("seed {seed}: {v}");
    }
    if let Some((seed, _)) = summary.violations.first() {
        explain(*seed, options);
        return ExitCode::FAILURE;
    }
    let missing = summary.missing();
    if !missing.is_empty() {
        println!("never exercised: {}", missing.join(", "));
    }
    let demanded = arguments.coverage || summary.runs >= 5_000;
    if demanded && !missing.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The failing run again, with as few faults as will do, and its transcript.
fn explain(seed: u64, options: &Options) {
    let least = Options { told: true, ..shrink(seed, &Options { told: false, ..options.clone() }) };
    let outcome = run(seed, &least);
    print!("{}", outcome.transcript);
    for fault in &outcome.faults {
        println!("fault  {fault}");
    }
    let without = least.without.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    println!(
        "again: cargo xtask sim --seed {seed} --trace{}",
        if without.is_empty() { String::new() } else { format!(" --without {without}") }
    );
}
