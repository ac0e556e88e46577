//! What only the leader can answer is asked of it, once: a request that was forwarded is never forwarded again.

use crate::serve::{Shared, refuse};
use primacy_wire::Refusal;
use primacy_wire::v1::admin_client::AdminClient;
use primacy_wire::v1::directory_client::DirectoryClient;
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

    /// Asks the leader. `call` is the method; a transport that breaks leaves the outcome open.
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
        let answered = primacy_runtime::timeout(within, call(AdminClient::new(channel), request)).await;
        answered.unwrap_or_else(|_| Err(lost("the leader did not answer in time"))).map_err(named)
    }

    /// The same for reads, which may be asked again.
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
        let answered = primacy_runtime::timeout(within, call(DirectoryClient::new(channel), request)).await;
        let unreachable =
            |why: &str| Refusal::Unavailable { message: format!("the leader cannot be asked: {why}") };
        match answered {
            Err(_) => Err(unreachable("it did not answer in time").into()),
            Ok(Err(status)) if Refusal::from_status(&status).is_none() => {
                Err(unreachable(status.message()).into())
            }
            Ok(answer) => answer,
        }
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
