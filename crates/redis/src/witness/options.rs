//! What a witness is told, and what it tells.

use primacy_core::view::LinkEnd;
use primacy_core::{Address, GroupName, Lineage, MemberName, Moment};

/// The primary of one epoch, and how to be its replica.
#[derive(Clone, Debug)]
pub struct WitnessOptions {
    /// The group.
    pub group: GroupName,
    /// The primary.
    pub member: MemberName,
    /// Where it is.
    pub address: Address,
    /// Host and port under which the primary lists us, so that a witness is told from a replica.
    pub announce: (String, u16),
    /// How much of the stream is kept.
    pub tail_max_bytes: u64,
    /// The history that was committed with its promotion. Another process is another primary and gets no witness.
    pub lineage: Lineage,
    /// The end of the lease, until it is renewed by [`super::Witness::keep_until`].
    pub until: Moment,
}

/// What a witness has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessStatus {
    /// The primary streams to us, and our acknowledgements flow.
    pub attached: bool,
    /// The history of the tail; none before there is one.
    pub replid: Option<String>,
    /// The process that answered last; it may be one that was refused.
    pub run_id: Option<String>,
    /// The offset before the first byte of the tail.
    pub start_bytes: u64,
    /// The offset of its last byte.
    pub end_bytes: u64,
    /// How the last stream ended; none while one is open, or if there never was one.
    pub ended: Option<LinkEnd>,
    /// Closed by us.
    pub closed: bool,
    /// The tail takes nothing more.
    pub sealed: bool,
    /// Full copies that the primary sent and that were thrown away.
    pub copies: u64,
    /// In words: what it does, or what stands in the way.
    pub detail: String,
}
