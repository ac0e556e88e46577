//! What the tests of the store share: entries that can be told apart, and calls that wait until they are durable.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use primacy_core::{Command, GroupName, NodeId, WallTime};
use primacy_storage::{
    Entry, LogId, LogStore, Membership, NodeInfo, Opened, Payload, Proposal, SnapshotMeta, StorageError,
    StoredMembership, TypeConfig, open,
};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub const CLUSTER: &str = "prod";
pub const NODE: NodeId = NodeId(7);

pub fn reopen(dir: &Path) -> Result<Opened, StorageError> {
    open(dir, CLUSTER, NODE)
}

/// A command that takes at least `bytes` bytes.
pub fn command(bytes: usize) -> Payload {
    Payload::Normal(Proposal::from(Command::Pause {
        group: GroupName::new("features").unwrap(),
        by: "test".to_owned(),
        reason: Some("x".repeat(bytes)),
        at: WallTime(1),
    }))
}

/// An entry that says that it is this one.
pub fn marked(id: LogId, mark: u64) -> Entry {
    Entry {
        log_id: id,
        payload: Payload::Normal(Proposal::RegisterNode { node: NodeId(id.index), store_id: mark }),
    }
}

pub fn membership(ids: &[u64]) -> Membership {
    let node =
        |id: &u64| (*id, NodeInfo { site: format!("site-{id}"), address: format!("10.0.0.{id}:7000") });
    Membership::from(ids.iter().map(node).collect::<BTreeMap<_, _>>())
}

/// One of each kind of entry in turn, short and long.
pub fn assorted(id: LogId) -> Entry {
    let payload = match id.index % 5 {
        0 => Payload::Blank,
        1 => command(100),
        2 => Payload::Membership(membership(&[1, 2, 3])),
        3 => command(10_000),
        _ => return marked(id, id.index * 7),
    };
    Entry { log_id: id, payload }
}

pub async fn append(log: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    let (done, durable) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(done)).await?;
    durable.await.expect("the store answers")
}

pub async fn all(log: &mut LogStore) -> Vec<Entry> {
    log.try_get_log_entries(..).await.unwrap()
}

pub fn snapshot_meta(last: LogId) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), membership(&[1, 2])),
    }
}

/// A directory's files and the length and checksum of each, but for the lock.
pub fn content(dir: &Path) -> BTreeMap<PathBuf, (usize, u32)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else if path.file_name().unwrap() != "lock" {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, (bytes.len(), crc32fast::hash(&bytes)));
        }
    }
    found
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
