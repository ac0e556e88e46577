//! Small worlds, every order of events: nothing is found in them, and a mistake is. `cargo xtask sim --exhaustive` goes
//! further.

use primacy_sim::exhaustive::{Bounds, Mistake, search};

const SMALL: Bounds =
    Bounds { members: 2, faults: 1, writes: 1, steps: 4, states_max: 1_000_000, mistake: None };

#[test]
fn nothing_is_found() {
    let report = search(&SMALL);
    assert!(report.found.is_none() && report.complete, "{report}");
    assert!(report.states > 10_000, "it hardly moves: {report}");
}

#[test]
fn mistakes_are_found() {
    for (mistake, faults, steps) in
        [(Mistake::LostFence, 1, 6), (Mistake::NoDrain, 2, 6), (Mistake::NoWaiting, 1, 10)]
    {
        let report = search(&Bounds { faults, steps, mistake: Some(mistake), ..SMALL });
        assert!(report.found.is_some(), "{mistake:?} is not found: {report}");
    }
}
