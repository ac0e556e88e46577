//! Handing leadership over on purpose.
//!
//! openraft does not take a hand-over back: the leader refuses proposals until another one is elected. So the
//! successor is looked at first, and one that is not in touch and caught up is refused.

use crate::config::CAUGHT_UP_ENTRIES;
use crate::context::{Core, leader_in, peer};
use crate::{ChangeError, LeaderHint, Membership};
use openraft::async_runtime::watch::WatchReceiver;
use primacy_core::{NodeId, Term};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn refused(code: &'static str, message: String) -> ChangeError {
    ChangeError::Refused { code, message }
}

fn unreachable(node: NodeId) -> ChangeError {
    refused("node_unreachable", format!("node {node} does not answer; choose another, or start it"))
}

impl Core {
    /// Hands over to `to`, or to the voter that is closest to this node's log; returns who leads then.
    pub(crate) async fn transfer(
        &self,
        to: Option<NodeId>,
        within: Duration,
    ) -> Result<LeaderHint, ChangeError> {
        let term = self.lease()?;
        let to = self.successor(to)?;
        self.reach(to).await?;
        self.handing_over.store(term.0, Ordering::Release);
        tracing::info!(node = %self.node(), %to, "hands its leadership over");
        let outcome = match self.raft.trigger().transfer_leader(to.0).await {
            Ok(()) => self.next_leader(term, within).await.and_then(|leader| {
                let reason = format!("node {to} did not take over; node {} leads now", leader.id);
                if leader.id == to { Ok(leader) } else { Err(ChangeError::Unavailable { reason }) }
            }),
            Err(fatal) => Err(ChangeError::Unavailable { reason: fatal.to_string() }),
        };
        // The lease of this term stays given up: the successor may still be elected without waiting for it.
        match &outcome {
            Ok(leader) => {
                tracing::info!(leader = %leader.id, term = %leader.term, "leadership is handed over");
            }
            Err(error) => tracing::warn!(%to, "leadership is not handed over: {error}"),
        }
        outcome
    }

    fn successor(&self, to: Option<NodeId>) -> Result<NodeId, ChangeError> {
        let membership = self.membership();
        match to {
            Some(to) if to == self.node() => {
                Err(refused("already_leader", format!("node {to} leads already")))
            }
            Some(to) => self.check_successor(&membership, to).map(|()| to),
            None => {
                let fit =
                    membership.nodes.iter().filter(|(id, _)| self.check_successor(&membership, **id).is_ok());
                let best = fit.max_by_key(|(_, member)| member.matched_index);
                best.map(|(id, _)| *id).ok_or_else(|| {
                    let message =
                        "no other voter is in touch and caught up; `primacy cluster status` shows them";
                    refused("no_successor", message.to_owned())
                })
            }
        }
    }

    fn check_successor(&self, membership: &Membership, to: NodeId) -> Result<(), ChangeError> {
        let Some(member) = membership.nodes.get(&to) else {
            let message = format!("node {to} is not in the cluster; `primacy cluster status` lists them");
            return Err(refused("unknown_node", message));
        };
        if !member.voter {
            let message = format!("node {to} has no vote; `primacy cluster promote {to}` gives it one");
            return Err(refused("not_a_voter", message));
        }
        let fresh = self.config().timings.heartbeat * 3;
        if to == self.node() || member.last_ack_age.is_none_or(|age| age > fresh) {
            return Err(unreachable(to));
        }
        let lag = membership.lag(to);
        if lag.is_none_or(|lag| lag > CAUGHT_UP_ENTRIES) {
            let message = format!("node {to} lags behind the log; try again when it has caught up");
            return Err(refused("node_lags", message));
        }
        Ok(())
    }

    /// Its last answer may be older than its death.
    async fn reach(&self, to: NodeId) -> Result<(), ChangeError> {
        let peer = self.metrics(|m| peer(to.0, m.membership_config.membership().get_node(&to.0)?));
        let peer = peer.ok_or_else(|| unreachable(to))?;
        self.identity.identify(&peer).await.map(drop).map_err(|_| unreachable(to))
    }

    /// The leader of a later term.
    async fn next_leader(&self, term: Term, within: Duration) -> Result<LeaderHint, ChangeError> {
        let mut metrics = self.raft.server_metrics();
        let found = async {
            loop {
                // These metrics themselves: the others are published a moment later.
                let leader = {
                    let seen = metrics.borrow_and_update();
                    leader_in(&seen.vote, seen.membership_config.membership())
                };
                if let Some(leader) = leader.filter(|leader| leader.term > term) {
                    return Ok(leader);
                }
                if metrics.changed().await.is_err() {
                    return Err(ChangeError::Unavailable { reason: "this node has stopped".to_owned() });
                }
            }
        };
        primacy_runtime::timeout(within, found).await.unwrap_or_else(|_| {
            let reason = format!("no new leader is known after {within:?}");
            Err(ChangeError::OutcomeUnknown { reason })
        })
    }
}
