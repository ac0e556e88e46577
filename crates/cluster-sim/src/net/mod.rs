//! The network between the nodes: delay, loss, cuts in one direction or both, processes that are gone, hosts that are.
//!
//! What was sent into a cut arrives late when it is healed soon, as TCP repeats it; after [`BROKEN_AFTER`] the
//! connection is given up, as gRPC's keepalive does. Calls overtake each other; what goes over one stream does not.
//! The peer's handler runs in the peer's process: it stands still and ends with it.

mod link;
mod pipe;

use crate::defect::Defect;
use crate::executor::{Executor, Place, WORLD};
use futures::FutureExt;
use futures::future::BoxFuture;
use link::Way;
use primacy_consensus::{Consensus, Line, Link, Peer, Transport};
use primacy_runtime::watch;
use primacy_sim::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tonic::Status;

/// How long a cut may last before a connection across it is given up.
const BROKEN_AFTER: Duration = Duration::from_secs(5);

/// What a lost packet costs at least, in microseconds: TCP sends it again.
const AGAIN_MIN_US: u64 = 200_000;
const AGAIN_MAX_US: u64 = 900_000;

/// How a direction behaves, beside cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Microseconds for one way, at least.
    pub(crate) delay_min_us: u64,
    /// Microseconds for one way, at most.
    pub(crate) delay_max_us: u64,
    /// Of a hundred messages, so many are sent again.
    pub(crate) loss_percent: u64,
}

/// A host: whether its kernel answers, and who listens on it.
#[derive(Clone, Default)]
struct Host {
    /// Off, as after a loss of power: nothing answers, not even with a refusal.
    dark: bool,
    /// The process that listens.
    listens: Option<(Place, Consensus)>,
}

/// The network. Clones share it.
#[derive(Clone)]
pub(crate) struct Net(Arc<Shared>);

struct Shared {
    executor: Executor,
    inner: Mutex<Inner>,
    /// Bumped with each change of cuts and hosts.
    changed: watch::Sender<u64>,
}

struct Inner {
    dice: Dice,
    defect: Option<Defect>,
    hosts: BTreeMap<u64, Host>,
    cuts: BTreeSet<(u64, u64)>,
    weather: BTreeMap<(u64, u64), Weather>,
    usual: Weather,
    /// How often something in between has ended all silent lines.
    lines_ended: u64,
    messages: u64,
    snapshots: u64,
}

