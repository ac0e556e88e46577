//! Starts the simulations, built as they must be to be worth their time.
//!
//! They are programs of their own, so that this crate goes on knowing nothing of the product.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// What the simulation is asked for, such as `--seeds 10000` or `--seed 7 --trace`; `--help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs `package` with the options, as they are.
pub(crate) fn sim(package: &str, options: &Options) -> Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--release", "--locked", "--quiet", "--package", package, "--"])
        .args(&options.arguments)
        .status()
        .context("cargo cannot be started")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
