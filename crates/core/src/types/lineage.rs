//! Which history a member's data belongs to. Offsets compare only within one lineage: a restarted old primary may
//! report a larger number of another history.

use std::fmt;

/// A point in a replication stream: the id of the history and the offset in bytes within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The replication id, 40 hex digits.
    pub replid: String,
    /// Bytes of the stream up to and including the last one held.
    pub offset_bytes: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.replid.get(..8).unwrap_or(&self.replid), self.offset_bytes)
    }
}

/// The history that a promotion began, committed with its epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lineage {
    /// The process that was promoted; it changes with each restart of the server.
    pub run_id: String,
    /// Where the new history starts: its replication id, and the offset it took over from the old one.
    pub start: Position,
    /// The history it continues, when it has one. A member that holds `previous` up to `start` is not diverged.
    pub previous: Option<String>,
}
