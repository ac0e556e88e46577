//! The service as tonic serves it.

use super::Service;
use crate::transport::{Link, Replies};
use futures::{Stream, StreamExt, future};
use primacy_wire::v1;
use primacy_wire::v1::raft_server::Raft;
use tonic::{Request, Response, Status, Streaming};

/// Answers the calls of `primacy.v1.Raft`. Wrapped by [`crate::Consensus::raft_service`].
#[derive(Clone)]
pub struct RaftService(pub(crate) Service);

/// What a client sends until its stream ends or breaks; openraft takes the rest from a new one.
fn until_broken<T: Send + 'static>(stream: Streaming<T>) -> impl Stream<Item = T> + Send + 'static {
    stream.take_while(|item| future::ready(item.is_ok())).filter_map(|item| future::ready(item.ok()))
}

#[tonic::async_trait]
impl Raft for RaftService {
    type AppendStream = Replies<v1::AppendResponse>;

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        self.0.append(until_broken(request.into_inner()).boxed()).await.map(Response::new)
    }

    async fn append_once(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        self.0.append_once(request.into_inner()).await.map(Response::new)
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        self.0.vote(request.into_inner()).await.map(Response::new)
    }

    async fn pre_vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteResponse>, Status> {
        self.0.pre_vote(request.into_inner()).await.map(Response::new)
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::InstallSnapshotRequest>>,
    ) -> Result<Response<v1::InstallSnapshotResponse>, Status> {
        self.0.install_snapshot(until_broken(request.into_inner()).boxed()).await.map(Response::new)
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        self.0.transfer_leader(request.into_inner()).await.map(Response::new)
    }

    async fn identify(
        &self,
        request: Request<v1::IdentifyRequest>,
    ) -> Result<Response<v1::IdentifyResponse>, Status> {
        self.0.identify(request.into_inner()).await.map(Response::new)
    }
}
