//! The licences and sources of everything we depend on, as `deny.toml` permits them.
//!
//! Runs without the network: what it needs was fetched with the dependencies.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::verify::{Check, Report, cargo, cargo_program};
use crate::workspace::Workspace;

pub(crate) const CHECK: Check = Check {
    name: "licences",
    remedy: "choose another dependency, or, where the licence is permissive, add it to deny.toml; where cargo-deny \
             or a dependency's source is missing, run scripts/setup",
    run,
};

fn run(workspace: &Workspace) -> Result<Report> {
    let installed = Command::new(cargo_program())
        .args(["deny", "--version"])
        .current_dir(&workspace.root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !installed.success() {
        return Ok(Report::of(vec!["cargo-deny is not installed: run scripts/setup".to_owned()]));
    }
    let arguments = ["deny", "--offline", "--locked", "check", "licenses", "bans", "sources"];
    cargo(&workspace.root, &arguments, &[])
}
