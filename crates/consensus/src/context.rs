//! What all parts of one node's consensus share.

use crate::authority::{Knowledge, knowledge};
use crate::echo::{Echo, Heard};
use crate::machine::{Machine, Replica};
use crate::transport::Line;
use crate::{Config, Halted, LeaderHint, Link, Peer, Transport};
use openraft::Raft;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;
use primacy_core::{Moment, NodeId, SiteName, Term};
use primacy_runtime::watch;
use primacy_storage::{Membership, NodeInfo, TypeConfig, Vote};
use primacy_wire::v1;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub(crate) type Metrics = RaftMetrics<TypeConfig>;

/// The link to each peer, and the address it leads to.
type Links = BTreeMap<NodeId, (String, Arc<dyn Link>)>;

/// Who this node is, and how it reaches the others. Made before Raft runs, which needs it.
pub(crate) struct Identity {
    pub(crate) config: Config,
    pub(crate) store_id: u64,
    pub(crate) replica: Arc<Replica>,
    transport: Arc<dyn Transport>,
    links: Mutex<Links>,
    pub(crate) echo: Echo,
    /// The newest time of each follower.
    heard: Mutex<BTreeMap<NodeId, Heard>>,
    /// What openraft says of itself, once it runs.
    metrics: OnceLock<WatchReceiverOf<TypeConfig, Metrics>>,
}

impl Identity {
    pub(crate) fn new(
        config: Config,
        store_id: u64,
        replica: Arc<Replica>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        Self {
            config,
            store_id,
            replica,
            transport,
            links: Mutex::default(),
            echo: Echo::new(),
            heard: Mutex::default(),
            metrics: OnceLock::new(),
        }
    }

    /// A follower answered, and told its time.
    pub(crate) fn hear(&self, follower: NodeId, time: Option<v1::FollowerTime>) {
        if let Some(time) = time {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.insert(follower, Heard::new(time, primacy_runtime::now()));
        }
    }

    /// The newest time of a follower.
    pub(crate) fn heard(&self, follower: NodeId) -> Option<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&follower).copied()
    }

    /// What this node knows as leader of `term`.
    pub(crate) fn knowledge(&self, term: u64, now: Moment) -> Option<Knowledge> {
        knowledge(&self.metrics.get()?.borrow_watched(), term, now)
    }

    pub(crate) fn node(&self) -> NodeId {
        self.config.node
    }

    /// The one link to `peer`, made anew when its address changed.
    pub(crate) fn link(&self, peer: &Peer) -> Arc<dyn Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        match links.get(&peer.id) {
            Some((address, link)) if *address == peer.address => link.clone(),
            _ => {
                let link = self.transport.link(peer);
                links.insert(peer.id, (peer.address.clone(), link.clone()));
                link
            }
        }
    }

    /// A silent connection to `peer`, if it can be opened.
    pub(crate) async fn line(&self, peer: &Peer) -> Option<Line> {
        self.transport.line(peer).await
    }

    /// Whether a connection to `peer` is refused: its host is there, and no process of it listens.
    pub(crate) async fn nobody_listens(&self, peer: &Peer) -> bool {
        self.transport.nobody_listens(peer).await
    }

    pub(crate) fn header(&self, to: NodeId) -> v1::RaftHeader {
        v1::RaftHeader {
            cluster: self.config.cluster.clone(),
            from_node: self.node().0,
            to_node: to.0,
            from_store_id: self.store_id,
            to_store_id: self.replica.store_of(to).unwrap_or(0),
        }
    }
}

/// A peer as the membership has it; none when its site's name is none, which nothing of ours writes.
pub(crate) fn peer(id: u64, info: &NodeInfo) -> Option<Peer> {
    let site = SiteName::new(&info.site).ok()?;
    Some(Peer { id: NodeId(id), site, address: info.address.clone() })
}

pub(crate) struct Core {
    pub(crate) identity: Arc<Identity>,
    pub(crate) raft: Raft<TypeConfig, Machine>,
    /// Whether this node answers to Raft: its data directory is known to be the right one.
    open: AtomicBool,
    halted: watch::Sender<Option<Halted>>,
    /// The term whose leadership this node is handing over; it must not rely on its lease any more.
    pub(crate) handing_over: AtomicU64,
    /// The leader whose line to this node ended by EOF, until another is open.
    pub(crate) line_lost: Mutex<Option<LeaderHint>>,
    /// One change of the membership at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

impl Core {
    pub(crate) fn new(identity: Arc<Identity>, raft: Raft<TypeConfig, Machine>, open: bool) -> Self {
        // Only this one is made for an identity.
        let _ = identity.metrics.set(raft.metrics());
        Self {
            identity,
            raft,
            open: AtomicBool::new(open),
            halted: watch::channel(None).0,
            handing_over: AtomicU64::new(u64::MAX),
            line_lost: Mutex::default(),
            changing: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.identity.config
    }

    pub(crate) fn node(&self) -> NodeId {
        self.identity.node()
    }

    pub(crate) fn replica(&self) -> &Replica {
        &self.identity.replica
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    pub(crate) fn open(&self) {
        if !self.open.swap(true, Ordering::AcqRel) {
            tracing::info!(node = %self.node(), "takes part in the cluster");
        }
    }

    pub(crate) fn halted(&self) -> watch::Receiver<Option<Halted>> {
        self.halted.subscribe()
    }

    pub(crate) fn halt_reason(&self) -> Option<Halted> {
        self.halted.borrow().clone()
    }

    /// Stops taking part, for good.
    pub(crate) fn halt(&self, why: Halted) {
        self.open.store(false, Ordering::Release);
        self.halted.send_if_modified(|held| {
            let first = held.is_none();
            if first {
                tracing::error!(node = %self.node(), "{why}");
                *held = Some(why);
            }
            first
        });
    }

    /// Looks at openraft's view of this moment. Keep it short: openraft waits for it.
    pub(crate) fn metrics<R>(&self, f: impl FnOnce(&Metrics) -> R) -> R {
        f(&self.raft.metrics().borrow_watched())
    }

    /// Who leads, as far as this node knows.
    pub(crate) fn leader_hint(&self) -> Option<LeaderHint> {
        self.metrics(|m| leader_in(&m.vote, m.membership_config.membership()))
    }

    /// Another node that leads, as far as this node knows.
    pub(crate) fn other_leader(&self) -> Option<LeaderHint> {
        self.leader_hint().filter(|leader| leader.id != self.node())
    }

    /// Whether this node knows that there ever was a leader. The founding alone writes entry 0.
    pub(crate) fn knows_leader(&self) -> bool {
        self.metrics(|m| m.last_log_index.is_some_and(|index| index > 0) || m.last_applied.is_some())
    }
}

/// The leader that a committed vote names.
pub(crate) fn leader_in(vote: &Vote, membership: &Membership) -> Option<LeaderHint> {
    // The founding writes a committed vote of term 0, which nobody leads.
    if !vote.committed || vote.leader_id.term == 0 {
        return None;
    }
    let id = vote.leader_id.voted_for;
    let peer = peer(id, membership.get_node(&id)?)?;
    Some(LeaderHint { id: peer.id, site: peer.site, address: peer.address, term: Term(vote.leader_id.term) })
}
