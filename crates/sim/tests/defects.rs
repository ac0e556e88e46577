//! Mistakes made on purpose in the adapters around the rules are found, each by the first seed that is known to find it;
//! and the same seed without the mistake is clean.

use primacy_sim::{Defect, Options, run};

const FOUND_BY: &[(Defect, u64)] = &[
    (Defect::LostFence, 53),
    (Defect::GrantForgotten, 29),
    (Defect::GrantWithoutQuorum, 80),
    (Defect::NewLeaderWaitsForNobody, 56),
    (Defect::NoMargin, 200),
    (Defect::LeaseFromReceipt, 10),
    (Defect::TwoWitnesses, 226),
    (Defect::MinOffByOne, 1),
    (Defect::TermAsEpoch, 1),
    (Defect::NoQuorumLease, 15),
    (Defect::OpensBeforeCommit, 0),
    (Defect::PausedMoves, 17),
    (Defect::StaleOffset, 49),
    (Defect::OffsetsAcrossLineages, 11),
    (Defect::NoDrain, 354),
    (Defect::RescueNotRead, 49),
    (Defect::LossHidden, 37),
    (Defect::BudgetIgnored, 18),
    (Defect::ResetIsDeath, 96),
    (Defect::GateWithoutLease, 82),
    (Defect::GateOpensEarly, 187),
    (Defect::WitnessOutlivesLease, 12),
    (Defect::GateLiesShut, 6),
    (Defect::HolderAcksAhead, 307),
    (Defect::ReplyBeforeBarrier, 177),
    (Defect::BarrierIsWitnessCount, 177),
    (Defect::NotRefusedAtPromotion, 3164),
    (Defect::UnsealedTail, 4474),
];

#[test]
fn each_is_found() {
    let mut missed = Vec::new();
    for (defect, seed) in FOUND_BY {
        let found = |defect| run(*seed, &Options { defect, ..Options::default() }).violation.is_some();
        if !found(Some(*defect)) || found(None) {
            missed.push((defect, seed));
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn a_seed_is_the_same_run_again() {
    let again = || run(7, &Options::default()).hash;
    assert_eq!(again(), again());
}
