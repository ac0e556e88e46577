//! No two members ever accept writes at the same time.
//!
//! The one exemption is here: what a frozen Redis had under way when it went on is the residue of a directly reached
//! Redis that the design names. It is set aside by that rule, and counted.

use primacy_testbed::Ledger;
use primacy_testbed::ledger::Overlap;

use super::Violation;
use crate::record::Pages;

/// What was found, and how many acknowledgements of frozen servers were set aside.
pub(crate) fn check(direct: Ledger, gated: &Ledger, pages: &Pages) -> (Vec<Violation>, u64) {
    let mut all = direct.joined(gated);
    let mut set_aside = 0;
    for (member, woke) in &pages.woken {
        let (rest, count) = all.without_in_flight(member, *woke);
        all = rest;
        set_aside += count;
    }
    let found = all.overlaps().into_iter().map(|overlap: Overlap| {
        let evidence = format!(
            "{} accepted writes at once for {:?}, {} in that time",
            overlap.members.join(" and "),
            overlap.to.saturating_duration_since(overlap.from),
            overlap.acks
        );
        Violation::at("one_writer", overlap.from, evidence)
    });
    (found.collect(), set_aside)
}
