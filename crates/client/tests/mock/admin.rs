use super::Service;
use futures::{Stream, StreamExt, stream};
use primacy_client::v1;
use primacy_wire::refusal::LeaderHint;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use tonic::{Request, Response, Status};
use v1::transition_progress::News;

type Progress = Pin<Box<dyn Stream<Item = Result<v1::TransitionProgress, Status>> + Send>>;

impl Service {
    /// Does it as leader, and answers unless it is told to lose the answer.
    async fn perform(&self, what: &str) -> Result<(), Status> {
        self.enter_as_leader().await?;
        self.world.done.lock().unwrap().push(format!("n{} {what}", self.id));
        if self.behaviour.loses_answers.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        Ok(())
    }

    fn cluster(&self) -> v1::ClusterStatusResponse {
        let leader = self.world.leader.lock().unwrap().clone();
        let leader = leader.map(|LeaderHint { id, address, term }| v1::LeaderStatus {
            id,
            site: "east".to_owned(),
            address,
            term,
        });
        v1::ClusterStatusResponse { cluster: "test".to_owned(), leader, ..Default::default() }
    }

    async fn news(&self, what: &str, dry_run: bool) -> Result<Response<Progress>, Status> {
        self.perform(what).await?;
        let progress = |news| Ok(v1::TransitionProgress { news: Some(news) });
        let mut all = vec![progress(News::Checks(v1::Checks::default()))];
        if !dry_run {
            all.push(progress(News::Started(v1::Transition::default())));
        }
        if self.behaviour.breaks_news.load(Ordering::SeqCst) {
            return Ok(Response::new(Box::pin(stream::iter(all).chain(stream::pending()))));
        }
        if !dry_run {
            all.push(progress(News::Ended(v1::Transition::default())));
        }
        Ok(Response::new(Box::pin(stream::iter(all))))
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Service {
    async fn apply_groups(
        &self,
        _: Request<v1::ApplyGroupsRequest>,
    ) -> Result<Response<v1::ApplyGroupsResponse>, Status> {
        self.perform("apply").await?;
        Ok(Response::new(v1::ApplyGroupsResponse::default()))
    }

    type SwitchoverStream = Progress;

    async fn switchover(
        &self,
        request: Request<v1::SwitchoverRequest>,
    ) -> Result<Response<Progress>, Status> {
        self.news("switchover", request.get_ref().dry_run).await
    }

    type FailoverStream = Progress;

    async fn failover(&self, request: Request<v1::FailoverRequest>) -> Result<Response<Progress>, Status> {
        self.news("failover", request.get_ref().dry_run).await
    }

    async fn pause(&self, _: Request<v1::PauseRequest>) -> Result<Response<v1::RevisionResponse>, Status> {
        self.perform("pause").await?;
        Ok(Response::new(v1::RevisionResponse { revision: 7 }))
    }

    async fn resume(&self, _: Request<v1::ResumeRequest>) -> Result<Response<v1::RevisionResponse>, Status> {
        self.perform("resume").await?;
        Ok(Response::new(v1::RevisionResponse::default()))
    }

    async fn history(&self, _: Request<v1::HistoryRequest>) -> Result<Response<v1::HistoryResponse>, Status> {
        self.enter().await?;
        Ok(Response::new(v1::HistoryResponse::default()))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        self.enter().await?;
        Ok(Response::new(v1::StatusResponse { cluster: Some(self.cluster()), groups: vec![] }))
    }

    async fn cluster_status(
        &self,
        _: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        self.enter().await?;
        Ok(Response::new(self.cluster()))
    }

    async fn add_node(
        &self,
        _: Request<v1::AddNodeRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        self.perform("add").await?;
        Ok(Response::new(self.cluster()))
    }

    async fn promote_node(
        &self,
        _: Request<v1::PromoteNodeRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        self.perform("promote").await?;
        Ok(Response::new(self.cluster()))
    }

    async fn remove_node(
        &self,
        _: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        self.perform("remove").await?;
        Ok(Response::new(self.cluster()))
    }

    async fn transfer_leadership(
        &self,
        _: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        self.perform("transfer").await?;
        Ok(Response::new(self.cluster()))
    }

    async fn snapshot(
        &self,
        _: Request<v1::SnapshotRequest>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        self.perform("snapshot").await?;
        Ok(Response::new(v1::SnapshotResponse::default()))
    }
}
