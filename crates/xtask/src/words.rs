//! Words that must not be in the repository.
//!
//! The problem: a wrong word spreads by imitation, and a note to do something later is work that nobody sees.
//! The idea: search for them. On the Redis wire the protocol's own words are right, so the crates that speak it
//! are exempt from the first rule.

use std::path::Path;

use anyhow::Result;

use crate::files::{TextFile, text_files};
use crate::verify::{Check, Report};
use crate::workspace::Workspace;

pub(crate) const CHECK: Check = Check {
    name: "words",
    remedy: "say primary and standby (of members), leader and follower (of nodes); finish the work or describe the \
             limit instead of leaving a mark",
    run,
};

/// Roles under their old names, found anywhere in a word and in any case. Spelt in two parts, so that this file passes.
const ROLES: [&str; 2] = [concat!("mas", "ter"), concat!("sla", "ve")];

/// Where Redis's own words are read and written.
const REDIS_SPOKEN: [&str; 5] =
    ["crates/redis", "crates/testbed", "crates/client/tests", "crates/gate/tests", "tests"];

/// Marks of unfinished work, found as whole words.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

fn run(workspace: &Workspace) -> Result<Report> {
    Ok(Report::of(text_files(&workspace.root)?.iter().flat_map(check).collect()))
}

fn check(file: &TextFile) -> Vec<String> {
    let roles_barred =
        file.is_rust() && !REDIS_SPOKEN.iter().any(|place| file.path.starts_with(Path::new(place)));
    let found_in = |line: &str| {
        let role = ROLES.into_iter().find(|role| roles_barred && line.to_lowercase().contains(role));
        role.or_else(|| {
            line.split(|c: char| !c.is_alphanumeric()).find_map(|word| MARKS.into_iter().find(|m| *m == word))
        })
    };
    let numbered = (1..).zip(file.text.lines());
    numbered
        .filter_map(|(number, line)| {
            found_in(line).map(|word| format!("{}:{number}: \"{word}\"", file.path.display()))
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
    fn clean_text_passes() {
        let text = "// The primary and its standbys.\nlet primary = 1;\n";
        assert_eq!(check_text("crates/core/src/lib.rs", text), Vec::<String>::new());
    }

    #[test]
    fn old_names_of_roles_fail_in_any_case_and_inside_words() {
        let text = format!("fine\nlet is_{0} = {1}Of;\n", ROLES[0], ROLES[1].to_uppercase());
        assert_eq!(
            check_text("crates/node/src/a.rs", &text),
            [format!("crates/node/src/a.rs:2: \"{}\"", ROLES[0])]
        );
        let text = format!("fn {}of() {{}}", ROLES[1].to_uppercase());
        assert_eq!(check_text("crates/core/a.rs", &text), [format!("crates/core/a.rs:1: \"{}\"", ROLES[1])]);
    }

    #[test]
    fn redis_may_be_spoken_where_it_is_spoken_to() {
        for path in ["crates/redis/src/a.rs", "crates/client/tests/a.rs", "tests/e2e/src/a.rs", "README.md"] {
            assert_eq!(check_text(path, ROLES[0]), Vec::<String>::new(), "{path}");
        }
        for path in ["crates/redis_like/src/a.rs", "crates/client/src/a.rs", "crates/node/tests/a.rs"] {
            assert_eq!(check_text(path, ROLES[0]).len(), 1, "{path}");
        }
    }

    #[test]
    fn marks_of_unfinished_work_fail_everywhere() {
        for (number, mark) in (1..).zip(MARKS) {
            let text = format!("{}# {mark}: later\n", "\n".repeat(number - 1));
            assert_eq!(check_text("tests/run.sh", &text), [format!("tests/run.sh:{number}: \"{mark}\"")]);
        }
    }

    #[test]
    fn marks_inside_longer_words_pass() {
        let text = format!("mktemp -d /tmp/primacy.{0}{0}", MARKS[2]);
        assert_eq!(check_text("scripts/test", &text), Vec::<String>::new());
    }
}
