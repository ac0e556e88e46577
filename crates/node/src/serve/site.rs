//! `primacy.v1.Site`: what the other nodes see, on its way onto the leader's board.

use super::Shared;
use primacy_core::NodeId;
use primacy_runtime::now;
use primacy_wire::v1::site_server::Site;
use primacy_wire::{WireError, sighting, v1};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The service.
pub(crate) struct SiteService(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl Site for SiteService {
    async fn report(
        &self,
        request: Request<Streaming<v1::SightingBatch>>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let mut batches = request.into_inner();
        let mut stopping = self.0.stopping.clone();
        loop {
            let next = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => None,
                batch = batches.message() => batch?,
            };
            let Some(batch) = next else { break };
            let received = now();
            let from = NodeId(batch.node_id);
            if !self.0.consensus.membership().nodes.contains_key(&from) {
                return Err(WireError::new("node_id", format!("node {from} is not of this cluster")).into());
            }
            let mut seen = Vec::with_capacity(batch.sightings.len());
            for sighting in batch.sightings {
                seen.push(sighting::from_wire(sighting, received)?);
            }
            if !self.0.board.report(from, received, &self.0.consensus, seen) {
                return Err(self.0.refuse_as_follower().into());
            }
        }
        Ok(Response::new(v1::ReportResponse {}))
    }
}
