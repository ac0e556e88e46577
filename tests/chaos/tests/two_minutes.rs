//! Two minutes of chaos with a seed that is printed: `PRIMACY_CHAOS_SEED` repeats its schedule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program under test, which another package of this workspace builds.
fn primacy() -> PathBuf {
    let beside = || Path::new(env!("CARGO_BIN_EXE_primacy-chaos")).with_file_name("primacy");
    std::env::var_os("PRIMACY_BINARY").map_or_else(beside, PathBuf::from)
}

#[test]
fn two_minutes_of_chaos_violate_nothing() {
    let primacy = primacy();
    assert!(primacy.is_file(), "{} is missing: cargo build -p primacy-cli --bins", primacy.display());
    let seed =
        std::env::var("PRIMACY_CHAOS_SEED").unwrap_or_else(|_| rand::random_range(1..1_000_000).to_string());
    println!("chaos: seed {seed}; PRIMACY_CHAOS_SEED={seed} repeats it");
    let report = tempfile::Builder::new().prefix("primacy-chaos-report-").tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_primacy-chaos"))
        .args(["--minutes", "2", "--seed", &seed, "--report"])
        .arg(report.path())
        .arg("--binary")
        .arg(primacy)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    let status = output.status;
    // The evidence is kept for whoever looks into it.
    assert!(status.success(), "seed {seed}: {status}; report in {}", report.keep().display());
}
