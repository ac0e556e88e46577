//! Where third-party crates may be used.
//!
//! The problem: a library that is known everywhere can be replaced nowhere, and the core stays pure only while it
//! has nothing to be impure with. The idea: the libraries that shape a design have a home, written down here.

use anyhow::Result;

use crate::verify::{Check, Report};
use crate::workspace::{Dependency, Package, Workspace};

pub(crate) const CHECK: Check = Check {
    name: "confine",
    remedy: "use the crate of ours that wraps the library, or give it a new home in crates/xtask/src/confine.rs",
    run,
};

/// A rule about the libraries that match `library`: a name, or the beginning of names when it ends in `*`.
struct Rule {
    library: &'static str,
    places: Places,
}

/// Which crates of ours a rule lets use a library.
enum Places {
    /// These and no others; the second list may in tests alone.
    Only(&'static [&'static str], &'static [&'static str]),
    /// All but these.
    NotIn(&'static [&'static str]),
}

const RULES: &[Rule] = &[
    Rule { library: "openraft*", places: Places::Only(&["storage", "consensus"], &[]) },
    Rule { library: "sled", places: Places::Only(&["storage"], &[]) },
    Rule { library: "redis", places: Places::Only(&["redis", "testbed", "bench"], &["client", "cli"]) },
    Rule { library: "tonic*", places: Places::NotIn(&["core", "runtime", "storage", "redis"]) },
];

/// All that the core may depend on outside its tests.
const CORE: &[&str] = &["thiserror"];

fn run(workspace: &Workspace) -> Result<Report> {
    Ok(Report::of(check(&workspace.packages()?)))
}

fn check(packages: &[Package]) -> Vec<String> {
    let third_party = |package: &Package| -> Vec<String> {
        package.dependencies.iter().filter(|d| !d.ours).filter_map(|d| refusal(&package.name, d)).collect()
    };
    packages.iter().flat_map(third_party).collect()
}

fn refusal(package: &str, dependency: &Dependency) -> Option<String> {
    let library = dependency.name.as_str();
    if package == "core" && !dependency.dev && !CORE.contains(&library) {
        return Some(format!("core is pure and must not depend on {library}, only on {}", CORE.join(", ")));
    }
    let rule = RULES.iter().find(|rule| matches(rule.library, library))?;
    match rule.places {
        Places::Only(homes, test_homes) => {
            let at_home = homes.contains(&package) || dependency.dev && test_homes.contains(&package);
            (!at_home)
                .then(|| format!("{package} must not depend on {library}: its home is {}", homes.join(", ")))
        }
        Places::NotIn(barred) => {
            barred.contains(&package).then(|| format!("{package} must not depend on {library}"))
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::packages;

    fn check_lines(lines: &[&str]) -> Vec<String> {
        check(&packages(lines))
    }

    #[test]
    fn libraries_at_home_pass() {
        let lines = [
            "core: thiserror, dev proptest",
            "storage: sled, openraft, openraft-rt-tokio",
            "consensus: openraft, tonic",
            "redis: redis!",
            "client: tonic, tonic-types, dev redis!",
            "cli: dev redis!",
        ];
        assert_eq!(check_lines(&lines), Vec::<String>::new());
    }

    #[test]
    fn libraries_elsewhere_fail() {
        let only = "must not depend on openraft-rt-tokio: its home is storage, consensus";
        assert_eq!(check_lines(&["node: openraft-rt-tokio"]), [format!("node {only}")]);
        assert_eq!(check_lines(&["node: dev sled"]), ["node must not depend on sled: its home is storage"]);
    }

    #[test]
    fn a_library_for_tests_alone_fails_elsewhere() {
        let only = "must not depend on redis: its home is redis, testbed, bench";
        assert_eq!(check_lines(&["redis: redis!", "client: redis!"]), [format!("client {only}")]);
        assert_eq!(check_lines(&["redis: redis!", "cli: build redis!"]), [format!("cli {only}")]);
    }

    #[test]
    fn libraries_barred_from_a_crate_fail() {
        assert_eq!(check_lines(&["storage: tonic-types"]), ["storage must not depend on tonic-types"]);
        assert_eq!(check_lines(&["runtime: dev tonic"]), ["runtime must not depend on tonic"]);
    }

    #[test]
    fn the_core_takes_nothing_but_thiserror() {
        let pure = "core is pure and must not depend on serde, only on thiserror";
        assert_eq!(check_lines(&["core: thiserror, serde"]), [pure]);
        assert_eq!(check_lines(&["core: build serde"]), [pure]);
        assert_eq!(check_lines(&["core: dev sled"]), ["core must not depend on sled: its home is storage"]);
    }
}
