//! The nodes of a run: their disks, their processes, and what can be done to them.

use crate::check::Checker;
use crate::defect::Defect;
use crate::disk::Platter;
use crate::executor::{Clock, Executor, Place, WORLD};
use crate::net::Net;
use crate::setup::Setup;
use primacy_consensus::{Consensus, Halted, StartError};
use primacy_core::NodeId;
use primacy_runtime::watch;
use primacy_sim::Dice;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A process that has come up.
#[derive(Clone)]
pub(crate) struct Living {
    /// Its place.
    pub(crate) place: Place,
    /// Its handle.
    pub(crate) consensus: Consensus,
    /// Why it takes part no more.
    pub(crate) halted: watch::Receiver<Option<Halted>>,
}

/// The nodes. Clones share them.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Shared>);

struct Shared {
    executor: Executor,
    net: Net,
    setup: Setup,
    defect: Option<Defect>,
    checker: Arc<Mutex<Checker>>,
    nodes: Mutex<Nodes>,
}

struct Nodes {
    dice: Dice,
    disks: BTreeMap<u64, Platter>,
    living: BTreeMap<u64, Living>,
    /// Started and not ended, whether or not they have come up.
    running: BTreeSet<u64>,
    /// Never to be started again.
    retired: BTreeSet<u64>,
    /// Whose disk was emptied: they know that they must not take part.
    emptied: BTreeSet<u64>,
    /// When each frozen one was frozen.
    frozen_us: BTreeMap<u64, u64>,
    /// The next id that was never used.
    next: u64,
}

