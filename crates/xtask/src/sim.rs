//! Starts the simulation, built as it must be to be worth its time.
//!
//! It is a program of its own, so that this crate goes on knowing nothing of the product.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// What the simulation is asked for, such as `--seeds 10000` or `--seed 7 --trace`; `--help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn sim(options: &Options) -> Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--release", "--locked", "--quiet", "--package", "primacy-sim", "--"])
        .args(&options.arguments)
        .status()
        .context("cargo cannot be started")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
