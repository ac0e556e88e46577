//! The leader's process is gone: its voters elect another at once, instead of waiting for its lease to end.
//!
//! The problem: a voter promises a leader not to elect another for `election_max` after it heard it, which is most of
//! the time that the loss of a leader costs. The idea: that promise is owed to a process that may still act on it. A
//! killed one does not, and its kernel says so. Each voter holds a connection to the leader on which nothing is said;
//! when that ends by EOF and a new one is refused, the process is gone. A reset says nothing, because firewalls reset.
//! A candidate begins only when a majority of the voters has found the same, each by itself, so that a healthy leader
//! is not deposed by one voter's broken network. (The same exception as for a hand-over: Ongaro's dissertation, 4.2.3
//! and 6.4.1.)

use crate::context::{Core, peer};
use crate::{LeaderHint, LeadershipView, Peer};
use futures::FutureExt;
use futures::future::{Either, join_all, select};
use primacy_core::NodeId;
use primacy_runtime::watch;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How much later each next voter begins, in the order of their ids: two candidates at once elect nobody.
const TURN: Duration = Duration::from_millis(40);

/// How often the others are asked whether they see it, too.
const ROUNDS: u32 = 5;
const ROUND_PAUSE: Duration = Duration::from_millis(10);

/// The pause before a line that ended, or could not be opened, is opened again.
const LINE_AGAIN: Duration = Duration::from_millis(200);

/// Holds a line to whoever leads, and looks into each end of it.
pub(crate) async fn run(core: Arc<Core>, mut leadership: watch::Receiver<LeadershipView>) {
    loop {
        let leader = leadership.borrow_and_update().leader.clone();
        let other = leader.filter(|leader| leader.id != core.node());
        let Some(leader) = other else {
            if leadership.changed().await.is_err() {
                return;
            }
            continue;
        };
        let held = Box::pin(core.hold_line(&leader));
        let goes_on = match select(held, leadership.changed().boxed()).await {
            Either::Left(_) => true,
            Either::Right((changed, _)) => changed.is_ok(),
        };
        if !goes_on {
            return;
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
        self.line_lost.load(Ordering::Acquire) == leader.term.0
            && self.identity.nobody_listens(&peer_of(leader)).await
    }

    /// Opens a line to the leader and waits for its end.
    async fn hold_line(&self, leader: &LeaderHint) {
        if let Some(line) = self.identity.line(&peer_of(leader)).await {
            self.line_lost.store(u64::MAX, Ordering::Release);
            if line.await {
                self.line_lost.store(leader.term.0, Ordering::Release);
                self.succeed(leader).await;
            }
        }
        primacy_runtime::sleep(LINE_AGAIN).await;
    }

    /// Stands for election in its turn, when a majority of the voters finds the leader gone.
    async fn succeed(&self, leader: &LeaderHint) {
        if self.halt_reason().is_some() || !self.is_gone(leader).await {
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

fn peer_of(leader: &LeaderHint) -> Peer {
    Peer { id: leader.id, site: leader.site.clone(), address: leader.address.clone() }
}

struct Voters {
    /// All of them, the one that is gone included.
    total: usize,
    /// Those that are left, without this node.
    others: Vec<Peer>,
}
