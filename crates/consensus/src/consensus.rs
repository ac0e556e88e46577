//! The handle: what the rest of the node sees.

use crate::context::{Core, Identity};
use crate::leadership::LeadershipView;
use crate::machine::{Machine, Replica};
use crate::membership::{Membership, change};
use crate::network::Network;
use crate::propose::Committed;
use crate::reads::{self, Reads};
use crate::service::{MESSAGE_BYTES_MAX, RaftService, Service};
use crate::{
    ChangeError, Config, Grpc, Halted, LeaderHint, Link, Peer, ProposeError, ReadError, StartError, Transport,
};
use crate::{founding, leadership, succession, upkeep};
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use primacy_core::{Command, NodeId, Revision, State};
use primacy_runtime::{Task, watch};
use primacy_storage::{Opened, Proposal};
use primacy_wire::v1::raft_server::RaftServer;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a leader that shuts down tries to hand over.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);

/// How long a snapshot is waited for before it is asked for again.
const SNAPSHOT_AGAIN: Duration = Duration::from_millis(100);

/// This node's part in the cluster. Cheap to clone. When the last clone is gone its tasks end; better is
/// [`Consensus::shutdown`].
#[derive(Clone)]
pub struct Consensus(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    reads: Reads,
    leadership: watch::Receiver<LeadershipView>,
    tasks: Mutex<Vec<Task<()>>>,
}

impl fmt::Debug for Consensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consensus").field("node", &self.0.core.node()).finish_non_exhaustive()
    }
}

impl Consensus {
    /// Opens the data directory and takes part in the cluster, over gRPC. It returns before the cluster is founded,
    /// because the others need this node's answers for that: serve [`Consensus::raft_service`] at once.
    ///
    /// # Errors
    /// A data directory that cannot be used, or that is known to be an emptied one.
    pub async fn start(config: Config) -> Result<Consensus, StartError> {
        Self::start_over(config, Arc::new(Grpc)).await
    }

    /// The same over another transport.
    ///
    /// # Errors
    /// As [`Consensus::start`].
    pub async fn start_over(config: Config, transport: Arc<dyn Transport>) -> Result<Consensus, StartError> {
        let fatal = |reason: String| StartError::Fatal { reason };
        // Looked at before anything is created.
        config.raft().map_err(|e| StartError::Timings { reason: e.to_string() })?;
        let (dir, cluster, node) = (config.data_dir.clone(), config.cluster.clone(), config.node);
        let opened = primacy_runtime::blocking(move || primacy_storage::open(&dir, &cluster, node)).await;
        Self::start_on(config, transport, opened.map_err(|e| fatal(e.to_string()))??).await
    }

    /// The same on a store that is open already, whatever disk it lies on; the data directory is not looked at.
    ///
    /// # Errors
    /// As [`Consensus::start`].
    pub async fn start_on(
        config: Config,
        transport: Arc<dyn Transport>,
        opened: Opened,
    ) -> Result<Consensus, StartError> {
        let fatal = |reason: String| StartError::Fatal { reason };
        let raft_config = config.raft().map_err(|e| StartError::Timings { reason: e.to_string() })?;
        let node = config.node;
        let replica = Arc::new(Replica::new());
        let identity = Arc::new(Identity::new(config, opened.store_id, replica.clone(), transport));
        if opened.fresh {
            identity.refuse_emptied().await?;
        }
        let machine = Machine::open(replica, opened.snapshots).await.map_err(|e| fatal(e.to_string()))?;
        let network = Network(identity.clone());
        let raft = Raft::new(node.0, Arc::new(raft_config), network, opened.log, machine).await;
        let raft = raft.map_err(|e| fatal(e.to_string()))?;
        let initialized = raft.is_initialized().await.map_err(|e| fatal(e.to_string()))?;
        Ok(Self::run(Arc::new(Core::new(identity, raft, initialized))))
    }

    fn run(core: Arc<Core>) -> Consensus {
        let (reads, waiting) = reads::channel();
        let (views, leadership) = watch::channel(LeadershipView::default());
        let mut tasks = vec![
            primacy_runtime::spawn(leadership::publish(core.clone(), views)),
            primacy_runtime::spawn(reads::serve(core.clone(), waiting)),
            primacy_runtime::spawn(upkeep::run(core.clone(), leadership.clone())),
            primacy_runtime::spawn(succession::run(core.clone(), leadership.clone())),
        ];
        if !core.is_open() {
            tasks.push(primacy_runtime::spawn(founding::settle(core.clone())));
        }
        Consensus(Arc::new(Inner { core, reads, leadership, tasks: Mutex::new(tasks) }))
    }

