//! `primacy.v1.Admin`: the operator's side. What changes anything is done by the leader; any node takes the request and
//! passes it on once.

mod apply;
mod diff;
mod members;
mod nodes;
mod status;
mod transition;

use super::forward::{Route, UNARY_WITHIN};
use super::{Shared, refuse};
use futures::StreamExt;
use futures::stream::BoxStream;
use primacy_core::{Command, GroupName, NodeId, SiteName, State};
use primacy_runtime::wall;
use primacy_wire::v1::admin_client::AdminClient;
use primacy_wire::v1::admin_server::Admin;
use primacy_wire::{Refusal, v1};
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// The service.
pub(crate) struct AdminService(pub(crate) Arc<Shared>);

type Progress = BoxStream<'static, Result<v1::TransitionProgress, Status>>;

/// Answers here when this node leads, else asks the leader for the same method.
macro_rules! at_leader {
    ($self:ident, $request:ident, $method:ident, $here:expr) => {{
        let (metadata, _, message) = $request.into_parts();
        match $self.0.route(&metadata)? {
            Route::Leader(channel) => {
                let call =
                    |mut client: AdminClient<Channel>, request| async move { client.$method(request).await };
                $self.0.ask_leader(channel, &metadata, message, call).await
            }
            Route::Here => {
                let within = refuse::deadline(&metadata, UNARY_WITHIN);
                let answer = $here(message, within).await;
                answer.map(Response::new)
            }
        }
    }};
}

/// The same for streams of progress.
macro_rules! streamed_at_leader {
    ($self:ident, $request:ident, $method:ident, $here:expr) => {{
        let (metadata, _, message) = $request.into_parts();
        match $self.0.route(&metadata)? {
            Route::Leader(channel) => {
                let call =
                    |mut client: AdminClient<Channel>, request| async move { client.$method(request).await };
                let answer = $self.0.ask_leader(channel, &metadata, message, call).await?;
                let passed_on = answer.into_inner().map(|item| item.map_err(super::forward::named));
                Ok(Response::new(passed_on.boxed()))
            }
            Route::Here => {
                let stream: Progress = $here(message)?;
                Ok(Response::new(stream))
            }
        }
    }};
}

#[tonic::async_trait]
impl Admin for AdminService {
    type SwitchoverStream = Progress;
    type FailoverStream = Progress;

    async fn apply_groups(
        &self,
        request: Request<v1::ApplyGroupsRequest>,
    ) -> Result<Response<v1::ApplyGroupsResponse>, Status> {
        at_leader!(self, request, apply_groups, |message, within| self.0.apply_groups(message, within))
    }

    async fn switchover(
        &self,
        request: Request<v1::SwitchoverRequest>,
    ) -> Result<Response<Self::SwitchoverStream>, Status> {
        streamed_at_leader!(self, request, switchover, |message| transition::switchover(&self.0, message))
    }

    async fn failover(
        &self,
        request: Request<v1::FailoverRequest>,
    ) -> Result<Response<Self::FailoverStream>, Status> {
        streamed_at_leader!(self, request, failover, |message| transition::failover(&self.0, message))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseRequest>,
    ) -> Result<Response<v1::RevisionResponse>, Status> {
        at_leader!(self, request, pause, async |message: v1::PauseRequest, within| {
            let group: GroupName = refuse::name(&message.group, "group")?;
            let command =
                Command::Pause { group, by: message.requested_by, reason: message.reason, at: wall() };
            self.0.change(command, within).await
        })
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::RevisionResponse>, Status> {
        at_leader!(self, request, resume, async |message: v1::ResumeRequest, within| {
            let group: GroupName = refuse::name(&message.group, "group")?;
            self.0.change(Command::Resume { group, by: message.requested_by, at: wall() }, within).await
        })
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        at_leader!(self, request, history, async |message: v1::HistoryRequest, within| {
            let group: GroupName = refuse::name(&message.group, "group")?;
            self.0.consensus.linearizable(within).await.map_err(refuse::read)?;
            let found = self.0.consensus.read(|state| history(state, &group, message.last as usize));
            found.ok_or_else(|| refuse::unknown_group(&group).into())
        })
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let call = |mut client: AdminClient<Channel>, request| async move { client.status(request).await };
        if let Some(answer) = self.0.ask_leader_first(&metadata, message.clone(), call).await {
            return answer;
        }
        // Without a leader this node says what it knows and sees by itself, and that there is no leader.
        self.0.belongs()?;
        let group = message.group.map(|g| refuse::name::<GroupName>(&g, "group")).transpose()?;
        Ok(Response::new(self.0.status(group.as_ref())?))
    }

    async fn cluster_status(
        &self,
        request: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let call =
            |mut client: AdminClient<Channel>, request| async move { client.cluster_status(request).await };
        if let Some(answer) = self.0.ask_leader_first(&metadata, message, call).await {
            return answer;
        }
        self.0.belongs()?;
        Ok(Response::new(self.0.cluster_status()))
    }

    async fn add_node(
        &self,
        request: Request<v1::AddNodeRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        at_leader!(self, request, add_node, async |message: v1::AddNodeRequest, within| {
            let site: SiteName = refuse::name(&message.site, "site")?;
            self.0.add_node(NodeId(message.id), site, message.address, within).await
        })
    }

    async fn promote_node(
        &self,
        request: Request<v1::PromoteNodeRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        at_leader!(self, request, promote_node, async |message: v1::PromoteNodeRequest, within| {
            self.0.promote_node(NodeId(message.id), within).await
        })
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        at_leader!(self, request, remove_node, async |message: v1::RemoveNodeRequest, within| {
            self.0.remove_node(NodeId(message.id), within).await
        })
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        at_leader!(
            self,
            request,
            transfer_leadership,
            async |message: v1::TransferLeadershipRequest, within| {
                self.0.transfer(message.to.map(NodeId), within).await
            }
        )
    }

    async fn snapshot(
        &self,
        request: Request<v1::SnapshotRequest>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        let within = refuse::deadline(request.metadata(), UNARY_WITHIN);
        Ok(Response::new(self.0.snapshot(within).await?))
    }
}

impl Shared {
    /// A node that was removed, or not added yet, knows nothing of the cluster that is still true.
    fn belongs(&self) -> Result<(), Refusal> {
        if self.consensus.membership().nodes.contains_key(&self.me) {
            return Ok(());
        }
        let message =
            format!("{} is no node of the cluster: not added yet, or removed; ask another", self.me);
        Err(Refusal::Unavailable { message })
    }

    /// Proposes an operator's command.
    async fn change(
        &self,
        command: Command,
        within: std::time::Duration,
    ) -> Result<v1::RevisionResponse, Status> {
        let committed = self.consensus.propose(command, within).await.map_err(refuse::propose)?;
        Ok(v1::RevisionResponse { revision: committed.revision.0 })
    }
}

fn history(state: &State, name: &GroupName, last: usize) -> Option<v1::HistoryResponse> {
    let group = state.groups.get(name)?;
    let all: Vec<v1::Transition> = group.history.iter().chain(&group.transition).map(Into::into).collect();
    let skipped = if last == 0 { 0 } else { all.len().saturating_sub(last) };
    Some(v1::HistoryResponse { transitions: all.into_iter().skip(skipped).collect() })
}
