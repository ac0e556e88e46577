//! Kafka as Primacy sees it.
//!
//! The problem: a failover of Kafka is worth nothing when the other cluster lacks records or numbers them
//! differently. The idea: a mirror that copies whole record batches from the active cluster to a standby, so that each
//! record has the same offset there, and that checks the offset of every acknowledgement; with it go topics, their
//! configurations and the offsets of consumer groups, and at every moment the lag says what would be lost.
//!
//! This crate must not know which cluster ought to be active, nor who decides that: it is told source and target, and
//! asks before each write whether it still may.

mod access;
mod batch;
mod calls;
pub mod external;
pub mod link;
pub mod mirror;
mod pattern;
pub mod probe;
mod rate;
mod wire;

pub use access::{ClusterAccess, Mechanism, Sasl, Security};
pub use link::{Cluster, LinkError};
pub use mirror::{Authority, Gaps, Mirror, MirrorPlan, MirrorStatus};
pub use pattern::{PatternError, Patterns};
pub use probe::{ClusterAnswer, ClusterProbe};
pub use rate::RateLimit;