    /// The service for the other nodes.
    pub fn raft_service(&self) -> RaftServer<RaftService> {
        RaftServer::new(RaftService(Service::new(self.0.core.clone())))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The same for a [`Transport`] within this process.
    pub fn service(&self) -> Arc<dyn Link> {
        Arc::new(Service::new(self.0.core.clone()))
    }

    /// Why this node no longer takes part; none while it does. The process should end when this is set.
    pub fn halted(&self) -> watch::Receiver<Option<Halted>> {
        self.0.core.halted()
    }

    /// Proposes `command` as leader and waits until it is applied here.
    ///
    /// # Errors
    /// See [`ProposeError`]. Only [`ProposeError::OutcomeUnknown`] may have been committed, or be committed later.
    pub async fn propose(&self, command: Command, within: Duration) -> Result<Committed, ProposeError> {
        self.0.core.propose(Proposal::from(command), within).await
    }

    /// Looks at the state as applied here, however old. Keep `f` short: entries wait for it.
    pub fn read<R>(&self, f: impl FnOnce(&State) -> R) -> R {
        self.0.core.replica().read(f)
    }

    /// The revision of the state as applied here, bumped after each batch that changed something.
    pub fn revision_watch(&self) -> watch::Receiver<Revision> {
        self.0.core.replica().revisions()
    }

    /// Who leads, as far as this node knows.
    pub fn leadership(&self) -> watch::Receiver<LeadershipView> {
        self.0.leadership.clone()
    }

    /// After this, [`Consensus::read`] sees all that was committed before the call, anywhere. Asks a quorum.
    ///
    /// # Errors
    /// [`ReadError`] when this node does not lead, or no quorum confirms it within the time given.
    pub async fn linearizable(&self, within: Duration) -> Result<(), ReadError> {
        self.0.reads.linearizable(within).await
    }

    /// The same by the leader's lease, without asking: right as long as no clock of the cluster runs one percent
    /// faster than this one.
    ///
    /// # Errors
    /// [`ReadError`] when this node does not lead, or its lease is over.
    pub fn lease(&self) -> impl Future<Output = Result<(), ReadError>> + Send + 'static {
        std::future::ready(self.0.core.lease().map(drop))
    }

    /// Whether this node is certainly the only leader at this moment, and has applied what came before it. Asked
    /// before each action on the outside world; costs a look at a clock.
    pub fn has_authority(&self) -> bool {
        self.0.core.lease().is_ok()
    }

    /// How long ago this node certainly held all that was committed, anywhere in the cluster; none when it never did.
    /// About a heartbeat and a round trip where all is well; on the far side of a cut it grows, also beside a leader
    /// that was cut off too.
    pub fn staleness(&self) -> Option<Duration> {
        self.0.core.staleness()
    }

    /// Who belongs to the cluster, and, on the leader, how each one keeps up.
    pub fn membership(&self) -> Membership {
        self.0.core.membership()
    }

    /// Adds a node without a vote, and waits until it holds the log. The node must run already.
    ///
    /// # Errors
    /// [`ChangeError`]; the node may be a learner already when it only did not catch up in time.
    pub async fn add_learner(&self, node: Peer, within: Duration) -> Result<(), ChangeError> {
        change::add_learner(self.0.core.clone(), node, within).await
    }

    /// Gives a learner a vote, once it holds the log.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn promote(&self, node: NodeId, within: Duration) -> Result<(), ChangeError> {
        change::promote(self.0.core.clone(), node, within).await
    }

    /// Removes a node, dead or alive; a leader that removes itself hands over. Its id is never used again.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn remove(&self, node: NodeId, within: Duration) -> Result<(), ChangeError> {
        change::remove(self.0.core.clone(), node, within).await
    }

    /// Hands leadership to `to`, or to the voter that keeps up best; returns the leader that came of it.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn transfer(&self, to: Option<NodeId>, within: Duration) -> Result<LeaderHint, ChangeError> {
        self.0.core.transfer(to, within).await
    }

    /// Takes a snapshot of what is applied here and drops the log that it covers. Returns the last index in it.
    ///
    /// # Errors
    /// [`ChangeError`] when it is not there in time.
    pub async fn snapshot(&self, within: Duration) -> Result<u64, ChangeError> {
        let core = &self.0.core;
        let wanted = core.replica().progress_now().next;
        let stopped = |reason: String| ChangeError::Unavailable { reason };
        let mut metrics = core.raft.data_metrics();
        let taken = async {
            loop {
                let covered = metrics.borrow_and_update().snapshot.map(|id| id.index);
                if let Some(index) = covered.filter(|index| index + 1 >= wanted) {
                    return Ok(index);
                }
                // Asked for again: openraft ignores it while it builds one that covers less.
                core.raft.trigger().snapshot().await.map_err(|e| stopped(e.to_string()))?;
                let changed = primacy_runtime::timeout(SNAPSHOT_AGAIN, metrics.changed()).await;
                changed.unwrap_or(Ok(())).map_err(|e| stopped(e.to_string()))?;
            }
        };
        let late = || Err(stopped(format!("the snapshot is not there after {within:?}")));
        primacy_runtime::timeout(within, taken).await.unwrap_or_else(|_| late())
    }

    /// Hands leadership over when leading, then stops. The data directory can be opened again afterwards.
    pub async fn shutdown(&self) {
        let core = &self.0.core;
        if core.lease().is_ok() && core.membership().nodes.values().filter(|member| member.voter).count() > 1
        {
            // It was logged; the others elect one by themselves.
            let _ = core.transfer(None, HAND_OVER_WITHIN).await;
        }
        self.stop().await;
    }

    /// Stops at once, as a crash would, but with everything closed.
    pub async fn stop(&self) {
        let core = &self.0.core;
        let tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            task.abort();
            // Cancelled, which was asked for.
            let _ = task.await;
        }
        if let Err(error) = core.raft.shutdown().await {
            tracing::warn!(node = %core.node(), "consensus did not stop cleanly: {error}");
        }
    }
}
