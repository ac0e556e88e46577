//! What a mirror is told to do.

use crate::{ClusterAccess, Patterns, RateLimit};
use std::fmt;
use std::sync::Arc;

/// One mirror: from the active cluster of a group to one standby.
#[derive(Clone, Debug)]
pub struct MirrorPlan {
    /// The group: it names what the mirror keeps on the target.
    pub group: String,
    /// The epoch in which this mirror may write.
    pub epoch: u64,
    /// Where records come from.
    pub source: ClusterAccess,
    /// Where they go.
    pub target: ClusterAccess,
    /// The topics that are copied.
    pub topics: Patterns,
    /// The consumer groups whose offsets are copied.
    pub groups: Patterns,
    /// What is done about offsets that no record has.
    pub gaps: Gaps,
    /// How fast, if there is a limit; shared by all mirrors of a node.
    pub rate: Option<RateLimit>,
    /// Asked before each write to the target.
    pub authority: Authority,
    /// Records that are held between source and target at most.
    pub buffer_bytes_max: usize,
}

impl MirrorPlan {
    /// What a mirror holds unless it is told otherwise.
    pub const BUFFER_BYTES_MAX: usize = 16 << 20;
}

/// What is done about offsets that no record has: those of transaction markers, and of records that compaction removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// Records are copied without them, so that those behind have other offsets, and offsets of groups are translated.
    #[default]
    Translate,
    /// The topic is reported as unaligned and left alone.
    Refuse,
    /// Each is filled with an empty record, which consumers will see.
    Fill,
}

/// Whether this mirror still may write. Whoever decides that may have changed its mind since the mirror was started.
#[derive(Clone)]
pub struct Authority(Arc<dyn Fn() -> bool + Send + Sync>);

impl Authority {
    /// Asks this each time; it must not block.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Authority {
        Authority(Arc::new(holds))
    }

    /// For ever: where nothing else can write.
    pub fn always() -> Authority {
        Authority::new(|| true)
    }

    /// Whether writing is allowed now.
    pub fn holds(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.holds())
    }
}
