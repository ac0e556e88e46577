//! The Raft log, the votes and the snapshots of one node, durable.
//!
//! The problem: what this node has acknowledged must be there after any crash, and a log that was damaged must never
//! pass for a whole one. The idea: openraft's storage traits on sled, with an fdatasync before each acknowledgement;
//! entries chained by checksum to one state record written with them; a watermark beside the database that says how
//! far was acknowledged; and a check on a copy before the database itself is opened, because sled repairs what it
//! takes for a torn tail by cutting it off. What is below is exchanged in simulations: [`Disk`].
//!
//! This crate must not know what commands mean: it keeps them as bytes. [`open`] is the way in.

mod disk;
mod engine;
mod error;
mod files;
mod log;
mod open;
mod proposal;
mod record;
mod seam;
mod snapshot;
mod type_config;

pub use disk::{Disk, DiskReader, Found, Mounted, SnapshotDisk, Wait, open_on};
pub use error::StorageError;
pub use log::{LogReader, LogStore};
pub use open::{Opened, open};
pub use proposal::{EncodedCommand, Proposal};
pub use seam::{SeamInstant, SeamRng, SeamRuntime, SeamWatch, SeamWatchReceiver, SeamWatchSender};
pub use snapshot::SnapshotStore;
pub use type_config::{
    Applied, Entry, LogId, Membership, NodeInfo, Payload, SnapshotMeta, StoredMembership, TypeConfig, Vote,
    log_id,
};
