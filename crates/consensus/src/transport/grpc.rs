//! Links over gRPC: one HTTP/2 connection a peer, opened when it is first used and again when it broke.

use super::{Line, Link, Replies, Reply, Requests, Transport};
use crate::Peer;
use crate::service::MESSAGE_BYTES_MAX;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use primacy_wire::v1;
use primacy_wire::v1::raft_client::RaftClient;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// How long a connection may take to open.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How often a connection is probed. One that a cut has swallowed is replaced after this and
/// [`KEEPALIVE_WITHIN`], where TCP would repeat itself for minutes.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);

/// How long a probe may take.
const KEEPALIVE_WITHIN: Duration = Duration::from_secs(3);

/// gRPC between nodes.
#[derive(Clone, Debug, Default)]
pub struct Grpc;

impl Transport for Grpc {
    fn link(&self, peer: &Peer) -> Arc<dyn Link> {
        match Endpoint::from_shared(format!("http://{}", peer.address)) {
            Ok(endpoint) => {
                let channel = endpoint
                    .tcp_nodelay(true)
                    .connect_timeout(CONNECT_WITHIN)
                    .http2_keep_alive_interval(KEEPALIVE_EVERY)
                    .keep_alive_timeout(KEEPALIVE_WITHIN)
                    .keep_alive_while_idle(true)
                    .connect_lazy();
                Arc::new(GrpcLink { channel })
            }
            Err(e) => Arc::new(NoLink { reason: format!("{:?} is no address: {e}", peer.address) }),
        }
    }

    fn line(&self, peer: &Peer) -> BoxFuture<'static, Option<Line>> {
        let address = peer.address.clone();
        async move {
            let connected = primacy_runtime::connect(&address, CONNECT_WITHIN).await;
            connected.ok().map(|stream| ended_in_order(stream).boxed())
        }
        .boxed()
    }

    fn nobody_listens(&self, peer: &Peer) -> BoxFuture<'static, bool> {
        let address = peer.address.clone();
        let connected = async move { primacy_runtime::connect(&address, CONNECT_WITHIN).await.map(drop) };
        connected.map(|c| c.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)).boxed()
    }
}

/// Reads until the end: what a server says unasked does not matter.
async fn ended_in_order(mut stream: Box<dyn primacy_runtime::Stream>) -> bool {
    let mut unasked = [0; 64];
    loop {
        match stream.read(&mut unasked).await {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

struct GrpcLink {
    channel: Channel,
}

impl GrpcLink {
    fn client(&self) -> RaftClient<Channel> {
        RaftClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// Calls one method and takes the message out of its envelope.
macro_rules! call {
    ($self:ident, $method:ident, $request:ident) => {{
        let mut client = $self.client();
        let request = Request::new($request);
        async move { client.$method(request).await.map(tonic::Response::into_inner) }.boxed()
    }};
}

impl Link for GrpcLink {
    fn append(&self, requests: Requests<v1::AppendRequest>) -> Reply<Replies<v1::AppendResponse>> {
        let mut client = self.client();
        let request = Request::new(Named(requests));
        async move { Ok(client.append(request).await?.into_inner().boxed()) }.boxed()
    }

    fn append_once(&self, request: v1::AppendRequest) -> Reply<v1::AppendResponse> {
        call!(self, append_once, request)
    }

    fn vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        call!(self, vote, request)
    }

    fn pre_vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        call!(self, pre_vote, request)
    }

    fn install_snapshot(
        &self,
        parts: Requests<v1::InstallSnapshotRequest>,
    ) -> Reply<v1::InstallSnapshotResponse> {
        let parts = Named(parts);
        call!(self, install_snapshot, parts)
    }

    fn transfer_leader(&self, request: v1::TransferLeaderRequest) -> Reply<v1::TransferLeaderResponse> {
        call!(self, transfer_leader, request)
    }

    fn identify(&self, request: v1::IdentifyRequest) -> Reply<v1::IdentifyResponse> {
        call!(self, identify, request)
    }
}

/// A stream by a type of its own: the compiler cannot prove a future `Send` that holds the boxed one itself.
struct Named<T>(Requests<T>);

impl<T> Stream for Named<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_next_unpin(cx)
    }
}

/// To a peer whose address cannot be one.
struct NoLink {
    reason: String,
}

impl NoLink {
    fn refuse<T: Send + 'static>(&self) -> Reply<T> {
        let status = Status::unavailable(self.reason.clone());
        async move { Err(status) }.boxed()
    }
}

impl Link for NoLink {
    fn append(&self, _: Requests<v1::AppendRequest>) -> Reply<Replies<v1::AppendResponse>> {
        self.refuse()
    }

    fn append_once(&self, _: v1::AppendRequest) -> Reply<v1::AppendResponse> {
        self.refuse()
    }

    fn vote(&self, _: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        self.refuse()
    }

    fn pre_vote(&self, _: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        self.refuse()
    }

    fn install_snapshot(
        &self,
        _: Requests<v1::InstallSnapshotRequest>,
    ) -> Reply<v1::InstallSnapshotResponse> {
        self.refuse()
    }

    fn transfer_leader(&self, _: v1::TransferLeaderRequest) -> Reply<v1::TransferLeaderResponse> {
        self.refuse()
    }

    fn identify(&self, _: v1::IdentifyRequest) -> Reply<v1::IdentifyResponse> {
        self.refuse()
    }
}
