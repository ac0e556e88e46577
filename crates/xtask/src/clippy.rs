//! The lints of the workspace's lint table, in the code and in its tests.

use anyhow::Result;

use crate::verify::{Check, Report, cargo};
use crate::workspace::Workspace;

pub(crate) const CHECK: Check = Check {
    name: "clippy",
    remedy: "mend what clippy names; where it is wrong, an `#[allow]` at the place with the reason beside it",
    run,
};

fn run(workspace: &Workspace) -> Result<Report> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    cargo(&workspace.root, &arguments, &[])
}
