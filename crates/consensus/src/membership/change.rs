//! Adding, promoting and removing nodes. The leader alone does it, one change at a time.
//!
//! A change goes on in a task of its own: given up half-way, it would leave the cluster between two memberships.

use crate::config::CAUGHT_UP_ENTRIES;
use crate::context::Core;
use crate::{ChangeError, Halted, Peer, ProposeError};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, RaftError};
use primacy_core::{Moment, NodeId};
use primacy_storage::{NodeInfo, TypeConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

/// How long a node that is to be added may still take to start.
const BOOT_WITHIN: Duration = Duration::from_secs(2);

type Change = ChangeMembers<u64, NodeInfo>;

fn refused(code: &'static str, message: String) -> ChangeError {
    ChangeError::Refused { code, message }
}

/// Makes `node` follow the log, and waits until it holds it.
pub(crate) async fn add_learner(core: Arc<Core>, node: Peer, within: Duration) -> Result<(), ChangeError> {
    let deadline = primacy_runtime::now().after(within);
    core.lease()?;
    if let Some(known) = core.membership().nodes.get(&node.id) {
        if known.address == node.address && known.site == node.site {
            return core.caught_up(node.id, deadline).await;
        }
        let message = format!(
            "node {} is in the cluster already, at {} in site {}; another node needs another id",
            node.id, known.address, known.site
        );
        return Err(refused("node_exists", message));
    }
    core.acquaint(&node).await?;
    let info = NodeInfo { site: node.site.to_string(), address: node.address.clone() };
    change(core.clone(), Change::AddNodes(BTreeMap::from([(node.id.0, info)])), deadline).await?;
    core.caught_up(node.id, deadline).await
}

/// Gives a learner a vote, once it holds the log.
pub(crate) async fn promote(core: Arc<Core>, node: NodeId, within: Duration) -> Result<(), ChangeError> {
    let deadline = primacy_runtime::now().after(within);
    core.lease()?;
    let membership = core.membership();
    match membership.nodes.get(&node) {
        None => return Err(unknown(node)),
        Some(member) if member.voter => return Ok(()),
        Some(_) => {}
    }
    core.caught_up(node, deadline).await?;
    change(core, Change::AddVoterIds(BTreeSet::from([node.0])), deadline).await
}

/// Takes a node out of the cluster. Its id is never used again.
pub(crate) async fn remove(core: Arc<Core>, node: NodeId, within: Duration) -> Result<(), ChangeError> {
    let deadline = primacy_runtime::now().after(within);
    core.lease()?;
    let membership = core.membership();
    let Some(member) = membership.nodes.get(&node) else {
        return Err(unknown(node));
    };
    if !member.voter {
        return change(core, Change::RemoveNodes(BTreeSet::from([node.0])), deadline).await;
    }
    let rest = membership.nodes.iter().filter(|(id, member)| **id != node && member.voter);
    let (mut voters, mut in_touch) = (0, 0);
    for (_, voter) in rest {
        voters += 1;
        in_touch +=
            usize::from(voter.last_ack_age.is_some_and(|age| age < core.config().timings.election_max));
    }
    if voters == 0 {
        return Err(refused("last_voter", format!("node {node} is the last voter; add another one first")));
    }
    if in_touch <= voters / 2 {
        let message = format!(
            "without node {node} only {in_touch} of {voters} voters answer, which is no majority; start or replace the others first"
        );
        return Err(refused("quorum_would_be_lost", message));
    }
    change(core, Change::RemoveVoters(BTreeSet::from([node.0])), deadline).await
}

fn unknown(node: NodeId) -> ChangeError {
    let message = format!("node {node} is not in the cluster; `primacy cluster status` lists them");
    refused("unknown_node", message)
}

async fn change(core: Arc<Core>, change: Change, deadline: Moment) -> Result<(), ChangeError> {
    let task = primacy_runtime::spawn(async move {
        let _changing = core.changing.lock().await;
        if primacy_runtime::now() >= deadline {
            let reason = "another change of the membership is under way".to_owned();
            return Err(ChangeError::Unavailable { reason });
        }
        let changed = core.raft.change_membership(change, false).await;
        changed.map(drop).map_err(|error| core.unchanged(error))
    })
    .unbound();
    match primacy_runtime::timeout_at(deadline, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(cancelled)) => Err(ChangeError::OutcomeUnknown { reason: cancelled.to_string() }),
        Err(_) => Err(ChangeError::OutcomeUnknown { reason: "no quorum has answered in time".to_owned() }),
    }
}

