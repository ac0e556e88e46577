//! What this node answers to its peers.
//!
//! Who asks is checked first: the cluster's name, the node that is meant, and the data directories of both. A node
//! whose directory was emptied has forgotten its votes; it must neither be asked nor listened to.

mod append;
mod grpc;
mod snapshot;

pub use grpc::RaftService;

use crate::Halted;
use crate::codec;
use crate::context::Core;
use crate::transport::{Link, Replies, Reply, Requests};
use futures::FutureExt;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{VoteRequest, VoteResponse};
use primacy_core::NodeId;
use primacy_storage::TypeConfig;
use primacy_wire::{WireError, v1};
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use tonic::Status;

/// The largest message between nodes; a batch of entries is far below it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// This node, for its peers.
#[derive(Clone)]
pub(crate) struct Service {
    core: Arc<Core>,
}

fn stopped(error: impl Display) -> Status {
    Status::unavailable(format!("this node has stopped taking part: {error}"))
}

impl Service {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Whether the sender and this node mean each other.
    fn acquaint(&self, header: Option<&v1::RaftHeader>) -> Result<NodeId, Status> {
        let header = header.ok_or_else(|| WireError::missing("header"))?;
        let config = self.core.config();
        if header.from_node == 0 || header.from_store_id == 0 {
            return Err(WireError::new("header", "from_node or from_store_id is 0").into());
        }
        if header.cluster != config.cluster {
            return Err(Status::failed_precondition(format!(
                "this node belongs to cluster {:?}, not {:?}",
                config.cluster, header.cluster
            )));
        }
        if header.to_node != config.node.0 {
            return Err(Status::failed_precondition(format!(
                "this is node {}, and node {} was meant: correct the address of node {}",
                config.node, header.to_node, header.to_node
            )));
        }
        Ok(NodeId(header.from_node))
    }

    /// Lets a peer of the cluster in, and opens this node when the cluster knows it.
    fn admit(&self, header: Option<&v1::RaftHeader>) -> Result<(), Status> {
        let from = self.acquaint(header)?;
        if let Some(why) = self.core.halt_reason() {
            return Err(stopped(why));
        }
        let header = header.cloned().unwrap_or_default();
        if self.core.replica().store_of(from).is_some_and(|known| known != header.from_store_id) {
            return Err(Status::failed_precondition(Halted::KnownElsewhere { node: from }.to_string()));
        }
        if header.to_store_id == self.core.identity.store_id {
            self.core.open();
        } else if header.to_store_id != 0 {
            let why = Halted::KnownElsewhere { node: self.core.node() };
            self.core.halt(why.clone());
            return Err(Status::failed_precondition(why.to_string()));
        }
        if !self.core.is_open() {
            return Err(Status::unavailable(format!(
                "node {} waits until the cluster knows it",
                self.core.node()
            )));
        }
        Ok(())
    }

    fn answer_vote<F>(
        &self,
        request: v1::VoteRequest,
        ask: impl FnOnce(Arc<Core>, VoteRequest<TypeConfig>) -> F + Send + 'static,
    ) -> Reply<v1::VoteResponse>
    where
        F: Future<Output = Result<VoteResponse<TypeConfig>, RaftError<TypeConfig>>> + Send,
    {
        let admitted = self.admit(request.header.as_ref());
        let core = self.core.clone();
        async move {
            admitted?;
            let answer = ask(core, codec::vote_request_from(&request)?).await.map_err(stopped)?;
            Ok(codec::vote_response_to(&answer))
        }
        .boxed()
    }
}

impl Link for Service {
    fn append(&self, requests: Requests<v1::AppendRequest>) -> Reply<Replies<v1::AppendResponse>> {
        append::stream(self.clone(), requests).boxed()
    }

    fn append_once(&self, request: v1::AppendRequest) -> Reply<v1::AppendResponse> {
        append::once(self.clone(), request).boxed()
    }

    fn vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        self.answer_vote(request, |core, mut request| async move {
            // What was promised to a leader is not owed to one that is gone.
            request.leadership_transfer |= core.promised_to_one_gone().await;
            core.raft.vote(request).await
        })
    }

    fn pre_vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        self.answer_vote(request, |core, request| async move { core.raft.pre_vote(request).await })
    }

    fn install_snapshot(
        &self,
        parts: Requests<v1::InstallSnapshotRequest>,
    ) -> Reply<v1::InstallSnapshotResponse> {
        snapshot::receive(self.clone(), parts).boxed()
    }

    fn transfer_leader(&self, request: v1::TransferLeaderRequest) -> Reply<v1::TransferLeaderResponse> {
        let admitted = self.admit(request.header.as_ref());
        let core = self.core.clone();
        async move {
            admitted?;
            let request = codec::transfer_from(&request)?;
            let answer = core.raft.handle_transfer_leader(request).await;
            Ok(codec::transfer_response_to(&answer.map_err(|e: Fatal<TypeConfig>| stopped(e))?))
        }
        .boxed()
    }

    /// Answered also by a node that does not take part yet: that is how nodes find out.
    fn identify(&self, request: v1::IdentifyRequest) -> Reply<v1::IdentifyResponse> {
        let acquainted = self.acquaint(request.header.as_ref());
        let core = self.core.clone();
        async move {
            let from = acquainted?;
            Ok(v1::IdentifyResponse {
                store_id: core.identity.store_id,
                founded: core.knows_leader(),
                registered_store_id: core.replica().store_of(from),
                founding: core.config().founding.iter().map(crate::founding::node_to).collect(),
                leader_gone_term: core.leader_gone().await.unwrap_or(0),
                last_log_index: core.last_log_index(),
            })
        }
        .boxed()
    }
}
