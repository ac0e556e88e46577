//! The operator's requests, typed.

use crate::call::{Nature, answer};
use crate::endpoint::Endpoint;
use crate::error::Failed;
use crate::pool::Pool;
use crate::{ClientError, v1};
use futures::{Stream, StreamExt, stream};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use v1::admin_client::AdminClient;

/// The operator's requests. Each goes to the leader, wherever it is; what can be repeated safely is, until the
/// client's deadline.
#[derive(Clone, Debug)]
pub struct Admin {
    pool: Arc<Pool>,
}

type Node = AdminClient<Channel>;

/// A request, how it may be repeated, and its answer.
macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $answer:ident, $nature:ident, $what:literal;)+) => {
        impl Admin {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// A refusal of the cluster, or that it could not be reached: see [`ClientError`].
                pub async fn $name(&self, request: v1::$request) -> Result<v1::$answer, ClientError> {
                    let ask = |mut node: Node, request| async move { node.$name(request).await };
                    self.unary(Nature::$nature, $what, request, ask).await
                }
            )+
        }
    };
}

unary! {
    /// Makes the replicated groups equal to the given ones. Problems are part of the answer.
    apply_groups(ApplyGroupsRequest) -> ApplyGroupsResponse, Repeatable, "apply";
    /// Stops automatic action for a group.
    pause(PauseRequest) -> RevisionResponse, Repeatable, "pause";
    /// Lets automatic action go on.
    resume(ResumeRequest) -> RevisionResponse, Repeatable, "resume";
    /// The transitions of a group, oldest first.
    history(HistoryRequest) -> HistoryResponse, Read, "history";
    /// Adds a node as learner.
    add_node(AddNodeRequest) -> ClusterStatusResponse, Once, "cluster add";
    /// Makes a learner a voter.
    promote_node(PromoteNodeRequest) -> ClusterStatusResponse, Once, "cluster promote";
    /// Removes a node for ever.
    remove_node(RemoveNodeRequest) -> ClusterStatusResponse, Once, "cluster remove";
    /// Hands leadership over.
    transfer_leadership(TransferLeadershipRequest) -> ClusterStatusResponse, Once, "cluster transfer";
    /// Takes a snapshot on the node that answers.
    snapshot(SnapshotRequest) -> SnapshotResponse, Once, "cluster snapshot";
}

impl Admin {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    /// A planned change of primary. Returns with the first news; a refused dry run is news, not an error.
    ///
    /// The deadline is that of the first news: how long to wait for the rest is the caller's choice.
    ///
    /// # Errors
    /// Before the first news as every request; after it an error ends the stream, as
    /// [`ClientError::TimedOut`] with its outcome unknown where the connection broke.
    pub async fn switchover(
        &self,
        request: v1::SwitchoverRequest,
    ) -> Result<impl Stream<Item = Result<v1::TransitionProgress, ClientError>> + Send + 'static, ClientError>
    {
        let nature = of_transition(request.dry_run);
        let ask = |mut node: Node, request| async move { node.switchover(request).await };
        self.progress(nature, "switchover", request, ask).await
    }

    /// An unplanned change of primary, by hand. Otherwise as [`Admin::switchover`].
    ///
    /// # Errors
    /// As [`Admin::switchover`].
    pub async fn failover(
        &self,
        request: v1::FailoverRequest,
    ) -> Result<impl Stream<Item = Result<v1::TransitionProgress, ClientError>> + Send + 'static, ClientError>
    {
        let nature = of_transition(request.dry_run);
        let ask = |mut node: Node, request| async move { node.failover(request).await };
        self.progress(nature, "failover", request, ask).await
    }

    /// Nodes, groups and members, with what is seen of them.
    ///
    /// # Errors
    /// A refusal of the cluster, or that it could not be reached: see [`ClientError`].
    pub async fn status(&self, request: v1::StatusRequest) -> Result<v1::StatusResponse, ClientError> {
        let ask = |mut node: Node, request| async move { node.status(request).await };
        let led = |answer: &v1::StatusResponse| answer.cluster.as_ref().is_some_and(|c| c.leader.is_some());
        self.best_informed("status", request, ask, led).await
    }

