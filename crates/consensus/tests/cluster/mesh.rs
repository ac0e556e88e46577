//! A network in memory whose directions can be cut. What was sent into a cut arrives when it is healed, late, as TCP
//! would deliver it, unless its sender has given up.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use primacy_consensus::{Consensus, Line, Link, Peer, Replies, Reply, Requests, Transport};
use primacy_runtime::watch;
use primacy_wire::v1;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tonic::Status;

type Cuts = BTreeSet<(u64, u64)>;

#[derive(Clone)]
pub(crate) struct Mesh {
    services: Arc<Mutex<BTreeMap<u64, Arc<dyn Link>>>>,
    cuts: watch::Sender<Cuts>,
    /// How often all silent lines were ended.
    lines_ended: watch::Sender<u64>,
    /// Whether requests with entries wait; those without pass.
    entries_held: watch::Sender<bool>,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self {
            services: Arc::default(),
            cuts: watch::channel(Cuts::new()).0,
            lines_ended: watch::channel(0).0,
            entries_held: watch::channel(false).0,
        }
    }

    pub(crate) fn transport(&self, from: u64) -> Arc<dyn Transport> {
        Arc::new(From { mesh: self.clone(), from })
    }

    pub(crate) fn join(&self, id: u64, consensus: &Consensus) {
        self.services.lock().unwrap().insert(id, consensus.service());
    }

    pub(crate) fn leave(&self, id: u64) {
        self.services.lock().unwrap().remove(&id);
    }

    /// Cuts `side` off from all others of `nodes`, both ways.
    pub(crate) fn isolate(&self, side: &[u64], nodes: u64) {
        self.cuts.send_if_modified(|cuts| {
            for other in (1..=nodes).filter(|other| !side.contains(other)) {
                cuts.extend(side.iter().flat_map(|id| [(*id, other), (other, *id)]));
            }
            true
        });
    }

    /// Ends every silent line by EOF, as a server may.
    pub(crate) fn end_lines(&self) {
        self.lines_ended.send_if_modified(|times| {
            *times += 1;
            true
        });
    }

    /// Lets heartbeats pass, and no entry, as before a disk that is slow.
    pub(crate) fn hold_entries(&self) {
        self.entries_held.send(true);
    }

    pub(crate) fn heal(&self) {
        self.cuts.send(Cuts::new());
        self.entries_held.send(false);
    }
}

struct From {
    mesh: Mesh,
    from: u64,
}

impl From {
    fn way(&self, peer: &Peer) -> Way {
        Way { mesh: self.mesh.clone(), from: self.from, to: peer.id.0 }
    }
}

impl Transport for From {
    fn link(&self, peer: &Peer) -> Arc<dyn Link> {
        Arc::new(self.way(peer))
    }

    fn line(&self, peer: &Peer) -> BoxFuture<'static, Option<Line>> {
        let way = self.way(peer);
        async move {
            way.pass(way.from, way.to).await;
            let mut ended = way.mesh.lines_ended.subscribe();
            let before = *ended.borrow();
            Some(async move { ended.wait_for(|times| *times > before).await.is_ok() }.boxed())
        }
        .boxed()
    }

    /// Nobody refuses here; who cannot be reached is waited for.
    fn nobody_listens(&self, peer: &Peer) -> BoxFuture<'static, bool> {
        let way = self.way(peer);
        async move {
            way.pass(way.from, way.to).await;
            false
        }
        .boxed()
    }
}

/// From one node to another, and back.
#[derive(Clone)]
struct Way {
    mesh: Mesh,
    from: u64,
    to: u64,
}

impl Way {
    async fn pass(&self, from: u64, to: u64) {
        let mut cuts = self.mesh.cuts.subscribe();
        // The mesh outlives what runs over it.
        let _ = cuts.wait_for(|cuts| !cuts.contains(&(from, to))).await;
    }

    async fn pass_entries(&self, request: &v1::AppendRequest) {
        if !request.entries.is_empty() {
            let mut held = self.mesh.entries_held.subscribe();
            let _ = held.wait_for(|held| !held).await;
        }
    }

    fn service(&self) -> Result<Arc<dyn Link>, Status> {
        let service = self.mesh.services.lock().unwrap().get(&self.to).cloned();
        service.ok_or_else(|| Status::unavailable("connection refused"))
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
            way.pass(way.from, way.to).await;
            let answer = ask(way.service()?, request).await;
            way.pass(way.to, way.from).await;
            answer
        }
        .boxed()
    }

    fn there<T: Send + 'static>(&self, stream: Requests<T>) -> Requests<T> {
        let way = self.clone();
        let pass = move |item| {
            let way = way.clone();
            async move {
                way.pass(way.from, way.to).await;
                item
            }
        };
        stream.then(pass).boxed()
    }

    fn back<T: Send + 'static>(&self, stream: Replies<T>) -> Replies<T> {
        let way = self.clone();
        let pass = move |item| {
            let way = way.clone();
            async move {
                way.pass(way.to, way.from).await;
                item
            }
        };
        stream.then(pass).boxed()
    }
}

impl Link for Way {
    fn append(&self, requests: Requests<v1::AppendRequest>) -> Reply<Replies<v1::AppendResponse>> {
        let way = self.clone();
        let held = self.clone();
        let requests = requests.then(move |request| {
            let way = held.clone();
            async move {
                way.pass_entries(&request).await;
                request
            }
        });
        self.call(self.there(requests.boxed()), move |link, requests| {
            async move { Ok(way.back(link.append(requests).await?)) }.boxed()
        })
    }

    fn append_once(&self, request: v1::AppendRequest) -> Reply<v1::AppendResponse> {
        let way = self.clone();
        self.call(request, move |link, request| {
            async move {
                way.pass_entries(&request).await;
                link.append_once(request).await
            }
            .boxed()
        })
    }

    fn vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        self.call(request, |link, request| link.vote(request))
    }

    fn pre_vote(&self, request: v1::VoteRequest) -> Reply<v1::VoteResponse> {
        self.call(request, |link, request| link.pre_vote(request))
    }

    fn install_snapshot(
        &self,
        parts: Requests<v1::InstallSnapshotRequest>,
    ) -> Reply<v1::InstallSnapshotResponse> {
        self.call(self.there(parts), |link, parts| link.install_snapshot(parts))
    }

    fn transfer_leader(&self, request: v1::TransferLeaderRequest) -> Reply<v1::TransferLeaderResponse> {
        self.call(request, |link, request| link.transfer_leader(request))
    }

    fn identify(&self, request: v1::IdentifyRequest) -> Reply<v1::IdentifyResponse> {
        self.call(request, |link, request| link.identify(request))
    }
}
