//! Entries become state: openraft's state machine over [`primacy_core::State`].
//!
//! The state lives in memory. A snapshot and the log from there on bring it back after a restart; openraft replays
//! what was committed. Readers and the applier share one lock, held for as long as a batch takes to apply.

mod replica;
mod snapshot;

pub(crate) use replica::Replica;

use crate::codec;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::RaftSnapshotBuilder;
use openraft::alias::SnapshotOf;
use openraft::storage::{EntryResponder, RaftStateMachine};
use primacy_storage::{LogId, SnapshotMeta, SnapshotStore, StoredMembership, TypeConfig};
use snapshot::Builder;
use std::io;
use std::sync::Arc;

/// How many entries are applied under one lock.
const BATCH_ENTRIES_MAX: usize = 256;

pub(crate) struct Machine {
    replica: Arc<Replica>,
    snapshots: SnapshotStore,
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Machine {
    /// Restores what the last snapshot held.
    pub(crate) async fn open(replica: Arc<Replica>, snapshots: SnapshotStore) -> io::Result<Self> {
        let machine = Self { replica, snapshots };
        if let Some((meta, data)) = machine.load().await? {
            machine.restore(&meta, data)?;
        }
        Ok(machine)
    }

    async fn load(&self) -> io::Result<Option<(SnapshotMeta, Bytes)>> {
        self.snapshots.load().await.map_err(unusable)
    }

    fn restore(&self, meta: &SnapshotMeta, data: Bytes) -> io::Result<()> {
        let (state, registry) = codec::snapshot_from(data).map_err(unusable)?;
        self.replica.replace(meta, state, registry);
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self.replica.applied_state())
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        let mut batches = entries.ready_chunks(BATCH_ENTRIES_MAX);
        while let Some(batch) = batches.next().await {
            self.replica.apply(batch)?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder::new(&self.replica, self.snapshots.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Bytes) -> io::Result<()> {
        // Read before it is kept: one that does not decode must not become the one to restart from.
        let (state, registry) = codec::snapshot_from(data.clone()).map_err(unusable)?;
        self.snapshots.save(meta, data).await.map_err(unusable)?;
        self.replica.replace(meta, state, registry);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, Bytes>>> {
        let loaded = self.load().await?;
        Ok(loaded.map(|(meta, snapshot)| openraft::storage::Snapshot { meta, snapshot }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, Bytes>> {
        self.build().await
    }
}
