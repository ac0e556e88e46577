//! Handing leadership over on purpose.
//!
//! openraft does not take a hand-over back: the leader refuses proposals until another one is elected. So the
//! successor is looked at first, and one that is not in touch and caught up is refused.

use crate::config::CAUGHT_UP_ENTRIES;
use crate::context::Core;
use crate::{ChangeError, LeaderHint, Membership};
use openraft::async_runtime::watch::WatchReceiver;
use primacy_core::{NodeId, Term};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn refused(code: &'static str, message: String) -> ChangeError {
    ChangeError::Refused { code, message }
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
        self.handing_over.store(term.0, Ordering::Release);
        tracing::info!(node = %self.node(), %to, "hands its leadership over");
        let outcome = match self.raft.trigger().transfer_leader(to.0).await {
            Ok(()) => self.next_leader(term, within).await,
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
            let message = format!("node {to} does not answer; choose another, or start it");
            return Err(refused("node_unreachable", message));
        }
        let lag = membership.lag(to);
        if lag.is_none_or(|lag| lag > CAUGHT_UP_ENTRIES) {
            let message = format!("node {to} lags behind the log; try again when it has caught up");
            return Err(refused("node_lags", message));
        }
        Ok(())
    }

    /// The leader of a later term.
    async fn next_leader(&self, term: Term, within: Duration) -> Result<LeaderHint, ChangeError> {
        let mut metrics = self.raft.server_metrics();
        let found = async {
            loop {
                drop(metrics.borrow_and_update());
                if let Some(leader) = self.leader_hint().filter(|leader| leader.term > term) {
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
