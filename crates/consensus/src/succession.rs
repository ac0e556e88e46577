//! The leader's process is gone: its voters elect another at once, instead of waiting for its lease to end.
//!
//! The problem: a voter promises a leader not to elect another for `election_max` after it heard it, which is most of
//! the time that the loss of a leader costs. The idea: that promise is owed to a process that may still act on it. A
//! killed one does not, and its kernel says so. Each voter holds a connection to the leader on which nothing is said;
//! when that ends by EOF and a new one is refused, the process is gone. A reset says nothing, because firewalls reset.
//! A candidate begins only when a majority of the voters has found the same, each by itself, so that a healthy leader
//! is not deposed by one voter's broken network. (The same exception as for a hand-over: Ongaro's dissertation, 4.2.3
//! and 6.4.1.)
//!
//! Who has the longest log of those begins: the others would be refused, and a candidate that was refused has voted for
//! itself, which stands in the way of the next one in the same term.

use crate::context::{Core, peer};
use crate::{LeaderHint, LeadershipView, Peer};
use futures::FutureExt;
use futures::future::{Either, join_all, select};
use primacy_core::{Moment, NodeId};
use primacy_runtime::watch;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How much later each next voter begins, in the order of their ids: two candidates at once elect nobody.
const TURN: Duration = Duration::from_millis(40);

/// The pause before the others are asked again whether they see it, too.
const ROUND_PAUSE: Duration = Duration::from_millis(10);

/// What an election may take before another one is begun.
const ELECTION_WITHIN: Duration = Duration::from_millis(200);

/// So long it is tried; after that the timeout of elections decides.
const TRIED_FOR: Duration = Duration::from_secs(2);

/// A line that ended, or could not be opened, is opened again so long after it was opened before, at the earliest.
const LINE_AGAIN: Duration = Duration::from_millis(200);

/// Holds a line to whoever leads, and looks into each end of it.
pub(crate) async fn run(core: Arc<Core>, mut leadership: watch::Receiver<LeadershipView>) {
    let mut stood_at = None;
    loop {
        let leader = leadership.borrow_and_update().leader.clone();
        let other = leader.filter(|leader| leader.id != core.node());
        let step = async {
            match (other, core.lost_leader()) {
                (Some(leader), _) => return core.hold_line(&leader, &mut stood_at).await,
                (None, Some(lost)) if !core.leads_itself() => {
                    // A vote was cast, here or for another: that election is given its time first.
                    stood_at.get_or_insert_with(primacy_runtime::now);
                    core.succeed(&lost, &mut stood_at).await;
                }
                (None, _) => {}
            }
            std::future::pending::<()>().await;
        };
        if let Either::Right((Err(_), _)) = select(Box::pin(step), leadership.changed().boxed()).await {
            return;
        }
    }
}

impl Core {
    /// The term of the leader whose process this node knows to be gone; none while it may be there. A vote that was
    /// cast since does not make it forget: the others may still need its word.
    ///
    /// Who is asked for a vote waits for this, and so does the candidate: a refusal takes a round trip, which a
    /// heartbeat is longer than, and what takes longer is no refusal.
    pub(crate) async fn leader_gone(&self) -> Option<u64> {
        let lost = self.lost_leader()?;
        let peer = peer_of(&lost);
        let refused = self.identity.nobody_listens(&peer);
        let gone = primacy_runtime::timeout(self.config().timings.heartbeat, refused).await;
        gone.unwrap_or(false).then_some(lost.term.0)
    }

    /// Whether this node owes a leader the promise not to elect another, although that leader is gone.
    pub(crate) async fn promised_to_one_gone(&self) -> bool {
        let Some(promised) = self.other_leader().map(|leader| leader.term.0) else { return false };
        self.lost_leader().is_some_and(|lost| lost.term.0 == promised)
            && self.leader_gone().await == Some(promised)
    }

    /// The index of the last entry of this node's log.
    pub(crate) fn last_log_index(&self) -> u64 {
        self.metrics(|metrics| metrics.last_log_index.unwrap_or(0))
    }

    fn lost_leader(&self) -> Option<LeaderHint> {
        self.line_lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lose_line(&self, to: Option<LeaderHint>) {
        *self.line_lost.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    fn leads_itself(&self) -> bool {
        self.leader_hint().is_some_and(|leader| leader.id == self.node())
    }

    /// Opens a line to the leader and waits for its end.
    async fn hold_line(&self, leader: &LeaderHint, stood_at: &mut Option<Moment>) {
        let again = primacy_runtime::now().after(LINE_AGAIN);
        if let Some(line) = self.identity.line(&peer_of(leader)).await {
            self.lose_line(None);
            *stood_at = None;
            if line.await {
                self.lose_line(Some(leader.clone()));
                self.succeed(leader, stood_at).await;
            }
        }
        primacy_runtime::sleep_until(again).await;
    }

    /// Stands for election in its turn, when a majority of the voters finds the leader gone. Ends when nothing comes of
    /// it; what comes of it is seen like any other election, and ends the wait for this.
    async fn succeed(&self, leader: &LeaderHint, stood_at: &mut Option<Moment>) {
        let Some((turn, voters)) = self.turn(leader.id) else { return };
        let until = primacy_runtime::now().after(TRIED_FOR);
        primacy_runtime::sleep(TURN * turn).await;
        while self.halt_reason().is_none() && primacy_runtime::now() < until {
            if let Some(at) = *stood_at {
                primacy_runtime::sleep_until(at.after(ELECTION_WITHIN + TURN * turn)).await;
            }
            if self.leader_gone().await != Some(leader.term.0) {
                return;
            }
            if self.is_next(leader, &voters).await {
                tracing::warn!(node = %self.node(), leader = %leader.id, term = %leader.term, "the leader is gone: stands for election");
                *stood_at = Some(primacy_runtime::now());
                if self.raft.trigger().elect(false).await.is_err() {
                    return;
                }
            } else {
                primacy_runtime::sleep(ROUND_PAUSE).await;
            }
        }
    }

    /// Whether a majority finds the leader gone, and none of those has a longer log than this node.
    async fn is_next(&self, leader: &LeaderHint, voters: &Voters) -> bool {
        let asked = join_all(voters.others.iter().map(|peer| self.identity.identify(peer))).await;
        let agree: Vec<_> =
            asked.iter().flatten().filter(|answer| answer.leader_gone_term == leader.term.0).collect();
        let log = self.last_log_index();
        agree.len() + 1 > voters.total / 2 && agree.iter().all(|answer| answer.last_log_index <= log)
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
