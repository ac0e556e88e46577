//! openraft's network over [`Link`]s.
//!
//! openraft bounds no stream in time, so an answer that does not come within [`stall`](crate::Timings) ends it here.
//! A stream of one request, as a heartbeat is, is sent as a plain call. What a peer did not say is an error, never a
//! granted vote.

use crate::Link;
use crate::codec;
use crate::context::{Identity, peer};
use bytes::Bytes;
use futures::future::Either;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::base::BoxFuture;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use primacy_core::{Moment, NodeId};
use primacy_storage::{NodeInfo, TypeConfig};
use primacy_wire::{WireError, v1};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Code, Status};

/// How many requests may be under way on one stream.
const PIPELINE_MAX: usize = 64;

/// The size of a part of a snapshot, small enough to let heartbeats pass between.
const CHUNK_BYTES: usize = 256 * 1024;

type Failure = RPCError<TypeConfig>;
type AppendResult = Result<StreamAppendResult<TypeConfig>, Failure>;

pub(crate) struct Network(pub(crate) Arc<Identity>);

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Lane;

    async fn new_client(&mut self, target: u64, node: &NodeInfo) -> Lane {
        let to = NodeId(target);
        let link = peer(target, node).map(|peer| self.0.link(&peer));
        Lane { identity: self.0.clone(), to, link }
    }
}

/// One of openraft's uses of the link to a peer; all of them share the link.
pub(crate) struct Lane {
    identity: Arc<Identity>,
    to: NodeId,
    /// None only for a membership that nothing of ours writes.
    link: Option<Arc<dyn Link>>,
}

impl Lane {
    fn link(&self) -> Result<Arc<dyn Link>, Failure> {
        self.link.clone().ok_or_else(|| failure(&Status::unavailable("the membership has no usable address")))
    }

    fn header(&self) -> v1::RaftHeader {
        self.identity.header(self.to)
    }

    fn late(&self, action: RPCTypes, timeout: Duration) -> Failure {
        RPCError::Timeout(Timeout { action, id: self.identity.node().0, target: self.to.0, timeout })
    }

