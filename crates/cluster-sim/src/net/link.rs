//! Calls from one node to another.

use super::Net;
use super::pipe::{Inlet, Outlet, pipe};
use crate::defect;
use crate::executor::Place;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::{FutureExt, StreamExt, stream};
use primacy_consensus::{Link, Replies, Reply, Requests};
use primacy_wire::v1;
use std::sync::Arc;
use tokio::sync::oneshot;
use tonic::Status;

/// From one node to another, and back.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) net: Net,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Stops what was asked for when the caller is gone.
struct StopsOnDrop(AbortHandle);

impl Drop for StopsOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn reset() -> Status {
    Status::unavailable("connection reset")
}

impl Way {
    /// Runs `work` in the process `place`, until it is done or that is over.
    fn handle<T: Send + 'static>(
        &self,
        place: Place,
        work: BoxFuture<'static, T>,
    ) -> (AbortHandle, oneshot::Receiver<T>) {
        let (tell, told) = oneshot::channel();
        let (abort, registration) = AbortHandle::new_pair();
        let job = Abortable::new(work, registration).map(|done| {
            if let Ok(answer) = done {
                // Who asked may be gone.
                let _ = tell.send(answer);
            }
        });
        self.net.executor().spawn_at(place, job);
        (abort, told)
    }

    fn call<Q, A>(
        &self,
        request: Q,
        ask: impl FnOnce(Arc<dyn Link>, Q) -> Reply<A> + Send + 'static,
    ) -> Reply<A>
    where
        Q: Send + 'static,
        A: Send + 'static,
    {
        let way = self.clone();
        async move {
            let (tell, told) = oneshot::channel();
            let work = way.clone().serve(request, ask, tell);
            drop(way.net.in_the_world(work));
            told.await.unwrap_or_else(|_| Err(reset()))
        }
        .boxed()
    }

    /// Brings the request across and the answer back. A caller that gives up may or may not stop the handler.
    async fn serve<Q: Send + 'static, A: Send + 'static>(
        self,
        request: Q,
        ask: impl FnOnce(Arc<dyn Link>, Q) -> Reply<A> + Send + 'static,
        mut tell: oneshot::Sender<Result<A, Status>>,
    ) {
        let Way { net, from, to } = &self;
        let (place, service) = match net.reach(*from, *to).await {
            Ok(reached) => reached,
            Err(status) => return drop(tell.send(Err(status))),
        };
        let work = async move { ask(service, request).await };
        let (abort, answer) = self.handle(place, work.boxed());
        let stops = net.inner().dice.chance(50);
        tokio::pin!(answer);
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            () = tell.closed(), if stops => {
                abort.abort();
                return;
            }
        };
        let answer = answer.unwrap_or_else(|_| Err(reset()));
        let answer = net.cross(*to, *from).await.and(answer);
        // Nobody may wait any more.
        let _ = tell.send(answer);
    }

    /// Puts what the caller sends into the pipe, in the caller's process.
    fn pump<T: Send + 'static>(&self, mut requests: Requests<T>, mut into: Inlet<T>) -> StopsOnDrop {
        let (abort, registration) = AbortHandle::new_pair();
        let pumping = async move {
            loop {
                let request = tokio::select! {
                    biased;
                    () = into.closed() => return,
                    request = requests.next() => request,
                };
                let Some(request) = request else { return };
                if !into.put(request) {
                    return;
                }
            }
        };
        let executor = self.net.executor();
        executor.spawn_at(executor.here(), Abortable::new(pumping, registration).map(drop));
        StopsOnDrop(abort)
    }
}

