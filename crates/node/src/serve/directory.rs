//! `primacy.v1.Directory`: who is primary, at the freshness that was asked for.

use super::answer::{self, Fresh};
use super::forward::{Route, UNARY_WITHIN};
use super::{Shared, refuse, watch};
use primacy_core::{GroupName, Moment};
use primacy_wire::v1::directory_server::Directory;
use primacy_wire::{Refusal, v1};
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// The service.
pub(crate) struct DirectoryService(pub(crate) Arc<Shared>);

/// A read is answered here, or at the leader.
enum Read {
    Here(Fresh),
    Leader(tonic::transport::Channel),
}

impl Shared {
    async fn read_at(&self, metadata: &MetadataMap, consistency: v1::Consistency) -> Result<Read, Status> {
        match consistency {
            v1::Consistency::Local => Ok(Read::Here(self.local()?)),
            v1::Consistency::Linearizable => match self.route(metadata)? {
                Route::Leader(channel) => Ok(Read::Leader(channel)),
                Route::Here => {
                    let within = refuse::deadline(metadata, UNARY_WITHIN);
                    self.consensus.linearizable(within).await.map_err(refuse::read)?;
                    Ok(Read::Here(Fresh { consistency, age_ms: 0 }))
                }
            },
            v1::Consistency::Lease => match self.route(metadata)? {
                Route::Leader(channel) => Ok(Read::Leader(channel)),
                Route::Here => {
                    self.consensus.lease().await.map_err(refuse::read)?;
                    Ok(Read::Here(Fresh { consistency, age_ms: 0 }))
                }
            },
        }
    }

    /// How old the local copy is, while it is within the bound.
    pub(crate) fn local(&self) -> Result<Fresh, Refusal> {
        let bound_ms = self.config.cluster.stale_max.as_millis() as u64;
        let age_ms = self.consensus.staleness().map(|age| age.as_millis() as u64);
        match age_ms {
            Some(age_ms) if age_ms <= bound_ms => Ok(Fresh { consistency: v1::Consistency::Local, age_ms }),
            Some(age_ms) => Err(Refusal::Stale { age_ms, bound_ms }),
            None => {
                let message = "this node has not been in touch with a leader since it started".to_owned();
                Err(Refusal::Unavailable { message })
            }
        }
    }

    pub(crate) fn primary_of(&self, group: &GroupName, fresh: Fresh) -> Result<v1::Primary, Refusal> {
        self.consensus
            .read(|state| state.groups.get(group).map(|g| answer::primary(g, state.revision, fresh)))
            .ok_or_else(|| refuse::unknown_group(group))
    }

    /// All groups, with the standbys as this node sees them.
    pub(crate) fn summaries(&self, fresh: Fresh, at: Moment) -> v1::ListGroupsResponse {
        self.with_view(at, |view| {
            self.consensus.read(|state| {
                let one = |group| answer::summary(group, state.revision, fresh, Some((view, at)));
                let groups = state.groups.values().map(one).collect();
                v1::ListGroupsResponse { revision: state.revision.0, groups }
            })
        })
    }
}

fn consistency(value: i32) -> Result<v1::Consistency, Status> {
    v1::Consistency::try_from(value).map_err(|_| {
        primacy_wire::WireError::new("consistency", format!("{value} is no value that this version knows"))
            .into()
    })
}

#[tonic::async_trait]
impl Directory for DirectoryService {
    type WatchStream = watch::Stream;

    async fn get_primary(
        &self,
        request: Request<v1::GetPrimaryRequest>,
    ) -> Result<Response<v1::Primary>, Status> {
        let (metadata, _, message) = request.into_parts();
        let group: GroupName = refuse::name(&message.group, "group")?;
        let fresh = match self.0.read_at(&metadata, consistency(message.consistency)?).await? {
            Read::Here(fresh) => fresh,
            Read::Leader(channel) => {
                let call = |mut client: v1::directory_client::DirectoryClient<_>, request| async move {
                    client.get_primary(request).await
                };
                return self.0.read_at_leader(channel, &metadata, message, call).await;
            }
        };
        Ok(Response::new(self.0.primary_of(&group, fresh)?))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let fresh = match self.0.read_at(&metadata, consistency(message.consistency)?).await? {
            Read::Here(fresh) => fresh,
            Read::Leader(channel) => {
                let call = |mut client: v1::directory_client::DirectoryClient<_>, request| async move {
                    client.list_groups(request).await
                };
                return self.0.read_at_leader(channel, &metadata, message, call).await;
            }
        };
        Ok(Response::new(self.0.summaries(fresh, primacy_runtime::now())))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        watch::open(&self.0, request.get_ref()).map(Response::new)
    }
}
