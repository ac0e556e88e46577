//! The fence quorum: who keeps a primary open.

use super::MemberName;
use std::collections::BTreeSet;

/// A primary accepts writes only while `min_replicas` of those that it counts are attached. It counts its witness and
/// the members of this set; it refuses every other member. So it is shut once fewer than `min_replicas` of them can
/// still be attached.
///
/// The committed number is never above the one in force: it is lowered before it is set, and raised after it was read
/// back. A member joins the set before the primary admits it, and leaves it after the primary refused it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FenceQuorum {
    /// `min-replicas-to-write` of the primary. With 0 its silence proves nothing.
    pub min_replicas: u64,
    /// The members that the primary admits as replicas.
    pub replicas: BTreeSet<MemberName>,
}

impl FenceQuorum {
    /// The number that `replicas` members and, with `witness`, one more support: one where a single member keeps the
    /// primary open, else a majority.
    pub fn wanted(replicas: usize, witness: bool) -> u64 {
        match replicas {
            0 => 0,
            1 => 1,
            n => {
                let all = n as u64 + u64::from(witness);
                all / 2 + 1
            }
        }
    }

    /// What a fresh primary begins with, before anybody is attached: the first one to attach opens it.
    pub fn at_first(replicas: BTreeSet<MemberName>, witness: bool) -> FenceQuorum {
        let min_replicas = u64::from(witness || !replicas.is_empty());
        FenceQuorum { min_replicas, replicas }
    }
}
