//! A deployment on this machine: real servers, real nodes, load and a ledger.
//!
//! The problem: what Primacy promises can only be believed after real processes were killed, frozen and restarted
//! under load, and everybody who wants to see that (the demo, the end-to-end tests, the benchmarks) needs the same
//! parts. The idea: each part is a value that owns its process and its directory and cleans up when it is dropped,
//! and the load keeps a ledger from which loss, outage and "two wrote at once" are counted afterwards.
//!
//! This crate must not know how Primacy decides: it starts the `primacy` binary, speaks its files and its command
//! line, and judges by what clients of Redis saw.

mod binary;
pub mod cli;
pub mod coordinator;
pub mod deployment;
pub mod http;
pub mod kafka;
pub mod ledger;
pub mod load;
pub mod ports;
pub mod process;
pub mod redis_address;
pub mod redis_group;
pub mod redis_sentinel;
pub mod redis_server;
pub mod shim;
mod wait;
pub mod wan;
mod workdir;

pub use binary::on_path;
pub use cli::{Cli, CliOutput};
pub use coordinator::{Cluster, ClusterOptions, Node};
pub use deployment::{Deployment, DeploymentOptions, MemberConfig, PrimaryAnswer};
pub use kafka::{Broker, KafkaCluster, KafkaOptions, KafkaVersion};
pub use ledger::Ledger;
pub use load::{Load, LoadOptions, Locate, Target};
pub use process::{Process, ProcessSpec, Signal};
pub use redis_address::{Credentials, RedisAddress};
pub use redis_group::RedisGroup;
pub use redis_sentinel::{RedisSentinel, SentinelOptions};
pub use redis_server::{RedisOptions, RedisServer};
pub use shim::{FaultPlan, Shim};
pub use wait::wait_for;
pub use wan::{Host, Reject, Verdict, Wan, WanLink, WanOptions};
pub use workdir::Workdir;
