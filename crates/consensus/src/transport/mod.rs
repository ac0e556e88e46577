//! Messages between nodes, whatever carries them.
//!
//! [`Link`] is one direction between two nodes: what a client calls is what the peer's service answers, so a
//! simulation puts the peer's service ([`crate::Consensus::service`]) where production puts a gRPC channel, with its
//! own delays and cuts between.

mod grpc;

pub use grpc::Grpc;

use crate::Peer;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use primacy_wire::v1;
use std::sync::Arc;
use tonic::Status;

/// The answer to one message.
pub type Reply<T> = BoxFuture<'static, Result<T, Status>>;

/// A stream of requests.
pub type Requests<T> = BoxStream<'static, T>;

/// A stream of answers; an error ends it.
pub type Replies<T> = BoxStream<'static, Result<T, Status>>;

/// Ends when the connection does: true when the other side closed it in order, as the kernel of a dead process does.
pub type Line = BoxFuture<'static, bool>;

/// A way to one node. Cheap to call; each call may fail or never answer, and is bounded in time by the caller.
pub trait Link: Send + Sync + 'static {
    /// Pipelined: answers come in the order of the requests.
    fn append(&self, requests: Requests<v1::AppendRequest>) -> Reply<Replies<v1::AppendResponse>>;
    /// A single request.
    fn append_once(&self, request: v1::AppendRequest) -> Reply<v1::AppendResponse>;
    /// Asks for a vote.
    fn vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse>;
    /// Asks whether a vote would be granted.
    fn pre_vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse>;
    /// The head, then the bytes.
    fn install_snapshot(
        &self,
        parts: Requests<v1::InstallSnapshotRequest>,
    ) -> Reply<v1::InstallSnapshotResponse>;
    /// Asks the node to take over.
    fn transfer_leader(&self, request: v1::TransferLeaderRequest) -> Reply<v1::TransferLeaderResponse>;
    /// Who are you?
    fn identify(&self, request: v1::IdentifyRequest) -> Reply<v1::IdentifyResponse>;
}

/// Opens links.
pub trait Transport: Send + Sync + 'static {
    /// A link to `peer`. Opens nothing yet; the peer may be down.
    fn link(&self, peer: &Peer) -> Arc<dyn Link>;

    /// A connection to `peer` on which nothing is said; none when it cannot be opened, or this transport has none.
    fn line(&self, peer: &Peer) -> BoxFuture<'static, Option<Line>> {
        let _ = peer;
        Box::pin(std::future::ready(None))
    }

    /// Whether a new connection to `peer` is refused, which tells a process that is gone from one that is slow. A
    /// transport that cannot tell says no.
    fn nobody_listens(&self, peer: &Peer) -> BoxFuture<'static, bool> {
        let _ = peer;
        Box::pin(std::future::ready(false))
    }
}
