//! The services of a node: gRPC on `listen`, HTTP on `http`.
//!
//! Each is a translation between the wire and the committed state, the view or a proposal; none decides anything. Every
//! request is bounded: in size, in time, and in how many there are at once.

mod access;
mod admin;
mod answer;
mod directory;
mod forward;
mod grpc;
mod guests;
mod health;
mod http;
mod refuse;
mod site;
mod watch;

pub(crate) use access::{access_for, cluster_access};
pub(crate) use grpc::serve as serve_grpc;
pub(crate) use health::run as follow_health;
pub(crate) use http::serve as serve_http;

use crate::config::NodeConfig;
use crate::guard::Guards;
use crate::lead::{Board, voters};
use crate::peers::Peers;
use primacy_consensus::Consensus;
use primacy_core::view::View;
use primacy_core::{Moment, NodeId};
use primacy_runtime::watch::Receiver;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Watch streams that a node serves at once.
pub(crate) const WATCHERS_MAX: usize = 1_024;

/// What the services share.
pub(crate) struct Shared {
    pub(crate) me: NodeId,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) consensus: Consensus,
    pub(crate) board: Arc<Board>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) guards: Arc<Guards>,
    pub(crate) watchers: Arc<Semaphore>,
    /// Turns true when the node stops: streams end then.
    pub(crate) stopping: Receiver<bool>,
}

impl Shared {
    /// Reads the leader's view; elsewhere, what this node sees by itself.
    pub(crate) fn with_view<R>(&self, at: Moment, f: impl Fn(&View) -> R) -> R {
        match self.board.read(&f) {
            Some(answer) => answer,
            None => f(&self.board.own_view(voters(&self.consensus), at, &self.consensus)),
        }
    }
}
