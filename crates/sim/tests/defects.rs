//! Mistakes made on purpose in the adapters around the rules are found, each by the first seed that is known to find it;
//! and the same seed without the mistake is clean.

use primacy_sim::{Defect, Options, run};

const FOUND_BY: &[(Defect, u64)] = &[
    (Defect::LostFence, 53),
    (Defect::LeaseAfterIntent, 6),
    (Defect::GrantForgotten, 6),
    (Defect::GrantWithoutQuorum, 37),
    (Defect::NewLeaderWaitsForNobody, 56),
    (Defect::NoMargin, 372),
    (Defect::LeaseFromReceipt, 6),
    (Defect::TwoWitnesses, 274),
    (Defect::MinOffByOne, 1),
    (Defect::TermAsEpoch, 1),
    (Defect::NoQuorumLease, 15),
    (Defect::OpensBeforeCommit, 0),
    (Defect::PausedMoves, 17),
    (Defect::StaleOffset, 49),
    (Defect::OffsetsAcrossLineages, 11),
    (Defect::NoDrain, 354),
    (Defect::RescueCutShort, 165),
    (Defect::RescueNotRead, 6),
    (Defect::LossHidden, 37),
    (Defect::BudgetIgnored, 18),
    (Defect::ResetIsDeath, 96),
    (Defect::NotRefusedAtPromotion, 271),
    (Defect::GateWithoutLease, 82),
    (Defect::GateOpensEarly, 187),
    (Defect::WitnessOutlivesLease, 12),
    (Defect::UnsealedTail, 1372),
    (Defect::HolderAcksAhead, 409),
    (Defect::ReplyBeforeBarrier, 409),
    (Defect::BarrierIsWitnessCount, 409),
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
