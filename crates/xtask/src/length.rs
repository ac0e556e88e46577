//! The length of source files: one that is too long to hold in the head holds more than one idea.

use std::path::Path;

use anyhow::Result;

use crate::files::{TextFile, text_files};
use crate::verify::{Check, Report};
use crate::workspace::Workspace;

pub(crate) const CHECK: Check = Check {
    name: "length",
    remedy: "split the file where its ideas part: one file a command, a phase, a rule",
    run,
};

/// More fails.
const LINES_MAX: usize = 600;

/// More is noted.
const LINES_USUAL: usize = 300;

fn run(workspace: &Workspace) -> Result<Report> {
    Ok(check(&text_files(&workspace.root)?))
}

fn check(files: &[TextFile]) -> Report {
    let mut report = Report::default();
    for file in files.iter().filter(|file| file.is_rust() && !is_generated(&file.path)) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            report.failures.push(format!("{}: {lines} lines, more than {LINES_MAX}", file.path.display()));
        } else if lines > LINES_USUAL {
            report
                .notes
                .push(format!("{}: {lines} lines, more than the usual {LINES_USUAL}", file.path.display()));
        }
    }
    report
}

fn is_generated(path: &Path) -> bool {
    path.iter().any(|part| part == "generated")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_length(path: &str, lines: usize) -> Report {
        check(&[TextFile { path: path.into(), text: "x\n".repeat(lines) }])
    }

    #[test]
    fn too_long_fails_and_long_is_noted() {
        assert_eq!(of_length("a.rs", LINES_MAX + 1).failures, ["a.rs: 601 lines, more than 600"]);
        assert_eq!(of_length("a.rs", LINES_MAX).failures, Vec::<String>::new());
        assert_eq!(of_length("a.rs", LINES_MAX).notes, ["a.rs: 600 lines, more than the usual 300"]);
        assert_eq!(of_length("a.rs", LINES_USUAL).notes, Vec::<String>::new());
    }

    #[test]
    fn only_written_rust_counts() {
        for path in ["Cargo.lock", "crates/wire/src/generated/v1.rs"] {
            assert_eq!(of_length(path, LINES_MAX + 1).failures, Vec::<String>::new(), "{path}");
        }
    }
}
