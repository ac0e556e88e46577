//! What a leader does for its cluster beside the log: it registers the data directories of the nodes, and ends a
//! change of the membership that the leader before it left half-way.

use crate::context::{Core, peer};
use crate::{LeadershipView, Peer};
use openraft::ChangeMembers;
use primacy_core::NodeId;
use primacy_runtime::watch;
use primacy_storage::Proposal;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often the leader looks.
const EVERY: Duration = Duration::from_millis(500);

/// How long one command of upkeep may take.
const COMMIT_WITHIN: Duration = Duration::from_secs(2);

/// Runs as long as the node does; does something while it leads.
pub(crate) async fn run(core: Arc<Core>, mut leadership: watch::Receiver<LeadershipView>) {
    loop {
        if leadership.wait_for(|view| view.leading).await.is_err() {
            return;
        }
        if core.lease().is_ok() {
            core.register_nodes().await;
            core.finish_change().await;
            primacy_runtime::sleep(EVERY).await;
        } else {
            primacy_runtime::sleep(core.config().timings.heartbeat).await;
        }
    }
}

impl Core {
    async fn register_nodes(&self) {
        for node in self.unregistered() {
            let store_id = if node.id == self.node() {
                self.identity.store_id
            } else {
                match self.identity.identify(&node).await {
                    Ok(answer) => answer.store_id,
                    Err(status) => {
                        tracing::debug!(node = %node.id, "not registered yet: {}", status.message());
                        continue;
                    }
                }
            };
            if let Err(error) = self.register(node.id, store_id).await {
                tracing::debug!(node = %node.id, "not registered yet: {error}");
            }
        }
    }

    /// The nodes whose data directory the cluster does not know.
    fn unregistered(&self) -> Vec<Peer> {
        let membership = self.metrics(|m| m.membership_config.clone());
        let nodes = membership.membership().nodes().filter_map(|(id, info)| peer(*id, info));
        nodes.filter(|node| self.replica().store_of(node.id).is_none()).collect()
    }

    /// Ties `node` to its data directory, for ever.
    pub(crate) async fn register(&self, node: NodeId, store_id: u64) -> Result<(), crate::ProposeError> {
        self.propose(Proposal::RegisterNode { node, store_id }, COMMIT_WITHIN).await?;
        tracing::info!(%node, store_id = format!("{store_id:016x}"), "data directory registered");
        Ok(())
    }

    async fn finish_change(&self) {
        let half_way = self.metrics(|m| m.membership_config.membership().get_joint_config().len() > 1);
        let Ok(_changing) = self.changing.try_lock() else {
            return;
        };
        if !half_way {
            return;
        }
        tracing::info!("ends a change of the membership that was left half-way");
        let no_more = ChangeMembers::AddVoterIds(BTreeSet::new());
        let finish = self.raft.change_membership(no_more, false);
        match primacy_runtime::timeout(COMMIT_WITHIN, finish).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("a change of the membership is half-way: {error}"),
            Err(_) => tracing::warn!("a change of the membership is half-way: no quorum answered in time"),
        }
    }
}
