//! Snapshots: copied under the lock, encoded and written beside it.

use super::{Replica, unusable};
use crate::codec;
use bytes::Bytes;
use openraft::alias::SnapshotOf;
use openraft::storage::Snapshot;
use primacy_core::{NodeId, State};
use primacy_storage::{SnapshotMeta, SnapshotStore, TypeConfig};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Holds the state as it was when the snapshot was asked for.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    content: Arc<(State, BTreeMap<NodeId, u64>)>,
    snapshots: SnapshotStore,
}

impl Builder {
    pub(super) fn new(replica: &Replica, snapshots: SnapshotStore) -> Self {
        let (meta, state, registry) = replica.copy();
        Self { meta, content: Arc::new((state, registry)), snapshots }
    }

    pub(super) async fn build(&self) -> io::Result<SnapshotOf<TypeConfig, Bytes>> {
        let content = self.content.clone();
        let data = primacy_runtime::blocking(move || codec::snapshot_to(&content.0, &content.1)).await;
        let data = data.map_err(io::Error::other)?;
        self.snapshots.save(&self.meta, data.clone()).await.map_err(unusable)?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: data })
    }
}
