//! The daemon: configuration, observers, the leader's loop, gRPC and HTTP services, telemetry.
//!
//! The problem: one process must see every member, agree with the other nodes, act when it leads, and answer everybody
//! at any time. The idea: each of those is a part that knows only the committed state and the board of what was seen;
//! [`Node`] starts them, and ends them so that every primary goes on serving.
//!
//! This crate must not decide: the rules are `primacy_core`'s, the agreement is `primacy_consensus`', what is done to a
//! server is `primacy_redis`'.

pub mod config;
mod guard;
mod lead;
mod node;
mod observe;
mod peers;
mod serve;
pub mod telemetry;

pub use node::{Node, RunError, StartError};
