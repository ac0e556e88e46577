//! The one binary, `primacy`: `serve`, `demo` and the operator's commands.
//!
//! The problem: an operator in trouble must get the answer first, the remedy next to it, and a script must be able
//! to tell the outcomes apart. The idea: each command is one file under `command` that asks the cluster through the
//! SDK and turns the answer into a report of `show`; a report is printed as a table or as JSON from the same
//! fields, and each failure is a `exit::Failure` that says what, why and what to do, and carries the exit code.
//!
//! This crate must not decide anything: the leader checks and acts, the command line asks and shows.

// The form in which expect-test writes what it found.
#![cfg_attr(test, allow(clippy::needless_raw_string_hashes))]

mod args;
mod command;
mod demo;
mod exit;
mod logging;
mod screen;
mod show;

use clap::{CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Runs one command line and returns what the process exits with. Usage errors and `--help` do not return.
pub fn run<I, T>(words: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match args::Cli::from_arg_matches(&command().get_matches_from(words)) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match command::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when standard error is closed.
            let _ = write!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.exit.code())
        }
    }
}

/// The command line as clap sees it, for completions and for whoever prints a manual.
pub fn command() -> clap::Command {
    args::Cli::command().max_term_width(100)
}
