//! The coordinator nodes: who there is, and changes of who there is.

use super::super::{Shared, refuse};
use primacy_consensus::Peer;
use primacy_core::detect::CURRENT_WITHIN;
use primacy_core::{NodeId, SiteName};
use primacy_runtime::now;
use primacy_wire::v1::admin_client::AdminClient;
use primacy_wire::{WireError, v1};
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Response, Status};

impl Shared {
    /// The nodes as this node knows them; what only the leader knows is unset elsewhere.
    pub(crate) fn cluster_status(&self) -> v1::ClusterStatusResponse {
        let at = now();
        let leader = self.leader();
        let heard = self.board.read(|view| view.heard.clone()).unwrap_or_default();
        let nodes = self.consensus.membership().nodes.into_iter().map(|(id, node)| {
            let me = id == self.me;
            // A report and an acknowledgement of the log are both signs of life.
            let ages = [heard.get(&id).map(|heard| at.since(*heard)), node.last_ack_age];
            let age = if me { Some(Duration::ZERO) } else { ages.into_iter().flatten().min() };
            v1::NodeStatus {
                id: id.0,
                site: node.site.to_string(),
                address: node.address,
                voter: node.voter,
                reachable: age
                    .is_some_and(|age| age <= CURRENT_WITHIN.max(self.config.cluster.timings.election_max)),
                last_heard_ms: age.map(|age| age.as_millis() as u64),
                matched_index: node.matched_index,
                version: me.then(|| env!("CARGO_PKG_VERSION").to_owned()),
            }
        });
        v1::ClusterStatusResponse {
            cluster: self.config.cluster.name.clone(),
            revision: self.consensus.read(|state| state.revision.0),
            leader,
            nodes: nodes.collect(),
        }
    }

    fn leader(&self) -> Option<v1::LeaderStatus> {
        let leadership = self.consensus.leadership();
        let view = leadership.borrow();
        view.leader.as_ref().map(|l| v1::LeaderStatus {
            id: l.id.0,
            site: l.site.to_string(),
            address: l.address.clone(),
            term: view.term.0,
        })
    }

    pub(super) async fn add_node(
        &self,
        id: NodeId,
        site: SiteName,
        address: String,
        within: Duration,
    ) -> Result<v1::ClusterStatusResponse, Status> {
        if id.0 == 0 {
            return Err(WireError::new("id", "it is zero; ids begin with 1").into());
        }
        let parsed: Result<primacy_core::Address, _> = address.parse();
        let dialled = parsed.map_err(|e| WireError::new("address", e.to_string()))?;
        if dialled.tls || address.contains("://") {
            return Err(
                WireError::new("address", format!("{address:?} has a scheme; write HOST:PORT")).into()
            );
        }
        let node = Peer { id, site, address: dialled.authority() };
        self.consensus.add_learner(node, within).await.map_err(refuse::change)?;
        Ok(self.cluster_status())
    }

    pub(super) async fn promote_node(
        &self,
        id: NodeId,
        within: Duration,
    ) -> Result<v1::ClusterStatusResponse, Status> {
        self.consensus.promote(id, within).await.map_err(refuse::change)?;
        Ok(self.cluster_status())
    }

    pub(super) async fn remove_node(
        &self,
        id: NodeId,
        within: Duration,
    ) -> Result<v1::ClusterStatusResponse, Status> {
        self.consensus.remove(id, within).await.map_err(refuse::change)?;
        Ok(self.cluster_status())
    }

    pub(super) async fn transfer(
        &self,
        to: Option<NodeId>,
        within: Duration,
    ) -> Result<v1::ClusterStatusResponse, Status> {
        let leader = self.consensus.transfer(to, within).await.map_err(refuse::change)?;
        // Whom it hears only the new leader can tell.
        let Some(channel) = self.peers.channel(&leader.address) else { return Ok(self.cluster_status()) };
        let call =
            |mut client: AdminClient<Channel>, request| async move { client.cluster_status(request).await };
        let status = self.ask_leader(channel, &MetadataMap::new(), v1::ClusterStatusRequest {}, call).await;
        Ok(status.map_or_else(|_| self.cluster_status(), Response::into_inner))
    }

    pub(super) async fn snapshot(&self, within: Duration) -> Result<v1::SnapshotResponse, Status> {
        let log_index = self.consensus.snapshot(within).await.map_err(refuse::change)?;
        // The state is what a snapshot is made of; what is kept beside it is a few bytes a node.
        let size_bytes = self.consensus.read(|state| primacy_wire::encode_state(state).len() as u64);
        Ok(v1::SnapshotResponse { log_index, size_bytes })
    }
}