impl Core {
    fn unchanged(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ChangeError {
        match error {
            RaftError::Fatal(fatal) => ChangeError::Unavailable { reason: fatal.to_string() },
            RaftError::APIError(ClientWriteError::ForwardToLeader(ForwardToLeader {
                reason: ForwardReason::LeaseExpired,
                ..
            })) => {
                ChangeError::Unavailable { reason: "this node leads, but no quorum answers it".to_owned() }
            }
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
                ChangeError::NotLeader { leader: self.other_leader() }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                ChangeError::OutcomeUnknown { reason: "another node became leader meanwhile".to_owned() }
            }
            RaftError::APIError(
                error
                @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)),
            ) => refused("membership", error.to_string()),
        }
    }

    /// Meets a node that is to be added: it must be the one that is meant, with the data directory that is known.
    async fn acquaint(&self, node: &Peer) -> Result<(), ChangeError> {
        let patience = primacy_runtime::now().after(BOOT_WITHIN);
        let answer = loop {
            match self.identity.identify(node).await {
                Ok(answer) => break answer,
                Err(status) if status.code() == Code::Unavailable && primacy_runtime::now() < patience => {
                    primacy_runtime::sleep(BOOT_WITHIN / 20).await;
                }
                Err(status) => {
                    let (id, address, why) = (node.id, &node.address, status.message());
                    let message = format!(
                        "node {id} does not answer as such at {address}: {why}; start it first, with this id and an \
                         empty data directory"
                    );
                    return Err(refused("node_not_running", message));
                }
            }
        };
        match self.replica().store_of(node.id) {
            Some(known) if known == answer.store_id => Ok(()),
            Some(_) => Err(refused("known_elsewhere", Halted::KnownElsewhere { node: node.id }.to_string())),
            None => self.register(node.id, answer.store_id).await.map_err(|error| match error {
                ProposeError::NotLeader { leader } => ChangeError::NotLeader { leader },
                ProposeError::OutcomeUnknown { reason } => ChangeError::OutcomeUnknown { reason },
                ProposeError::Rejected(_) | ProposeError::Unavailable { .. } => {
                    ChangeError::Unavailable { reason: error.to_string() }
                }
            }),
        }
    }

    /// Waits until `node` is in touch and lacks almost nothing.
    async fn caught_up(&self, node: NodeId, deadline: Moment) -> Result<(), ChangeError> {
        let mut metrics = self.raft.metrics();
        let fresh = self.config().timings.election_max;
        let wait = async {
            loop {
                drop(metrics.borrow_and_update());
                let membership = self.membership();
                let in_touch =
                    membership.nodes.get(&node).and_then(|m| m.last_ack_age).is_some_and(|a| a < fresh);
                if in_touch && membership.lag(node).is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES) {
                    return Ok(());
                }
                self.lease()?;
                if metrics.changed().await.is_err() {
                    return Err(ChangeError::Unavailable { reason: "this node has stopped".to_owned() });
                }
            }
        };
        primacy_runtime::timeout_at(deadline, wait).await.unwrap_or_else(|_| {
            let lag = self.membership().lag(node);
            let lag = lag.map_or("it has not answered".to_owned(), |lag| format!("it lacks {lag} entries"));
            Err(ChangeError::Unavailable {
                reason: format!("node {node} has not caught up in time: {lag}; it stays a learner"),
            })
        })
    }
}
