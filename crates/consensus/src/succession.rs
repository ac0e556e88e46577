//! The leader's process is gone: its voters elect another at once, instead of waiting for its lease to end.
//!
//! The problem: a voter promises a leader not to elect another for `election_max` after it heard it, which is most of
//! the time that the loss of a leader costs. The idea: that promise is owed to a process that may still act on it. A
//! killed one does not, and its kernel says so: the stream on which it sent entries ended, and a new connection to it is
//! refused. Each voter finds that out by itself, as it does for a member of a group; a candidate begins only when a
//! majority of the voters has found the same, so that a healthy leader is not deposed by one voter's broken network.
//! (The same exception as for a hand-over: Ongaro's dissertation, 4.2.3 and 6.4.1.)

use crate::context::{Core, peer};
use crate::{LeaderHint, Peer};
use futures::future::join_all;
use primacy_core::NodeId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How much later each next voter begins, in the order of their ids: two candidates at once elect nobody.
const TURN: Duration = Duration::from_millis(40);

/// How often the others are asked whether they see it, too.
const ROUNDS: u32 = 5;
const ROUND_PAUSE: Duration = Duration::from_millis(10);

/// The streams of entries that are open here, by the node that sends on them.
pub(crate) struct Streams {
    open: Mutex<BTreeMap<NodeId, usize>>,
    ended: mpsc::UnboundedSender<NodeId>,
}

/// Whose streams have ended.
pub(crate) struct Ended(mpsc::UnboundedReceiver<NodeId>);

impl Streams {
    pub(crate) fn new() -> (Self, Ended) {
        let (ended, receiver) = mpsc::unbounded_channel();
        (Self { open: Mutex::default(), ended }, Ended(receiver))
    }

    fn change(&self, from: NodeId, by: isize) -> usize {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(from).or_default();
        *count = count.saturating_add_signed(by);
        *count
    }

    /// Whether `from` sent on a stream that has ended, and on none since.
    fn have_ended(&self, from: NodeId) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&from) == Some(&0)
    }
}

/// One open stream, however it ends.
pub(crate) struct OpenStream {
    core: Arc<Core>,
    from: NodeId,
}

impl OpenStream {
    pub(crate) fn new(core: Arc<Core>, from: NodeId) -> Self {
        core.streams.change(from, 1);
        Self { core, from }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.core.streams.change(self.from, -1) == 0 {
            // A node that ends looks into nothing any more.
            let _ = self.core.streams.ended.send(self.from);
        }
    }
}

/// Looks into each end of a leader's streams.
pub(crate) async fn run(core: Arc<Core>, mut ended: Ended) {
    while let Some(from) = ended.0.recv().await {
        if let Some(leader) = core.other_leader().filter(|leader| leader.id == from) {
            core.succeed(leader).await;
        }
    }
}

impl Core {
    /// The term of the leader whose process this node knows to be gone; none while it may be there.
    pub(crate) async fn leader_gone(&self) -> Option<u64> {
        let leader = self.other_leader()?;
        self.is_gone(&leader).await.then_some(leader.term.0)
    }

    async fn is_gone(&self, leader: &LeaderHint) -> bool {
        if !self.streams.have_ended(leader.id) {
            return false;
        }
        let peer = Peer { id: leader.id, site: leader.site.clone(), address: leader.address.clone() };
        self.identity.nobody_listens(&peer).await
    }

    /// Stands for election in its turn, when a majority of the voters finds the leader gone.
    async fn succeed(&self, leader: LeaderHint) {
        if self.halt_reason().is_some() || !self.is_gone(&leader).await {
            return;
        }
        let Some((turn, voters)) = self.turn(leader.id) else { return };
        primacy_runtime::sleep(TURN * turn).await;
        for _ in 0..ROUNDS {
            let same = self.other_leader().is_some_and(|now| (now.id, now.term) == (leader.id, leader.term));
            if !same {
                return;
            }
            let asked = join_all(voters.others.iter().map(|peer| self.identity.identify(peer))).await;
            let agree =
                asked.iter().flatten().filter(|answer| answer.leader_gone_term == leader.term.0).count();
            if agree + 1 > voters.total / 2 {
                tracing::warn!(node = %self.node(), leader = %leader.id, term = %leader.term, "the leader is gone: stands for election");
                // What comes of it is seen like any other election.
                let _ = self.raft.trigger().elect(false).await;
                return;
            }
            primacy_runtime::sleep(ROUND_PAUSE).await;
        }
    }

    /// This node's place among the voters that are left; none when it has no vote.
    fn turn(&self, gone: NodeId) -> Option<(u32, Voters)> {
        self.metrics(|metrics| {
            let membership = metrics.membership_config.membership();
            let mut left: Vec<u64> = membership.voter_ids().collect();
            left.sort_unstable();
            let total = left.len();
            left.retain(|id| *id != gone.0);
            let place = left.iter().position(|id| *id == self.node().0)?;
            let others = left.iter().filter(|id| **id != self.node().0);
            let others = others.filter_map(|id| peer(*id, membership.get_node(id)?)).collect();
            Some((u32::try_from(place).ok()?, Voters { total, others }))
        })
    }
}

struct Voters {
    /// All of them, the one that is gone included.
    total: usize,
    /// Those that are left, without this node.
    others: Vec<Peer>,
}