/// Serves a stream of appends: tells first whether it is open, then puts each answer into the pipe.
async fn answer_stream(
    service: Arc<dyn Link>,
    requests: Requests<v1::AppendRequest>,
    opened: oneshot::Sender<Result<(), Status>>,
    mut answers: Inlet<Option<Result<v1::AppendResponse, Status>>>,
) {
    let mut replies = match service.append(requests).await {
        Ok(replies) => replies,
        Err(status) => return drop(opened.send(Err(status))),
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    loop {
        let reply = tokio::select! {
            biased;
            () = answers.closed() => return,
            reply = replies.next() => reply,
        };
        let over = reply.is_none();
        if !answers.put(reply) || over {
            return;
        }
    }
}

/// The answers as the caller reads them. One that comes to an end without saying so was broken off.
fn read_answers(
    answers: Outlet<Option<Result<v1::AppendResponse, Status>>>,
    pump: StopsOnDrop,
) -> Replies<v1::AppendResponse> {
    let state = Some((answers, pump));
    stream::unfold(state, |state| async move {
        let (mut answers, pump) = state?;
        match answers.next().await {
            Some(Ok(Some(Ok(answer)))) => Some((Ok(answer), Some((answers, pump)))),
            Some(Ok(Some(Err(status))) | Err(status)) => Some((Err(status), None)),
            Some(Ok(None)) => None,
            None => Some((Err(reset()), None)),
        }
    })
    .boxed()
}

impl Link for Way {
    fn append(&self, requests: Requests<v1::AppendRequest>) -> Reply<Replies<v1::AppendResponse>> {
        let way = self.clone();
        async move {
            let Way { net, from, to } = way.clone();
            let (inlet, outlet) = pipe(&net, from, to);
            let (answers_in, answers_out) = pipe(&net, to, from);
            let sending = net.clone();
            let requests = requests.map(move |request| defect::on_sending(&sending, from, request));
            let pump = way.pump(requests.boxed(), inlet);
            let opening = way.clone();
            let opened = net.in_the_world(async move {
                let (place, service) = opening.net.reach(from, to).await?;
                let (tell, told) = oneshot::channel();
                let made = opening.net.defect();
                let requests = outlet.until_broken().map(move |request| defect::on_arrival(made, request));
                let serving = answer_stream(service, requests.boxed(), tell, answers_in);
                opening.net.executor().spawn_at(place, serving);
                let opened = told.await.unwrap_or_else(|_| Err(reset()));
                opening.net.cross(to, from).await.and(opened)
            });
            opened.await.unwrap_or_else(|| Err(reset()))?;
            Ok(read_answers(answers_out, pump))
        }
        .boxed()
    }

    fn append_once(&self, request: v1::AppendRequest) -> Reply<v1::AppendResponse> {
        let request = defect::on_sending(&self.net, self.from, request);
        let made = self.net.defect();
        self.call(request, move |link, request| link.append_once(defect::on_arrival(made, request)))
    }

    fn vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        let request = defect::on_vote(self.net.defect(), request);
        let forged = defect::on_granted(self.net.defect(), &request);
        let reply = self.call(request, |link, request| link.vote(request));
        async move { reply.await.map(forged) }.boxed()
    }

    fn pre_vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        let request = defect::on_vote(self.net.defect(), request);
        self.call(request, |link, request| link.pre_vote(request))
    }

    fn install_snapshot(
        &self,
        parts: Requests<v1::InstallSnapshotRequest>,
    ) -> Reply<v1::InstallSnapshotResponse> {
        let way = self.clone();
        async move {
            way.net.count_snapshot();
            let (inlet, outlet) = pipe(&way.net, way.from, way.to);
            let _pump = way.pump(parts, inlet);
            way.call(outlet, |link, parts| link.install_snapshot(parts.until_broken().boxed())).await
        }
        .boxed()
    }

    fn transfer_leader(&self, request: v1::TransferLeaderRequest) -> Reply<v1::TransferLeaderResponse> {
        self.call(request, |link, request| link.transfer_leader(request))
    }

    fn identify(&self, request: v1::IdentifyRequest) -> Reply<v1::IdentifyResponse> {
        self.call(request, |link, request| link.identify(request))
    }
}
