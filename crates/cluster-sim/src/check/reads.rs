//! A read that is called linearizable sees all that anyone could know of when it was asked for.

use super::Checker;

/// How a read was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A quorum was asked.
    Quorum,
    /// By the leader's lease.
    Lease,
}

impl Checker {
    /// A read at `node`, asked for when `floor` changes were applied somewhere, was allowed and saw `saw` of them.
    pub(crate) fn read(&mut self, now_us: u64, node: u64, kind: Kind, floor: usize, saw: usize) {
        self.count(match kind {
            Kind::Quorum => "quorum_reads",
            Kind::Lease => "lease_reads",
        });
        if saw < floor {
            let text = format!(
                "node {node} ({kind:?}) saw {saw} changes, and {floor} were applied before it was asked"
            );
            self.violate("reads", now_us, text);
        }
    }
}
