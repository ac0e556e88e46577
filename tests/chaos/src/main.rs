//! Chaos on real processes: nodes, Redis servers and the network between three sites are broken as a seed says, and
//! what clients saw is judged.
//!
//! The problem: a simulation is as good as its models; what was never modelled breaks real processes. The idea: real
//! ones, on real (if small) networks and disks, with a nemesis whose schedule follows from a seed, and checkers that
//! know nothing of how Primacy decides. A run is divided into acts, each a fresh deployment, and acts into rounds: some
//! faults, then rest, then all checks.

/// Says something to whoever waits, beside the results.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        // Nobody listens: then there is nobody to tell.
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod act;
mod check;
mod clients;
mod disk;
mod fault;
mod nemesis;
mod operator;
mod record;
mod report;
mod schedule;
mod world;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use act::{Act, Order};

/// An act is as long as this at most: ledgers are read back whole after each round.
const ACT_MAX: Duration = Duration::from_mins(8);

/// Breaks things for a while, and says what broke with them.
#[derive(Debug, Parser)]
#[command(name = "primacy-chaos")]
struct Args {
    /// No round begins after so many minutes.
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    /// What goes wrong follows from it; drawn when not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report goes; chaos-report/SEED when not given.
    #[arg(long)]
    report: Option<PathBuf>,
    /// The program under test; the one beside this program when not given.
    #[arg(long, env = "PRIMACY_BINARY")]
    binary: Option<PathBuf>,
    /// Prints what would go wrong in the first act, and does nothing.
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say!("chaos: no verdict: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// False when something was violated.
fn run(args: &Args) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(|| rand::random_range(1..1_000_000));
    say!("chaos: {} minutes, seed {seed}", args.minutes);
    if args.dry_run {
        return dry_run(seed).map(|()| true);
    }
    // Before there is any other thread.
    disk::isolate_mounts()?;
    let binary = binary(args)?;
    let report = args.report.clone().unwrap_or_else(|| Path::new("chaos-report").join(seed.to_string()));
    std::fs::create_dir_all(&report).with_context(|| format!("cannot create {}", report.display()))?;
    let report = report.canonicalize()?;
    let began = Instant::now();
    let until = began + Duration::from_mins(args.minutes);
    let mut acts: Vec<Act> = Vec::new();
    while acts.iter().all(|act| act.violations.is_empty()) && Instant::now() < until {
        let act_until = until.min(Instant::now() + ACT_MAX);
        let order =
            Order { binary: &binary, seed, number: acts.len() as u64, until: act_until, report: &report };
        let act = act::run(order)?;
        report::html::write(&report, seed, &act)?;
        acts.push(act);
    }
    let text = report::text::render(seed, began.elapsed(), &acts);
    std::fs::write(report.join("report.txt"), &text)?;
    say!("{text}chaos: report in {}", report.display());
    Ok(acts.iter().all(|act| act.violations.is_empty()))
}

fn binary(args: &Args) -> Result<PathBuf> {
    let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("primacy"));
    let binary = args.binary.clone().map_or_else(beside, Ok)?;
    ensure!(binary.is_file(), "{} does not exist: build it, or name another with --binary", binary.display());
    binary.canonicalize().with_context(|| format!("cannot resolve {}", binary.display()))
}

fn dry_run(seed: u64) -> Result<()> {
    let setting = schedule::setting(seed, 0);
    let mut out = std::io::stdout().lock();
    writeln!(out, "act 0: {}", serde_json::to_string(&setting)?)?;
    for round in 0..5 {
        writeln!(out, "round {round}")?;
        for step in schedule::round(seed, 0, round) {
            writeln!(out, "  {:6} ms, for {:5} ms: {}", step.at_ms, step.for_ms, step.fault)?;
        }
    }
    Ok(())
}
