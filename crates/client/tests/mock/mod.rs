//! Nodes that answer as they are told to, in place of a cluster. Each has a runtime of its own, so that it can be
//! killed with everything that it has open.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

mod admin;
mod directory;

use primacy_client::v1;
use primacy_wire::refusal::{LeaderHint, Refusal};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use v1::admin_server::AdminServer;
use v1::directory_server::DirectoryServer;

/// What all nodes agree on.
pub(crate) struct World {
    pub(crate) primary: Mutex<v1::Primary>,
    pub(crate) leader: Mutex<Option<LeaderHint>>,
    /// Events up to this revision are gone.
    pub(crate) compacted: AtomicU64,
    /// What was done by requests, in order.
    pub(crate) done: Mutex<Vec<String>>,
    log: watch::Sender<Vec<v1::WatchResponse>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let primary = v1::Primary {
            group: "features".to_owned(),
            kind: v1::GroupKind::Redis.into(),
            member: Some("a".to_owned()),
            site: Some("east".to_owned()),
            address: Some("10.0.0.1:6379".to_owned()),
            epoch: 1,
            state: v1::GroupState::Serving.into(),
            ..Default::default()
        };
        Arc::new(Self {
            primary: Mutex::new(primary),
            leader: Mutex::new(None),
            compacted: AtomicU64::new(0),
            done: Mutex::default(),
            log: watch::Sender::new(vec![]),
        })
    }

    pub(crate) fn revision(&self) -> u64 {
        self.log.borrow().last().map_or(0, |entry| entry.revision)
    }

    /// Commits an entry. Revisions rise in steps of 3: not every entry of a log has events.
    pub(crate) fn commit(&self, kind: v1::event::Kind) -> u64 {
        let revision = self.revision() + 3;
        let events = vec![v1::Event { kind: Some(kind) }];
        let entry = v1::WatchResponse { revision, at_us: 1, events, progress: false };
        self.log.send_modify(|log| log.push(entry));
        revision
    }

    pub(crate) fn commit_removal(&self, group: &str) -> u64 {
        self.commit(v1::event::Kind::GroupRemoved(v1::event::OfGroup { group: group.to_owned() }))
    }

    /// Commits a new primary at this address.
    pub(crate) fn promote(&self, member: &str, address: &str) -> u64 {
        let epoch = self.revision() + 1;
        {
            let mut primary = self.primary.lock().unwrap();
            primary.member = Some(member.to_owned());
            primary.address = Some(address.to_owned());
            primary.epoch = epoch;
        }
        self.commit(v1::event::Kind::PrimaryChanged(v1::event::PrimaryChanged {
            group: "features".to_owned(),
            epoch,
            member: member.to_owned(),
            site: "north".to_owned(),
            address: address.to_owned(),
            previous: None,
        }))
    }

    pub(crate) fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }
}

/// How one node behaves.
#[derive(Default)]
pub(crate) struct Behaviour {
    pub(crate) leads: AtomicBool,
    /// It accepts requests and never answers.
    pub(crate) hangs: AtomicBool,
    /// It does what is asked, and never says so.
    pub(crate) loses_answers: AtomicBool,
    /// It ends a transition's news after the start.
    pub(crate) breaks_news: AtomicBool,
    /// It answers so many requests with this before it behaves.
    pub(crate) refusals: Mutex<Vec<Refusal>>,
    /// Requests that reached it, watches not counted.
    pub(crate) asked: AtomicU64,
    /// Watches that it served.
    pub(crate) watches: AtomicU64,
}

/// A node.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) behaviour: Arc<Behaviour>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// What the services see.
#[derive(Clone)]
struct Service {
    id: u64,
    world: Arc<World>,
    behaviour: Arc<Behaviour>,
}

impl Node {
    pub(crate) fn follower(world: &Arc<World>, id: u64) -> Self {
        Self::start(world, id, Behaviour::default())
    }

    /// The node that leads; followers name it from now on.
    pub(crate) fn leader(world: &Arc<World>, id: u64) -> Self {
        let node = Self::start(world, id, Behaviour { leads: true.into(), ..Behaviour::default() });
        *world.leader.lock().unwrap() = Some(LeaderHint { id, address: node.address.clone(), term: 1 });
        node
    }

    fn start(world: &Arc<World>, id: u64, behaviour: Behaviour) -> Self {
        let behaviour = Arc::new(behaviour);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = Service { id, world: Arc::clone(world), behaviour: Arc::clone(&behaviour) };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            tonic::transport::Server::builder()
                .add_service(DirectoryServer::new(service.clone()))
                .add_service(AdminServer::new(service))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self { id, address, behaviour, runtime: Some(runtime) }
    }

    /// Ends it with all its connections; returns when they are closed.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime must not be waited for on a thread of another one.
            let ending = std::thread::spawn(|| runtime.shutdown_timeout(Duration::from_secs(10)));
            ending.join().unwrap();
        }
    }

    pub(crate) fn alive(&self) -> bool {
        self.runtime.is_some()
    }

    pub(crate) fn asked(&self) -> u64 {
        self.behaviour.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn watches(&self) -> u64 {
        self.behaviour.watches.load(Ordering::SeqCst)
    }

    pub(crate) fn refuse(&self, refusals: impl IntoIterator<Item = Refusal>) {
        *self.behaviour.refusals.lock().unwrap() = refusals.into_iter().collect();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Service {
    /// What comes before every answer.
    async fn enter(&self) -> Result<(), Status> {
        self.behaviour.asked.fetch_add(1, Ordering::SeqCst);
        if self.behaviour.hangs.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        let refusal = self.behaviour.refusals.lock().unwrap().pop();
        match refusal {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    async fn enter_as_leader(&self) -> Result<(), Status> {
        self.enter().await?;
        if self.behaviour.leads.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(Refusal::NotLeader { leader: self.world.leader.lock().unwrap().clone() }.into())
    }
}

/// Waits until it holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "waited 10 s until {what}");
        sleep(Duration::from_millis(2)).await;
    }
}
