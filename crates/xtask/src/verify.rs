//! Which checks there are, and running them.
//!
//! The cheap ones come first, and a failed one does not stop the rest: one run tells everything there is to mend.

use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::workspace::Workspace;
use crate::{clippy, confine, docs, edges, format, length, licences, seam, words};

/// One rule of the house.
pub(crate) struct Check {
    /// The name that `--only` takes.
    pub(crate) name: &'static str,
    /// What to do when it fails.
    pub(crate) remedy: &'static str,
    /// Looks at the workspace. An error means that the check could not be made, which fails it as well.
    pub(crate) run: fn(&Workspace) -> Result<Report>,
}

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Each breaks the rule; any one of them fails the check.
    pub(crate) failures: Vec<String>,
    /// Worth knowing, printed with `-v`.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// A report that only fails or passes.
    pub(crate) fn of(failures: Vec<String>) -> Self {
        Report { failures, notes: Vec::new() }
    }
}

/// In the order in which they run.
const CHECKS: [Check; 9] = [
    format::CHECK,
    words::CHECK,
    seam::CHECK,
    length::CHECK,
    edges::CHECK,
    confine::CHECK,
    licences::CHECK,
    clippy::CHECK,
    docs::CHECK,
];

/// What `cargo xtask verify` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Run this check alone; may be given more than once
    #[arg(long, value_name = "CHECK", value_parser = CHECKS.map(|check| check.name))]
    only: Vec<String>,
    /// Print notes as well as failures
    #[arg(short, long)]
    verbose: bool,
}

/// Runs the chosen checks and prints a line for each.
pub(crate) fn verify(options: &Options) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    let chosen =
        |check: &&Check| options.only.is_empty() || options.only.iter().any(|name| name == check.name);
    let mut failed = Vec::new();
    for check in CHECKS.iter().filter(chosen) {
        let started = Instant::now();
        let report = (check.run)(&workspace).unwrap_or_else(|error| Report::of(vec![format!("{error:#}")]));
        print(check, &report, started.elapsed().as_secs_f64(), options.verbose);
        if !report.failures.is_empty() {
            failed.push(check.name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nfailed: {}. Run one alone with: cargo xtask verify --only {}", failed.join(", "), failed[0]);
    Ok(ExitCode::FAILURE)
}

fn print(check: &Check, report: &Report, seconds: f64, verbose: bool) {
    let verdict = if report.failures.is_empty() { "ok" } else { "FAILED" };
    println!("{:<9} {verdict:<6} {seconds:6.1} s", check.name);
    for failure in &report.failures {
        println!("  {failure}");
    }
    if !report.failures.is_empty() {
        println!("  remedy: {}", check.remedy);
    }
    for note in report.notes.iter().filter(|_| verbose) {
        println!("  note: {note}");
    }
}

/// Runs cargo at the root of the workspace with its output passed through; it fails the check when cargo fails.
pub(crate) fn cargo(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Report> {
    let status = Command::new(cargo_program())
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .status()
        .context("cargo could not be started")?;
    Ok(judge(arguments, status))
}

fn judge(arguments: &[&str], status: ExitStatus) -> Report {
    if status.success() {
        return Report::default();
    }
    Report::of(vec![format!("cargo {} failed ({status}); its output is above", arguments.join(" "))])
}

/// The cargo that runs this program, so that every check uses the same toolchain.
pub(crate) fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
    }

    #[test]
    fn a_failing_command_fails_the_check() -> Result<()> {
        let failed = judge(&["fmt", "--check"], Command::new("false").status()?);
        assert_eq!(failed.failures, ["cargo fmt --check failed (exit status: 1); its output is above"]);
        assert_eq!(judge(&["fmt"], Command::new("true").status()?).failures, Vec::<String>::new());
        Ok(())
    }
}
