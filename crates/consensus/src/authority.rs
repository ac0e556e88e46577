//! How far this node may trust itself.
//!
//! A leader that a quorum answered at `t` is the only one until `t + election_max`: each of that quorum refuses other
//! candidates for so long after it heard the leader. The exception is a leadership that is handed over, whose
//! candidate the voters do not make wait, so a leader that hands over gives its lease up first.
//! (Ongaro's dissertation, 6.4.1; the lease counts from the sending of what was answered.)

use crate::context::{Core, Metrics, leader_in};
use crate::{LeaderHint, ReadError};
use openraft::ServerState;
use primacy_core::{Moment, Term};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The last moment at which a quorum stood behind this node as leader; none when none ever did.
pub(crate) fn quorum_at(metrics: &Metrics, now: Moment) -> Option<Moment> {
    let mut voters = metrics.membership_config.membership().voter_ids();
    let alone = voters.next() == Some(metrics.id) && voters.next().is_none();
    if alone { Some(now) } else { Some(metrics.last_quorum_acked?.into_inner().moment()) }
}

/// What a leader knows of all that was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Knowledge {
    /// The last moment at which a quorum stood behind it.
    pub(crate) at: Moment,
    /// All that was committed then, anywhere, were entries below this index.
    pub(crate) next: u64,
}

/// What this node knows as leader of `term`. Both come from one look: an entry that is not in it was committed after
/// the quorum's answer that is. What its predecessors committed a leader knows once an entry of its own is.
pub(crate) fn knowledge(metrics: &Metrics, term: u64, now: Moment) -> Option<Knowledge> {
    let committed = metrics.cluster_committed?;
    let knows = metrics.vote.leader_id.term == term && committed.leader_id.term == term;
    if !knows {
        return None;
    }
    Some(Knowledge { at: quorum_at(metrics, now)?, next: committed.index + 1 })
}

impl Core {
    /// The term that this node leads, however long ago it was heard.
    pub(crate) fn leads(&self, metrics: &Metrics) -> Option<Term> {
        let vote = &metrics.vote;
        let mine = vote.committed && vote.leader_id.voted_for == self.node().0;
        let leads = metrics.state == ServerState::Leader && mine && metrics.running_state.is_ok();
        leads.then_some(Term(vote.leader_id.term))
    }

    /// The term of the leadership that is certain at this moment.
    pub(crate) fn lease(&self) -> Result<Term, ReadError> {
        let now = primacy_runtime::now();
        let found = self.metrics(|metrics| {
            let Some(term) = self.leads(metrics) else {
                let hint = leader_in(&metrics.vote, metrics.membership_config.membership());
                return Err(hint.filter(|hint| hint.id != self.node()));
            };
            let voter = metrics.membership_config.membership().voter_ids().any(|id| id == self.node().0);
            let quorum_at = if voter { quorum_at(metrics, now) } else { None };
            Ok((term, quorum_at))
        });
        let (term, quorum_at) =
            found.map_err(|leader: Option<LeaderHint>| ReadError::NotLeader { leader })?;
        let unavailable = |reason: &str| Err(ReadError::Unavailable { reason: reason.to_owned() });
        if self.handing_over.load(Ordering::Acquire) == term.0 {
            return unavailable("this node is handing its leadership over");
        }
        match quorum_at {
            Some(at) if now < at.after(self.config().timings.lease()) => {}
            Some(at) => {
                let ms = now.since(at).as_millis();
                return unavailable(&format!(
                    "this node leads no more for certain: its last word from a quorum is {ms} ms old"
                ));
            }
            None => return unavailable("this node has no quorum's word yet that it leads"),
        }
        if self.replica().progress_now().term != term {
            return unavailable("this node was just elected and has not yet applied what came before it");
        }
        Ok(term)
    }

    /// Whether so much time has passed since a quorum's last word that another node may lead. A leader that was just
    /// elected waits for its first.
    pub(crate) fn quorum_is_old(&self) -> bool {
        let now = primacy_runtime::now();
        let at = self.metrics(|metrics| quorum_at(metrics, now));
        at.is_some_and(|at| now >= at.after(self.config().timings.lease()))
    }

    /// How long ago this node last held all that was committed.
    pub(crate) fn staleness(&self) -> Option<Duration> {
        let now = primacy_runtime::now();
        let as_leader = self.metrics(|metrics| knowledge(metrics, self.leads(metrics)?.0, now));
        if let Some(Knowledge { at, next }) = as_leader {
            self.replica().heard(at, next);
        }
        Some(now.since(self.replica().fresh_at()?))
    }
}