impl Cluster {
    /// The nodes of `setup`, none of which runs.
    pub(crate) fn new(
        executor: Executor,
        net: Net,
        setup: Setup,
        defect: Option<Defect>,
        checker: Arc<Mutex<Checker>>,
    ) -> Self {
        let nodes = Nodes {
            dice: Dice::new(setup.seed, 104),
            disks: BTreeMap::new(),
            living: BTreeMap::new(),
            running: BTreeSet::new(),
            retired: BTreeSet::new(),
            emptied: BTreeSet::new(),
            frozen_us: BTreeMap::new(),
            next: setup.nodes + 1,
        };
        Self(Arc::new(Shared { executor, net, setup, defect, checker, nodes: Mutex::new(nodes) }))
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The executor.
    pub(crate) fn executor(&self) -> &Executor {
        &self.0.executor
    }

    /// The network.
    pub(crate) fn net(&self) -> &Net {
        &self.0.net
    }

    /// The setup.
    pub(crate) fn setup(&self) -> &Setup {
        &self.0.setup
    }

    /// The mistake that is made.
    pub(crate) fn defect(&self) -> Option<Defect> {
        self.0.defect
    }

    /// What is checked.
    pub(crate) fn checker(&self) -> MutexGuard<'_, Checker> {
        self.0.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line of the transcript.
    pub(crate) fn tell(&self, text: impl FnOnce() -> String) {
        self.checker().tell(self.executor().now_us(), text);
    }

    /// An id that no node ever had.
    pub(crate) fn new_id(&self) -> u64 {
        let mut nodes = self.nodes();
        nodes.next += 1;
        nodes.next - 1
    }

    /// The disk of `node`.
    pub(crate) fn disk(&self, node: u64) -> Platter {
        let Shared { executor, setup, .. } = &*self.0;
        let fresh = || Platter::new(executor.clone(), setup.seed, node, setup.speed, setup.lies);
        self.nodes().disks.entry(node).or_insert_with(fresh).clone()
    }

    /// Starts a process of `node`, unless there is one, or it is never to be started again.
    pub(crate) fn start(&self, node: u64) {
        let disk = self.disk(node);
        let mut nodes = self.nodes();
        if nodes.retired.contains(&node) || !nodes.running.insert(node) {
            return;
        }
        let first_us = nodes.dice.below(1_000_000);
        drop(nodes);
        let Some(config) = self.setup().config(node) else { return };
        let fast_ppm = self.setup().drift_ppm(node, self.defect());
        let clock = Clock { began_us: self.executor().now_us(), first_us, fast_ppm };
        let place = self.executor().begin(node, clock);
        self.net().lit(node);
        self.tell(|| format!("node {node} starts"));
        let cluster = self.clone();
        self.executor().spawn_at(place, async move {
            let transport = cluster.net().transport(node);
            let started = match primacy_storage::open_on(disk.mount()) {
                Ok(opened) => Consensus::start_on(config, transport, opened).await,
                Err(error) => Err(StartError::Storage(error)),
            };
            match started {
                Ok(consensus) => cluster.come_up(place, consensus),
                Err(error) => cluster.refused(node, &error),
            }
        });
    }

    fn come_up(&self, place: Place, consensus: Consensus) {
        self.net().listen(place, &consensus);
        let halted = consensus.halted();
        self.nodes().living.insert(place.node, Living { place, consensus, halted });
    }

    fn refused(&self, node: u64, error: &StartError) {
        let expected = self.is_emptied(node) && matches!(error, StartError::Halted(_));
        self.tell(|| format!("node {node} does not start: {error}"));
        if !expected {
            let at_us = self.executor().now_us();
            self.checker().violate("starts", at_us, format!("node {node}: {error}"));
        }
    }

    /// Ends the process of `node`; with `dark` its host goes off with it.
    pub(crate) fn kill(&self, node: u64, dark: bool) {
        let mut nodes = self.nodes();
        if !nodes.running.remove(&node) {
            return;
        }
        nodes.frozen_us.remove(&node);
        let living = nodes.living.remove(&node);
        let disk = nodes.disks.get(&node).cloned();
        drop(nodes);
        self.tell(|| format!("node {node} {}", if dark { "loses its power" } else { "is killed" }));
        self.net().gone(node, dark);
        self.executor().kill(node);
        self.checker().forget(node);
        if let Some(living) = living {
            // What its end wakes belongs to a process that is over.
            self.executor().at(living.place, || drop(living.consensus));
        }
        if disk.is_some_and(|disk| disk.crash()) {
            self.checker().count("batches_lost");
        }
    }

    /// Stops `node` where it stands.
    pub(crate) fn freeze(&self, node: u64) {
        let now_us = self.executor().now_us();
        let mut nodes = self.nodes();
        if nodes.running.contains(&node) && !nodes.frozen_us.contains_key(&node) {
            nodes.frozen_us.insert(node, now_us);
            drop(nodes);
            self.tell(|| format!("node {node} is frozen"));
            self.executor().freeze(node);
        }
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self, node: u64) {
        let frozen_us = self.nodes().frozen_us.remove(&node);
        let Some(frozen_us) = frozen_us else { return };
        let now_us = self.executor().now_us();
        self.tell(|| format!("node {node} goes on"));
        if self.defect() == Some(Defect::ClockStopsWithProcess) {
            self.executor().set_back(node, now_us - frozen_us);
        }
        self.executor().thaw(node);
    }

    /// Ends a node for good.
    pub(crate) fn retire(&self, node: u64) {
        self.kill(node, false);
        self.nodes().retired.insert(node);
        self.tell(|| format!("node {node} is retired"));
    }

    /// Takes everything from the disk of `node`, which is down.
    pub(crate) fn empty(&self, node: u64) {
        let keeps_name = self.defect() == Some(Defect::EmptiedUnderItsName);
        self.disk(node).empty(keeps_name);
        self.nodes().emptied.insert(node);
        self.tell(|| format!("the disk of node {node} is emptied"));
    }

    /// Whether its disk was emptied.
    pub(crate) fn is_emptied(&self, node: u64) -> bool {
        self.nodes().emptied.contains(&node)
    }

    /// Whether any disk was.
    pub(crate) fn any_emptied(&self) -> bool {
        !self.nodes().emptied.is_empty()
    }

    /// All nodes that were ever started and are not retired.
    pub(crate) fn known(&self) -> Vec<u64> {
        let nodes = self.nodes();
        nodes.disks.keys().copied().filter(|node| !nodes.retired.contains(node)).collect()
    }

    /// Those that have come up.
    pub(crate) fn living(&self) -> Vec<Living> {
        self.nodes().living.values().cloned().collect()
    }

    /// The process of `node`, when it has come up.
    pub(crate) fn process(&self, node: u64) -> Option<Living> {
        self.nodes().living.get(&node).cloned()
    }

    /// The process that certainly leads.
    pub(crate) fn leader(&self) -> Option<Living> {
        self.living()
            .into_iter()
            .find(|living| self.executor().at(living.place, || living.consensus.has_authority()))
    }

    /// The id of the process that certainly leads.
    pub(crate) fn leading(&self) -> Option<NodeId> {
        self.leader().map(|living| NodeId(living.place.node))
    }

    /// Runs `work` in the process of `living`; none when that ends first.
    pub(crate) async fn within<T: Send + 'static>(
        &self,
        living: &Living,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        self.executor().spawn_at(living.place, async move {
            // Who asked may be gone.
            let _ = tell.send(work.await);
        });
        told.await.ok()
    }

    /// Runs `work` in the world.
    pub(crate) fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.executor().spawn_at(Place { node: WORLD, life: 0 }, work);
    }
}
