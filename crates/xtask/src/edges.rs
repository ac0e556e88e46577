//! The edges between our crates.
//!
//! The problem: layers hold only while nothing depends upwards, and one line in a `Cargo.toml` undoes them unseen.
//! The idea: every permitted edge stands in the table below; a new one is a decision and changes the table.

use anyhow::Result;

use crate::verify::{Check, Report};
use crate::workspace::{Package, Workspace};

pub(crate) const CHECK: Check = Check {
    name: "edges",
    remedy: "dependencies point down only; move the code, or, if the layering is meant to change, the table in \
             crates/xtask/src/edges.rs and crates/ARCHITECTURE.md with it",
    run,
};

/// Each crate and the crates of ours that it may depend on.
const PERMITTED: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("runtime", &["core"]),
    ("wire", &["core"]),
    ("storage", &["core", "runtime", "wire"]),
    ("consensus", &["core", "runtime", "wire", "storage"]),
    ("redis", &["core", "runtime"]),
    ("gate", &["core", "runtime"]),
    ("kafka", &["core", "runtime"]),
    ("node", &["core", "runtime", "wire", "consensus", "redis", "gate", "kafka"]),
    ("client", &["core", "wire"]),
    ("testbed", &["core", "client"]),
    ("sim", &["core"]),
    ("cluster-sim", &["core", "runtime", "wire", "storage", "consensus", "sim"]),
    ("cli", &["core", "client", "node", "wire", "redis", "testbed"]),
    ("bench", &["testbed", "client", "core", "wire", "kafka"]),
    ("chaos", &["testbed", "client", "core", "wire"]),
    ("xtask", &[]),
];

/// What the tests of any crate may use besides.
const PERMITTED_IN_TESTS: &[&str] = &["testbed"];

fn run(workspace: &Workspace) -> Result<Report> {
    Ok(Report::of(check(&workspace.packages()?)))
}

fn check(packages: &[Package]) -> Vec<String> {
    let forbidden = packages.iter().flat_map(forbidden_edges);
    let stale = PERMITTED
        .iter()
        .filter(|(name, _)| !packages.iter().any(|package| package.name == *name))
        .map(|(name, _)| format!("{name} has a row in the table of edges, and no such crate exists"));
    forbidden.chain(stale).collect()
}

fn forbidden_edges(package: &Package) -> Vec<String> {
    let Some((_, permitted)) = PERMITTED.iter().find(|(name, _)| *name == package.name) else {
        return vec![format!("{} has no row in the table of edges", package.name)];
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.ours && !permitted.contains(&dependency.name.as_str()))
        .filter(|dependency| !(dependency.dev && PERMITTED_IN_TESTS.contains(&dependency.name.as_str())))
        .map(|dependency| {
            let kind = if dependency.dev { "in its tests on" } else { "on" };
            format!("{} must not depend {kind} {}", package.name, dependency.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::packages;

    /// The whole table with one line in place of the crate's own.
    fn with(line: &str) -> Vec<String> {
        let changed = line.split(':').next().unwrap_or_default();
        let mut lines: Vec<String> = PERMITTED
            .iter()
            .filter(|(name, _)| *name != changed)
            .map(|(name, _)| format!("{name}:"))
            .collect();
        lines.push(line.to_owned());
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        check(&packages(&lines))
    }

    #[test]
    fn every_permitted_edge_passes() {
        let lines: Vec<String> =
            PERMITTED.iter().map(|(name, permitted)| format!("{name}: {}", permitted.join(", "))).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(check(&packages(&lines)), Vec::<String>::new());
    }

    #[test]
    fn the_table_itself_points_down() {
        for (at, (name, permitted)) in PERMITTED.iter().enumerate() {
            for below in *permitted {
                let place = PERMITTED.iter().position(|(other, _)| other == below);
                assert!(place.is_some_and(|place| place < at), "{name} -> {below}");
            }
        }
    }

    #[test]
    fn an_edge_upwards_fails() {
        assert_eq!(with("core: wire"), ["core must not depend on wire"]);
        assert_eq!(with("redis: core, consensus"), ["redis must not depend on consensus"]);
        assert_eq!(with("client: build node"), ["client must not depend on node"]);
    }

    #[test]
    fn tests_may_use_the_testbed_and_nothing_else_from_above() {
        assert_eq!(with("consensus: dev testbed"), Vec::<String>::new());
        assert_eq!(with("consensus: testbed"), ["consensus must not depend on testbed"]);
        assert_eq!(with("core: dev storage"), ["core must not depend in its tests on storage"]);
    }

    #[test]
    fn a_published_crate_of_the_same_name_is_not_ours() {
        assert_eq!(with("testbed: redis!"), Vec::<String>::new());
        assert_eq!(with("testbed: redis"), ["testbed must not depend on redis"]);
    }

    #[test]
    fn a_crate_without_a_row_fails() {
        assert_eq!(with("gossip:"), ["gossip has no row in the table of edges"]);
    }

    #[test]
    fn a_row_without_a_crate_fails() {
        let failures = check(&packages(&["core:"]));
        assert_eq!(failures.len(), PERMITTED.len() - 1, "{failures:?}");
    }
}