    /// The coordinator nodes alone.
    ///
    /// # Errors
    /// A refusal of the cluster, or that it could not be reached: see [`ClientError`].
    pub async fn cluster_status(
        &self,
        request: v1::ClusterStatusRequest,
    ) -> Result<v1::ClusterStatusResponse, ClientError> {
        let ask = |mut node: Node, request| async move { node.cluster_status(request).await };
        self.best_informed("cluster status", request, ask, |answer| answer.leader.is_some()).await
    }

    /// The answer of a node that knows a leader, for that one speaks for the cluster; what a node that knows none says
    /// counts only once no other knows more: it may be cut off, or was removed and never heard of it.
    async fn best_informed<Q, A, F, Fut>(
        &self,
        what: &str,
        request: Q,
        ask: F,
        led: impl Fn(&A) -> bool,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Fn(Node, Q) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let leaderless: Mutex<BTreeSet<String>> = Mutex::default();
        let (request, ask, led, leaderless) = (&request, &ask, &led, &leaderless);
        let ask = |endpoint: Arc<Endpoint>| async move {
            let said = answer(ask(AdminClient::new(endpoint.channel()?), request.clone()).await)?;
            let mut before = leaderless.lock().unwrap_or_else(PoisonError::into_inner);
            // Asked a second time, all the others were asked as well.
            if led(&said) || !before.insert(endpoint.address().to_owned()) {
                return Ok(said);
            }
            Err(Failed::Later(format!("{} knows no leader", endpoint.address())))
        };
        self.pool.call(Nature::Read, what, ask).await
    }

    async fn unary<Q, A, F, Fut>(
        &self,
        nature: Nature,
        what: &str,
        request: Q,
        ask: F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Fn(Node, Q) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        self.aim(nature).await?;
        let (request, ask) = (&request, &ask);
        let ask = |endpoint: Arc<Endpoint>| async move {
            answer(ask(AdminClient::new(endpoint.channel()?), request.clone()).await)
        };
        self.pool.call(nature, what, ask).await
    }

    async fn progress<Q, F, Fut>(
        &self,
        nature: Nature,
        what: &str,
        request: Q,
        ask: F,
    ) -> Result<
        impl Stream<Item = Result<v1::TransitionProgress, ClientError>> + Send + use<Q, F, Fut>,
        ClientError,
    >
    where
        Q: Clone,
        F: Fn(Node, Q) -> Fut,
        Fut: Future<Output = Result<Response<Streaming<v1::TransitionProgress>>, Status>>,
    {
        self.aim(nature).await?;
        let (request, ask) = (&request, &ask);
        let ask = |endpoint: Arc<Endpoint>| async move {
            let mut news = answer(ask(AdminClient::new(endpoint.channel()?), request.clone()).await)?;
            let first = news.message().await?;
            Ok((first, news))
        };
        let (first, rest) = self.pool.call(nature, what, ask).await?;
        let rest = stream::unfold(Some(rest), |rest| async move {
            let mut rest = rest?;
            match rest.message().await.transpose()? {
                Ok(news) => Some((Ok(news), Some(rest))),
                Err(status) => Some((Err(Failed::from(status).into()), None)),
            }
        });
        Ok(stream::iter(first.map(Ok)).chain(rest))
    }

    /// What must not be repeated goes to the leader at the first attempt: a node that hangs would leave its outcome
    /// unknown.
    async fn aim(&self, nature: Nature) -> Result<(), ClientError> {
        match nature {
            Nature::Read | Nature::Repeatable => return Ok(()),
            Nature::Once => {}
        }
        let status = self.cluster_status(v1::ClusterStatusRequest {}).await?;
        if let Some(leader) = status.leader.and_then(|leader| self.pool.known(&leader.address)) {
            self.pool.prefer(&leader);
        }
        Ok(())
    }
}

fn of_transition(dry_run: bool) -> Nature {
    if dry_run { Nature::Read } else { Nature::Once }
}
