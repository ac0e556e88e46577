//! The documentation builds without a warning: no dead link, no malformed example.

use anyhow::Result;

use crate::verify::{Check, Report, cargo};
use crate::workspace::Workspace;

pub(crate) const CHECK: Check = Check { name: "docs", remedy: "mend the comments that rustdoc names", run };

fn run(workspace: &Workspace) -> Result<Report> {
    let arguments = ["doc", "--workspace", "--no-deps", "--locked"];
    cargo(&workspace.root, &arguments, &[("RUSTDOCFLAGS", "-D warnings")])
}
