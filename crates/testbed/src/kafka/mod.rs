//! Real Kafka: clusters of brokers, and any of its Java programs.
//!
//! The problem: a mirror is worth what it does to the brokers that people run, and a JVM each takes seconds and
//! memory. The idea: brokers that are controllers too, with a small heap, a simple compiler and classes from the
//! archive that `scripts/setup` made, each a process of ours like any other: killed, frozen, restarted, gone with its
//! owner.

mod broker;
mod cluster;
mod install;

pub use broker::Broker;
pub use cluster::{KafkaCluster, KafkaOptions};
pub use install::{Jvm, KafkaVersion, java};
