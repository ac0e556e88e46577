//! The formatting of the code.

use anyhow::Result;

use crate::verify::{Check, Report, cargo};
use crate::workspace::Workspace;

pub(crate) const CHECK: Check = Check { name: "format", remedy: "cargo fmt --all", run };

fn run(workspace: &Workspace) -> Result<Report> {
    cargo(&workspace.root, &["fmt", "--all", "--check"], &[])
}
