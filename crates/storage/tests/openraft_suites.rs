//! openraft's own suites, on this crate's runtime and on its log store with the smallest state machine there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::alias::SnapshotOf;
use openraft::rt::testing;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use primacy_core::{NodeId, Revision};
use primacy_storage::{
    Applied, LogId, LogStore, Payload, SeamRuntime, SnapshotMeta, SnapshotStore, StoredMembership,
    TypeConfig, open,
};
use std::io;
use tempfile::TempDir;

type Snapshot = SnapshotOf<TypeConfig, Bytes>;

/// Remembers how far it applied, and nothing of what.
#[derive(Clone)]
struct Machine {
    last: Option<LogId>,
    membership: StoredMembership,
    snapshots: SnapshotStore,
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let meta = SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() };
        let snapshot = Bytes::from_static(b"state");
        self.snapshots.save(&meta, snapshot.clone()).await?;
        Ok(Snapshot { meta, snapshot })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.last = Some(entry.log_id);
            if let Payload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(self.last, membership);
            }
            if let Some(responder) = responder {
                responder.send(Applied { revision: Revision(entry.log_id.index), outcome: Ok(Vec::new()) });
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> Result<(), io::Error> {
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(self.snapshots.save(meta, snapshot).await?)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.snapshots.load().await?.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), openraft::StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path(), "suite", NodeId(1)).unwrap();
        let machine =
            Machine { last: None, membership: StoredMembership::default(), snapshots: opened.snapshots };
        Ok((dir, opened.log, machine))
    }
}

#[tokio::test]
async fn the_log_store_passes_openrafts_suite() {
    Suite::<TypeConfig, LogStore, Machine, Builder, TempDir>::test_all(Builder).await.unwrap();
}

#[test]
fn the_runtime_passes_openrafts_suite() {
    testing::Suite::<SeamRuntime>::test_all();
}
