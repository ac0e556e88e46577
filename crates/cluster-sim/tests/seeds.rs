//! Seeds without a mistake are clean, and a seed is the same run each time.
#![allow(clippy::print_stdout)]

use primacy_cluster_sim::many::{Span, many};
use primacy_cluster_sim::{Options, run};
use std::time::Duration;

/// As many as fit: how many is a matter of the machine, what each finds is not.
#[test]
fn seeds_are_clean() {
    let span =
        Span { from: 0, seeds: 300, jobs: 2, violations_max: 3, within: Some(Duration::from_secs(30)) };
    let summary = many(&span, &Options::default());
    println!("{summary}");
    assert!(
        summary.violations.is_empty(),
        "cargo xtask consensus-sim --seed N --trace: {:?}",
        summary.violations
    );
    assert!(summary.runs > 0);
    assert!(summary.counts.get("acknowledged").is_some_and(|count| *count > 0), "{summary}");
}

#[test]
fn a_seed_is_the_same_run_again() {
    for seed in [1, 2, 3] {
        let told = Options { told: true, ..Options::default() };
        let (one, other) = (run(seed, &told), run(seed, &told));
        assert_eq!(one.transcript, other.transcript, "seed {seed}");
        assert_eq!(
            (one.hash, one.steps, one.took_us),
            (other.hash, other.steps, other.took_us),
            "seed {seed}"
        );
    }
}
