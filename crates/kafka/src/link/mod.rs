//! Connections to the brokers of one cluster, and who leads what there.

mod cluster;
mod connection;
mod dial;
mod error;
mod guarded;
mod scram;
mod topology;

pub use cluster::{Cluster, Coordinating, Lane};
pub use connection::Connection;
pub use error::LinkError;
pub use topology::{Broker, Partition, Topic, Topology, Wanted};
