//! The types that openraft is instantiated with, once for all of Primacy.

use crate::{Proposal, SeamRuntime};
use openraft::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use primacy_core::{Event, Rejected, Revision};
use std::fmt;

openraft::declare_raft_types!(
    /// The one instantiation of openraft. `leader_id_std` allows one leader a term; openraft's default allows more.
    pub TypeConfig:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = NodeInfo,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = SeamRuntime,
);

/// An entry of the log.
pub type Entry = EntryOf<TypeConfig>;
/// What an entry of the log says.
pub type Payload = openraft::alias::EntryPayloadOf<TypeConfig>;
/// The id of an entry: term and index.
pub type LogId = LogIdOf<TypeConfig>;
/// The id of the entry at `index`, appended by the leader of `term`.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderIdOf::<TypeConfig>::new(term), index }
}

/// A vote.
pub type Vote = VoteOf<TypeConfig>;
/// The members of the Raft cluster.
pub type Membership = openraft::Membership<u64, NodeInfo>;
/// The membership and the entry that set it.
pub type StoredMembership = StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = SnapshotMetaOf<TypeConfig>;

/// A node, as the membership knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its site's name. Plain text, because openraft wants an empty node to exist.
    pub site: String,
    /// Where other nodes reach it, `host:port`.
    pub address: String,
}

impl fmt::Display for NodeInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.site)
    }
}

/// What came of an entry when it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry's index.
    pub revision: Revision,
    /// The events of its command, none for entries of the Raft cluster itself; or why the command was rejected.
    pub outcome: Result<Vec<Event>, Rejected>,
}
