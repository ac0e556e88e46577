//! Runs the scenarios in `tests/scenarios/*.txt`: each reads as the protocol, with what goes in after `$` and what
//! the rules make of it below. `PRIMACY_REWRITE=1` writes what comes out into the files; review it as a diff.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod gates;
mod holder;
mod script;
mod server;
mod words;
mod world;

use std::fs;
use std::path::Path;

fn run(text: &str) -> String {
    let mut world = world::World::new();
    let mut out = String::new();
    for line in text.lines() {
        if let Some(input) = line.strip_prefix("$ ") {
            out.push_str(line);
            out.push('\n');
            for said in script::execute(&mut world, input) {
                out.push_str("  ");
                out.push_str(&said);
                out.push('\n');
            }
        } else if line.starts_with('#') || line.is_empty() {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[test]
fn scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let rewrite = std::env::var_os("PRIMACY_REWRITE").is_some();
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "txt"));
    files.sort();
    assert!(files.len() >= 10, "the scenarios are missing: {}", folder.display());
    let mut wrong = Vec::new();
    for file in files {
        let expected = fs::read_to_string(&file).unwrap();
        let found = run(&expected);
        if found != expected {
            if rewrite {
                fs::write(&file, &found).unwrap();
            } else {
                wrong.push(format!("{}\n{}", file.display(), difference(&expected, &found)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n(PRIMACY_REWRITE=1 accepts what came out)", wrong.join("\n"));
}

fn difference(expected: &str, found: &str) -> String {
    let (e, f): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let first = (0..e.len().max(f.len())).find(|i| e.get(*i) != f.get(*i)).unwrap_or(0);
    let show = |lines: &[&str]| {
        lines.iter().skip(first).take(6).map(|l| format!("    {l}")).collect::<Vec<_>>().join("\n")
    };
    format!("  line {}: expected\n{}\n  found\n{}", first + 1, show(&e), show(&f))
}
