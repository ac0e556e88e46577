//! Clock, spawn and sleep come from the runtime seam in the code that will be simulated.
//!
//! The problem: one `tokio::spawn` outside the seam makes a simulated node run differently each time, and nothing
//! says so. The idea: search for the ways around it. Tests may go around it: they run on the real clock.

use crate::files::{TextFile, text_files};
use crate::verify::{Check, Report};
use crate::workspace::Workspace;
use anyhow::Result;
use std::path::Path;

pub(crate) const CHECK: Check = Check {
    name: "seam",
    remedy: "use primacy_runtime's now, wall, sleep, timeout, spawn, blocking and connect",
    run,
};

/// The crates whose code must run in a simulation.
const SIMULATED: [&str; 3] = ["crates/consensus/src", "crates/redis/src", "crates/node/src"];

/// Ways around the seam.
const AROUND: [&str; 7] = [
    "tokio::time",
    "tokio::spawn",
    "task::spawn",
    "spawn_blocking",
    "Instant::now",
    "SystemTime::now",
    "TcpStream::connect",
];

fn run(workspace: &Workspace) -> Result<Report> {
    Ok(Report::of(text_files(&workspace.root)?.iter().flat_map(check).collect()))
}

fn check(file: &TextFile) -> Vec<String> {
    if !file.is_rust() || !SIMULATED.iter().any(|place| file.path.starts_with(Path::new(place))) {
        return vec![];
    }
    let code = file.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let around = |line: &str| {
        AROUND.into_iter().find(|way| !line.trim_start().starts_with("//") && line.contains(way))
    };
    (1..)
        .zip(code.lines())
        .filter_map(|(number, line)| {
            around(line).map(|way| format!("{}:{number}: {way}", file.path.display()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(path: &str, text: &str) -> Vec<String> {
        check(&TextFile { path: path.into(), text: text.to_owned() })
    }

    #[test]
    fn a_way_around_the_seam_is_found() {
        let text = "fine();\ntokio::spawn(f);\n// tokio::spawn in words\n";
        assert_eq!(check_text("crates/node/src/a.rs", text), ["crates/node/src/a.rs:2: tokio::spawn"]);
        assert_eq!(
            check_text("crates/redis/src/a.rs", "let t = std::time::Instant::now();"),
            ["crates/redis/src/a.rs:1: Instant::now"]
        );
    }

    #[test]
    fn other_crates_and_tests_are_free() {
        assert!(check_text("crates/testbed/src/a.rs", "tokio::spawn(f);").is_empty());
        assert!(check_text("crates/node/tests/a.rs", "tokio::spawn(f);").is_empty());
        assert!(
            check_text("crates/node/src/a.rs", "ok();\n#[cfg(test)]\nmod tests {\n tokio::spawn(f);\n}\n")
                .is_empty()
        );
    }
}
