//! What only the leader can answer is asked of it, once: a request that was forwarded is never forwarded again.

use crate::serve::{Shared, refuse};
use primacy_consensus::LeadershipView;
use primacy_wire::v1::admin_client::AdminClient;
use primacy_wire::v1::directory_client::DirectoryClient;
use primacy_wire::v1::site_client::SiteClient;
use primacy_wire::{Refusal, v1};
use std::time::Duration;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// Names the node that forwarded a request.
const FORWARDED: &str = "primacy-forwarded-by";
/// What the leader may take on top of what the client gave, so that its own answer arrives first.
const SLACK: Duration = Duration::from_millis(250);
/// The deadline of a unary call whose client gave none.
pub(crate) const UNARY_WITHIN: Duration = Duration::from_secs(10);

/// How long the old leader may still answer once another leads: a change that it has begun, and a read.
const MOVED_CHANGE: Duration = Duration::from_secs(1);
const MOVED_READ: Duration = Duration::from_millis(50);
/// How long the leader is waited for where this node can answer instead.
const FIRST_WITHIN: Duration = Duration::from_secs(2);

/// Where a request is answered.
pub(crate) enum Route {
    /// Here.
    Here,
    /// At the leader.
    Leader(Channel),
}

impl Shared {
    /// Where a request for the leader goes.
    pub(crate) fn route(&self, metadata: &MetadataMap) -> Result<Route, Status> {
        let leader = {
            let leadership = self.consensus.leadership();
            let view = leadership.borrow();
            if view.leading {
                return Ok(Route::Here);
            }
            view.leader.clone()
        };
        let refusal = refuse::not_leader(leader.as_ref().filter(|l| l.id != self.me));
        let Some(leader) = leader.filter(|l| l.id != self.me && !metadata.contains_key(FORWARDED)) else {
            return Err(refusal.into());
        };
        self.peers.channel(&leader.address).map(Route::Leader).ok_or_else(|| refusal.into())
    }

    fn forwarded<T>(&self, metadata: &MetadataMap, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let me = AsciiMetadataValue::from(self.me.0);
        request.metadata_mut().insert(FORWARDED, me);
        if metadata.contains_key("grpc-timeout") {
            request.set_timeout(refuse::deadline(metadata, UNARY_WITHIN));
        }
        request
    }

    /// Asks the leader for a change. `call` is the method; an answer that does not come leaves the outcome open.
    pub(crate) async fn ask_leader<Q, A, F>(
        &self,
        channel: Channel,
        metadata: &MetadataMap,
        message: Q,
        call: impl FnOnce(AdminClient<Channel>, Request<Q>) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let request = self.forwarded(metadata, message);
        let within = refuse::deadline(metadata, UNARY_WITHIN) + SLACK;
        let answer = self.answered(within, MOVED_CHANGE, call(AdminClient::new(channel), request));
        answer.await.unwrap_or_else(|why| Err(lost(why))).map_err(named)
    }

    /// Asks the leader for what this node could say itself, if not as well. None when it cannot be asked.
    pub(crate) async fn ask_leader_first<Q, A, F>(
        &self,
        metadata: &MetadataMap,
        message: Q,
        call: impl FnOnce(AdminClient<Channel>, Request<Q>) -> F,
    ) -> Option<Result<Response<A>, Status>>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let Ok(Route::Leader(channel)) = self.route(metadata) else { return None };
        let request = self.forwarded(metadata, message);
        let within = refuse::deadline(metadata, UNARY_WITHIN).min(FIRST_WITHIN);
        match self.answered(within, MOVED_READ, call(AdminClient::new(channel), request)).await {
            Ok(Err(status)) if out_of_reach(&status) => None,
            Ok(answer) => Some(answer),
            Err(_) => None,
        }
    }

    /// The same as [`Shared::ask_leader`] for reads, which may be asked again.
    pub(crate) async fn read_at_leader<Q, A, F>(
        &self,
        channel: Channel,
        metadata: &MetadataMap,
        message: Q,
        call: impl FnOnce(DirectoryClient<Channel>, Request<Q>) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let request = self.forwarded(metadata, message);
        let within = refuse::deadline(metadata, UNARY_WITHIN) + SLACK;
        let unreachable =
            |why: &str| Refusal::Unavailable { message: format!("the leader cannot be asked: {why}") };
        match self.answered(within, MOVED_READ, call(DirectoryClient::new(channel), request)).await {
            Err(why) => Err(unreachable(why).into()),
            Ok(Err(status)) if Refusal::from_status(&status).is_none() => {
                Err(unreachable(status.message()).into())
            }
            Ok(answer) => answer,
        }
    }

    /// Asks the leader for leases of a node that does not reach it.
    pub(crate) async fn renew_at_leader(
        &self,
        channel: Channel,
        metadata: &MetadataMap,
        message: v1::RenewRequest,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let request = self.forwarded(metadata, message);
        let within = refuse::deadline(metadata, UNARY_WITHIN);
        let answer =
            self.answered(within, MOVED_READ, async { SiteClient::new(channel).renew(request).await });
        answer.await.unwrap_or_else(|why| Err(Status::unavailable(why)))
    }

    /// Waits for an answer of the leader, and not for one that is frozen or cut off: when another has led for `grace`
    /// meanwhile, the old one is left.
    async fn answered<T>(
        &self,
        within: Duration,
        grace: Duration,
        answer: impl Future<Output = T>,
    ) -> Result<T, &'static str> {
        let waiting = async {
            tokio::select! {
                biased;
                answer = answer => Ok(answer),
                () = self.leader_moved(grace) => Err("another node leads now"),
            }
        };
        primacy_runtime::timeout(within, waiting).await.unwrap_or(Err("it did not answer in time"))
    }

    async fn leader_moved(&self, grace: Duration) {
        let mut leadership = self.consensus.leadership();
        let id = |view: &LeadershipView| view.leader.as_ref().map(|leader| leader.id);
        let before = id(&leadership.borrow());
        if leadership.wait_for(|view| id(view).is_some_and(|now| Some(now) != before)).await.is_err() {
            // This node stops; whoever waits is ended by that.
            std::future::pending::<()>().await;
        }
        primacy_runtime::sleep(grace).await;
    }
}

/// The leader could not be asked, or is none any more.
fn out_of_reach(status: &Status) -> bool {
    match Refusal::from_status(status) {
        None => true,
        Some(refusal) => matches!(refusal, Refusal::NotLeader { .. } | Refusal::Unavailable { .. }),
    }
}

/// A status that is none of ours came from the way, not from the leader.
pub(crate) fn named(status: Status) -> Status {
    if Refusal::from_status(&status).is_some() || status.code() == Code::InvalidArgument {
        return status;
    }
    lost(status.message())
}

fn lost(why: &str) -> Status {
    let message = format!(
        "the connection to the leader broke before it answered ({why}); `primacy status` and `primacy history` show what \
         came of it"
    );
    Refusal::OutcomeUnknown { message }.into()
}