    async fn call<T>(
        &self,
        action: RPCTypes,
        within: Duration,
        reply: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Failure> {
        match primacy_runtime::timeout(within, reply).await {
            Ok(answer) => answer.map_err(|status| failure(&status)),
            Err(_) => Err(self.late(action, within)),
        }
    }

    fn message(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
        header: Option<v1::RaftHeader>,
    ) -> v1::AppendRequest {
        let now = primacy_runtime::now();
        let knowledge = self.identity.knowledge(request.vote.leader_id.term, now);
        codec::append_to(request, header, knowledge, self.identity.heard(self.to), now)
    }

    fn answered(&self, answer: v1::AppendResponse) -> AppendResult {
        self.identity.hear(self.to, answer.time);
        codec::append_response_from(answer).map_err(|e| nonsense(&e))
    }

    /// The same way for another owner.
    fn twin(&self) -> Self {
        Self { identity: self.identity.clone(), to: self.to, link: self.link.clone() }
    }
}

/// A peer that cannot be reached, or does not take part yet, is left alone for a moment.
fn failure(status: &Status) -> Failure {
    match status.code() {
        Code::Unavailable | Code::FailedPrecondition | Code::Unknown | Code::Cancelled => {
            RPCError::Unreachable(Unreachable::from_string(describe(status)))
        }
        _ => RPCError::Network(NetworkError::from_string(describe(status))),
    }
}

fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn nonsense(error: &WireError) -> Failure {
    RPCError::Network(NetworkError::from_string(format!("the answer makes no sense: {error}")))
}

impl RaftNetworkV2<TypeConfig> for Lane {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failure> {
        Ok(append_once(&self.twin(), &request, option.hard_ttl()).await?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendResult>, Failure>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        // Nothing is awaited before the stream is handed out: openraft can leave a stream, but not this call.
        let answers = futures::stream::once(open_append(self.twin(), input, option.hard_ttl())).flatten();
        async move { Ok(answers.boxed() as BoxStream<'s, AppendResult>) }.boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        let reply = self.link()?.vote(codec::vote_request_to(&request, self.header()));
        let answer = self.call(RPCTypes::Vote, option.hard_ttl(), reply).await?;
        codec::vote_response_from(answer).map_err(|e| nonsense(&e))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        let reply = self.link()?.pre_vote(codec::vote_request_to(&request, self.header()));
        let answer = self.call(RPCTypes::Vote, option.hard_ttl(), reply).await?;
        codec::vote_response_from(answer).map_err(|e| nonsense(&e))
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Bytes>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let head = v1::SnapshotHead {
            header: Some(self.header()),
            vote: Some(codec::vote_to(&vote)),
            meta: Some(codec::meta_to(&snapshot.meta)),
            size_bytes: snapshot.snapshot.len() as u64,
            crc32: crc32fast::hash(&snapshot.snapshot),
        };
        let reply = self.link()?.install_snapshot(snapshot_parts(head, snapshot.snapshot));
        let sent = self.call(RPCTypes::InstallSnapshot, option.hard_ttl(), reply);
        futures::pin_mut!(cancel, sent);
        match futures::future::select(cancel, sent).await {
            Either::Left((closed, _)) => Err(closed.into()),
            Either::Right((answer, _)) => {
                let vote = codec::vote_from(answer?.vote, "vote").map_err(|e| nonsense(&e))?;
                Ok(SnapshotResponse::new(vote))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failure> {
        let reply = self.link()?.transfer_leader(codec::transfer_to(&request, self.header()));
        let answer = self.call(RPCTypes::TransferLeader, option.hard_ttl(), reply).await?;
        codec::transfer_response_from(answer).map_err(|e| nonsense(&e))
    }
}

/// The head, then the bytes.
fn snapshot_parts(head: v1::SnapshotHead, data: Bytes) -> BoxStream<'static, v1::InstallSnapshotRequest> {
    use v1::install_snapshot_request::Part;
    let message = |part| v1::InstallSnapshotRequest { part: Some(part) };
    let chunks = (0..data.len().div_ceil(CHUNK_BYTES)).map(move |i| {
        let end = data.len().min((i + 1) * CHUNK_BYTES);
        Part::Chunk(data.slice(i * CHUNK_BYTES..end))
    });
    futures::stream::iter(std::iter::once(Part::Head(head)).chain(chunks).map(message)).boxed()
}

async fn append_once(
    lane: &Lane,
    request: &AppendEntriesRequest<TypeConfig>,
    hard_ttl: Duration,
) -> AppendResult {
    // Entries must reach a disk, which may take longer than a heartbeat is given.
    let stall = lane.identity.config.timings.stall();
    let within = if request.entries.is_empty() { hard_ttl } else { stall };
    let reply = lane.link()?.append_once(lane.message(request, Some(lane.header())));
    let answer = lane.call(RPCTypes::AppendEntries, within, reply).await?;
    lane.answered(answer)
}

/// A plain call for a single request, else a stream.
async fn open_append<S>(lane: Lane, mut input: S, hard_ttl: Duration) -> BoxStream<'static, AppendResult>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let Some(first) = input.next().await else {
        return futures::stream::empty().boxed();
    };
    let second = match input.next().now_or_never() {
        Some(None) => {
            let only = append_once(&lane, &first, hard_ttl).await;
            return futures::stream::once(async move { only }).boxed();
        }
        Some(second) => second,
        None => None,
    };
    match Pipeline::open(lane, input, first, second).await {
        Ok(pipeline) => futures::stream::unfold(Some(pipeline), |pipeline| async move {
            let mut pipeline = pipeline?;
            let answer = pipeline.next().await?;
            let goes_on = matches!(answer, Ok(Ok(_)));
            Some((answer, goes_on.then_some(pipeline)))
        })
        .boxed(),
        Err(e) => futures::stream::once(async move { Err(e) }).boxed(),
    }
}

/// Requests on their way, and their answers. It owns the source of requests, so that dropping it leaves none behind
/// in the connection.
struct Pipeline<S> {
    lane: Lane,
    input: Option<S>,
    requests: mpsc::UnboundedSender<v1::AppendRequest>,
    answers: BoxStream<'static, Result<v1::AppendResponse, Status>>,
    /// When each unanswered request was sent.
    unanswered: VecDeque<Moment>,
}

impl<S> Pipeline<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    async fn open(
        lane: Lane,
        input: S,
        first: AppendEntriesRequest<TypeConfig>,
        second: Option<AppendEntriesRequest<TypeConfig>>,
    ) -> Result<Self, Failure> {
        let (requests, mut queue) = mpsc::unbounded_channel();
        let mut unanswered = VecDeque::new();
        let header = Some(lane.header());
        for (request, header) in [(Some(first), header), (second, None)] {
            if let Some(request) = request {
                // The receiver is held below.
                let _ = requests.send(lane.message(&request, header));
                unanswered.push_back(primacy_runtime::now());
            }
        }
        let queue = futures::stream::poll_fn(move |cx| queue.poll_recv(cx)).boxed();
        let reply = lane.link()?.append(queue);
        let stall = lane.identity.config.timings.stall();
        let answers = lane.call(RPCTypes::AppendEntries, stall, reply).await?;
        Ok(Self { lane, input: Some(input), requests, answers, unanswered })
    }

    async fn next(&mut self) -> Option<AppendResult> {
        let stall = self.lane.identity.config.timings.stall();
        loop {
            if self.input.is_none() && self.unanswered.is_empty() {
                return None;
            }
            let deadline = self.unanswered.front().map(|sent| sent.after(stall));
            let room = self.unanswered.len() < PIPELINE_MAX;
            let request = async {
                match &mut self.input {
                    Some(input) if room => input.next().await,
                    _ => std::future::pending().await,
                }
            };
            let limit = async {
                match deadline {
                    Some(at) => primacy_runtime::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = self.answers.next() => {
                    self.unanswered.pop_front();
                    return Some(match answer? {
                        Ok(answer) => self.lane.answered(answer),
                        Err(status) => Err(failure(&status)),
                    });
                }
                request = request => match request {
                    Some(request) => {
                        if self.requests.send(self.lane.message(&request, None)).is_err() {
                            return Some(Err(failure(&Status::unavailable("the connection is gone"))));
                        }
                        self.unanswered.push_back(primacy_runtime::now());
                    }
                    None => self.input = None,
                },
                () = limit => return Some(Err(self.lane.late(RPCTypes::AppendEntries, stall))),
            }
        }
    }
}
