//! Several nodes agree on one sequence of commands, and each knows how far it may trust itself.
//!
//! The problem: a decision must survive the node that took it, and a node that was cut off or frozen must not go on
//! deciding. The idea: Raft. A command is proposed to the leader and applied by all nodes in the same order to
//! [`primacy_core::State`]; what a node may claim about the present is a question to [`Consensus`]:
//! [`linearizable`](Consensus::linearizable) asks a quorum, [`lease`](Consensus::lease) and
//! [`has_authority`](Consensus::has_authority) use the quorum's last answer, [`staleness`](Consensus::staleness) says
//! how old the local copy may be.
//!
//! [`Transport`] is the seam to the network: gRPC over one channel a peer in production, memory in a simulation. Time
//! and tasks come from `primacy_runtime` alone. No type of openraft leaves this crate.
//!
//! This crate must not know what the commands mean, nor Redis, nor the services of the node.

mod authority;
mod codec;
mod config;
mod consensus;
mod context;
mod echo;
mod error;
mod founding;
mod leadership;
mod machine;
mod membership;
mod network;
mod propose;
mod reads;
mod service;
mod succession;
mod transfer;
mod transport;
mod upkeep;

pub use config::{Config, Peer, Timings};
pub use consensus::Consensus;
pub use error::{ChangeError, Halted, LeaderHint, ProposeError, ReadError, StartError};
pub use leadership::LeadershipView;
pub use membership::{Member, Membership};
pub use propose::Committed;
pub use service::RaftService;
pub use transport::{Grpc, Line, Link, Replies, Reply, Requests, Transport};
