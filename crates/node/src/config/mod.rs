//! The files that an operator writes: `node.toml` for one node, `groups.toml` for the cluster.
//!
//! The problem: a setting that is misspelt, ignored or contradictory shows up as an outage months later. The idea:
//! every key is read once by the component that owns it, everything wrong is listed at once with its remedy, and what
//! this version cannot do is refused, so nothing looks accepted and does nothing. This module opens no socket.

mod credentials;
mod groups;
mod kafka;
mod node;
mod problem;
mod section;
mod timings;

pub use credentials::{ByGroup, Credentials, RedisAccess, Secret};
pub use groups::GroupsFile;
pub(crate) use groups::problem_of;
pub use kafka::KafkaAccess;
pub use node::{ClusterSection, GateConfig, NodeConfig, NodeSection, Peer};
pub use problem::{Problem, Problems};
pub use timings::{Profile, Timings};

#[cfg(test)]
mod tests;
