//! `cargo xtask`: the checks that the compiler does not do by itself, behind one command for people and for CI.
//!
//! The problem: rules that are only written down rot. The idea: each rule of the house is one check in one file,
//! says what broke it with file and line, and says how to put it right. What a check looks for is data at the top
//! of its file.
//!
//! This crate must not know any crate of the product: it reads files and `cargo metadata`, so that it still runs
//! when nothing else compiles.

#![allow(clippy::print_stdout)] // the report is what this program is for

mod clippy;
mod confine;
mod docs;
mod edges;
mod files;
mod format;
mod length;
mod licences;
mod seam;
mod sim;
mod verify;
mod words;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own checks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check, or those named with --only; exits 1 when one fails
    Verify(verify::Options),
    /// Run the shipped rules under seeds and virtual time
    #[command(disable_help_flag = true)]
    Sim(sim::Options),
    /// Run whole clusters of the shipped consensus under seeds and virtual time
    #[command(disable_help_flag = true)]
    ConsensusSim(sim::Options),
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().task {
        Task::Verify(options) => verify::verify(&options),
        Task::Sim(options) => sim::sim("primacy-sim", &options),
        Task::ConsensusSim(options) => sim::sim("primacy-cluster-sim", &options),
    }
}
