//! Mistakes made on purpose around the consensus that ships are found within a few seeds. A change of what ships changes
//! what a seed does, so a range is searched instead of a seed that is known; `seeds.rs` says that the same code without
//! a mistake is clean.

use primacy_cluster_sim::many::{Span, many};
use primacy_cluster_sim::{Defect, Options};

/// Seeds in which each is to be found.
const SEEDS: u64 = 150;

/// Not found in so many: what it would take is not drawn yet, so it proves nothing.
const NOT_FOUND_YET: [Defect; 1] = [Defect::PromiseBroken];

#[test]
fn each_is_found() {
    let mut missed = Vec::new();
    for defect in Defect::ALL.into_iter().filter(|defect| !NOT_FOUND_YET.contains(defect)) {
        let options = Options { defect: Some(defect), ..Options::default() };
        let span = Span { from: 0, seeds: SEEDS, jobs: 2, violations_max: 1, within: None };
        if many(&span, &options).violations.is_empty() {
            missed.push(defect);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
