//! A disk that fills up: a clear error, and nothing acknowledged is lost. On a small tmpfs, which takes root to mount.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use bytes::Bytes;
use common::{all, append, command, reopen, snapshot_meta};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use openraft::storage::RaftLogStorage;
use primacy_storage::{Entry, Opened, Vote, log_id};
use std::path::Path;
use tempfile::TempDir;

/// A tmpfs, unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    fn mount(mib: u32) -> nix::Result<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={mib}m");
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(Self(dir))
    }

    fn resize(&self, mib: u32) {
        let options = format!("size={mib}m");
        mount(None::<&str>, self.0.path(), None::<&str>, MsFlags::MS_REMOUNT, Some(options.as_str()))
            .unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount2(self.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let disk = match Disk::mount(4) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: mounting a tmpfs takes root here ({reason})"),
    };
    let entry = |index| Entry { log_id: log_id(1, index), payload: command(3_000) };
    let Opened { mut log, snapshots, .. } = reopen(disk.path()).unwrap();
    let vote = Vote::new(1, 7);
    log.save_vote(&vote).await.unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match append(&mut log, vec![entry(acknowledged)]).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "4 MiB hold no such log");
    };
    println!("after {acknowledged} entries: {error}");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    for words in [disk.path().to_str().unwrap(), "no storage space", "free some space"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    // Whatever comes after it is refused: nobody can say what is on the disk.
    let after = log.save_vote(&Vote::new(2, 7)).await.unwrap_err();
    assert!(after.to_string().contains("closed by an earlier failure"), "{after}");
    let saved = snapshots.save(&snapshot_meta(log_id(1, 5)), Bytes::from(vec![1; 4 << 20])).await;
    assert!(saved.unwrap_err().to_string().contains("free some space"));
    drop((log, snapshots));

    let refused = reopen(disk.path()).unwrap_err();
    println!("{refused}");
    assert!(refused.to_string().contains("free some space"), "{refused}");

    disk.resize(64);
    let Opened { mut log, .. } = reopen(disk.path()).unwrap();
    let found = all(&mut log).await;
    assert!(found.len() as u64 >= acknowledged, "{} of {acknowledged} entries are left", found.len());
    assert!(found.iter().enumerate().all(|(index, found)| *found == entry(index as u64)));
    let next = found.len() as u64;
    append(&mut log, vec![entry(next)]).await.unwrap();
    assert_eq!(all(&mut log).await.len() as u64, next + 1);
}