impl Net {
    /// A network in which all directions are alike at first.
    pub(crate) fn new(executor: Executor, seed: u64, usual: Weather, defect: Option<Defect>) -> Self {
        let inner = Inner {
            dice: Dice::new(seed, 103),
            defect,
            hosts: BTreeMap::new(),
            cuts: BTreeSet::new(),
            weather: BTreeMap::new(),
            usual,
            lines_ended: 0,
            messages: 0,
            snapshots: 0,
        };
        Self(Arc::new(Shared { executor, inner: Mutex::new(inner), changed: watch::channel(0).0 }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, f: impl FnOnce(&mut Inner)) {
        f(&mut self.inner());
        self.0.changed.send_if_modified(|count| {
            *count += 1;
            true
        });
    }

    /// The transport of `node`.
    pub(crate) fn transport(&self, node: u64) -> Arc<dyn Transport> {
        Arc::new(From { net: self.clone(), node })
    }

    /// `consensus`, in the process `place`, listens.
    pub(crate) fn listen(&self, place: Place, consensus: &Consensus) {
        let listens = Some((place, consensus.clone()));
        self.change(|inner| {
            inner.hosts.insert(place.node, Host { dark: false, listens });
        });
    }

    /// The process of `node` is gone; its kernel says so, unless the host is dark.
    pub(crate) fn gone(&self, node: u64, dark: bool) {
        let mut former = None;
        self.change(|inner| former = inner.hosts.insert(node, Host { dark, listens: None }));
        // Outside of the lock: the handle's end may use the seam.
        drop(former);
    }

    /// Its kernel is back.
    pub(crate) fn lit(&self, node: u64) {
        self.change(|inner| inner.hosts.entry(node).or_default().dark = false);
    }

    /// Cuts one direction.
    pub(crate) fn cut(&self, from: u64, to: u64) {
        self.change(|inner| {
            inner.cuts.insert((from, to));
        });
    }

    /// Mends it.
    pub(crate) fn mend(&self, from: u64, to: u64) {
        self.change(|inner| {
            inner.cuts.remove(&(from, to));
        });
    }

    /// Mends all, and the weather too.
    pub(crate) fn mend_all(&self) {
        self.change(|inner| {
            inner.cuts.clear();
            inner.weather.clear();
        });
    }

    /// Other weather for one direction; none for the usual.
    pub(crate) fn set_weather(&self, from: u64, to: u64, weather: Option<Weather>) {
        let mut inner = self.inner();
        match weather {
            Some(weather) => inner.weather.insert((from, to), weather),
            None => inner.weather.remove(&(from, to)),
        };
    }

    /// Something in between ends all silent lines in order.
    pub(crate) fn end_lines(&self) {
        self.change(|inner| inner.lines_ended += 1);
    }

    /// How many messages there were, and how many snapshots were sent.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.messages, inner.snapshots)
    }

    fn count_snapshot(&self) {
        self.inner().snapshots += 1;
    }

    /// Who listens on `node`.
    pub(crate) fn listener(&self, node: u64) -> Option<Consensus> {
        self.host(node).listens.map(|(_, consensus)| consensus)
    }

    fn executor(&self) -> &Executor {
        &self.0.executor
    }

    /// When a message sent now arrives, if nothing is cut.
    fn arrival_us(&self, from: u64, to: u64) -> u64 {
        let now_us = self.executor().now_us();
        let mut inner = self.inner();
        inner.messages += 1;
        let weather = inner.weather.get(&(from, to)).copied().unwrap_or(inner.usual);
        let mut us = inner.dice.range(weather.delay_min_us, weather.delay_max_us);
        while inner.dice.chance(weather.loss_percent) {
            us += inner.dice.range(AGAIN_MIN_US, AGAIN_MAX_US);
        }
        now_us + us
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        self.inner().cuts.contains(&(from, to))
    }

    pub(crate) fn defect(&self) -> Option<Defect> {
        self.inner().defect
    }

    /// Waits until a message that is due at `due_us` is across.
    async fn arrive(&self, from: u64, to: u64, due_us: u64) -> Result<(), Status> {
        self.executor().sleep_until_us(due_us).await;
        if !self.is_cut(from, to) {
            return Ok(());
        }
        let mut changed = self.0.changed.subscribe();
        let mended = changed.wait_for(|_| !self.is_cut(from, to));
        let Ok(_) = primacy_runtime::timeout(BROKEN_AFTER, mended).await else {
            return Err(Status::unavailable("the connection broke"));
        };
        let again_us = self.inner().dice.below(AGAIN_MIN_US);
        let at_us = self.executor().now_us() + again_us;
        self.executor().sleep_until_us(at_us).await;
        Ok(())
    }

    /// One message from `from` to `to`.
    async fn cross(&self, from: u64, to: u64) -> Result<(), Status> {
        let due_us = self.arrival_us(from, to);
        self.arrive(from, to, due_us).await
    }

    fn host(&self, node: u64) -> Host {
        self.inner().hosts.get(&node).cloned().unwrap_or_default()
    }

    /// Who listens on `to`, as `from` finds out; a refusal has to come back, and silence lasts.
    async fn reach(&self, from: u64, to: u64) -> Result<(Place, Arc<dyn Link>), Status> {
        self.cross(from, to).await?;
        let host = self.host(to);
        if host.dark {
            primacy_runtime::sleep(BROKEN_AFTER).await;
            return Err(Status::unavailable("nothing answers"));
        }
        if let Some((place, consensus)) = host.listens {
            return Ok((place, consensus.service()));
        }
        self.cross(to, from).await?;
        Err(Status::unavailable("connection refused"))
    }

    /// Runs in the world until it is done, whoever asked for it.
    fn in_the_world<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Option<T>> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let job = async move {
            // Who asked may be gone.
            let _ = tell.send(work.await);
        };
        self.executor().spawn_at(Place { node: WORLD, life: 0 }, job);
        told.map(Result::ok).boxed()
    }

    /// Ends when the process `place` does, which the other side sees after a way across: true by EOF, false where
    /// nothing says so.
    async fn end_of(&self, place: Place, watched_from: u64) -> bool {
        let mut changed = self.0.changed.subscribe();
        let ended_before = self.inner().lines_ended;
        let over = |net: &Net| {
            let inner = net.inner();
            let host = inner.hosts.get(&place.node);
            let there = host.and_then(|host| host.listens.as_ref()).is_some_and(|(at, _)| *at == place);
            !there || inner.lines_ended > ended_before
        };
        // The network outlives what runs over it.
        let _ = changed.wait_for(|_| over(self)).await;
        if self.host(place.node).dark {
            // Until a process on that host is asked again, nothing comes at all.
            let _ = changed.wait_for(|_| !self.host(place.node).dark).await;
            return false;
        }
        self.cross(place.node, watched_from).await.is_ok()
    }
}

struct From {
    net: Net,
    node: u64,
}

impl Transport for From {
    fn link(&self, peer: &Peer) -> Arc<dyn Link> {
        Arc::new(Way { net: self.net.clone(), from: self.node, to: peer.id.0 })
    }

    fn line(&self, peer: &Peer) -> BoxFuture<'static, Option<Line>> {
        let (net, from, to) = (self.net.clone(), self.node, peer.id.0);
        async move {
            let opening = net.clone();
            let opened = net.in_the_world(async move {
                let (place, _) = opening.reach(from, to).await.ok()?;
                opening.cross(to, from).await.ok()?;
                Some(place)
            });
            let place = opened.await.flatten()?;
            Some(async move { net.end_of(place, from).await }.boxed())
        }
        .boxed()
    }

    fn nobody_listens(&self, peer: &Peer) -> BoxFuture<'static, bool> {
        let (net, from, to) = (self.net.clone(), self.node, peer.id.0);
        if net.defect() == Some(Defect::EofIsDeath) {
            return std::future::ready(true).boxed();
        }
        let asking = net.clone();
        let asked = net.in_the_world(async move {
            let refused = asking.reach(from, to).await.err();
            refused.is_some_and(|status| status.message() == "connection refused")
        });
        asked.map(Option::unwrap_or_default).boxed()
    }
}
