//! `cargo xtask consensus-sim`: seeds in, verdicts out.

#![allow(clippy::print_stdout)] // the report is what this program is for

use clap::Parser;
use primacy_cluster_sim::many::{Span, many};
use primacy_cluster_sim::{Defect, Options, run, shrink};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(
    name = "cargo xtask consensus-sim",
    about = "Whole clusters of the shipped consensus in virtual time"
)]
struct Arguments {
    /// Runs this seed alone
    #[arg(long)]
    seed: Option<u64>,
    /// Prints the transcript of the seed
    #[arg(long)]
    trace: bool,
    /// How many seeds
    #[arg(long, default_value_t = 500)]
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
    /// Leaves these faults out, by number
    #[arg(long, value_delimiter = ',')]
    without: Vec<usize>,
    /// Makes a mistake around the code that ships, which is to be found
    #[arg(long)]
    defect: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted = arguments.defect.as_deref();
    let named = |defect: &Defect| wanted.is_some_and(|name| format!("{defect:?}").eq_ignore_ascii_case(name));
    let defect = Defect::ALL.into_iter().find(named);
    if wanted.is_some() && defect.is_none() {
        println!("no such defect; there are: {:?}", Defect::ALL);
        return ExitCode::from(2);
    }
    let options = Options { defect, told: arguments.trace, without: arguments.without.clone() };
    match arguments.seed {
        Some(seed) => one(seed, &options),
        None => span(&arguments, &options),
    }
}

fn one(seed: u64, options: &Options) -> ExitCode {
    let outcome = run(seed, options);
    if options.told {
        print!("{}", outcome.transcript);
    }
    for (number, fault) in &outcome.faults {
        println!("fault {number:>2}  {fault}");
    }
    let (steps, hash) = (outcome.steps, outcome.hash);
    println!(
        "seed {seed}: {:.3} simulated seconds, {steps} steps, hash {hash:016x}",
        outcome.took_us as f64 / 1e6
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
    print!("{summary}");
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
    if summary.runs >= 500 && !missing.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The failing run again, with as few faults as will do, and its transcript.
fn explain(seed: u64, options: &Options) {
    let least = Options { told: true, ..shrink(seed, &Options { told: false, ..options.clone() }) };
    let outcome = run(seed, &least);
    print!("{}", outcome.transcript);
    for (number, fault) in &outcome.faults {
        println!("fault {number:>2}  {fault}");
    }
    let without = least.without.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let without = if without.is_empty() { String::new() } else { format!(" --without {without}") };
    println!("again: cargo xtask consensus-sim --seed {seed} --trace{without}");
}
