//! What the witness of a replaced primary kept beyond what the new one took over.
//!
//! It is about to be dropped when the old primary follows, and may be all that is left of it. So it is written to a file of its
//! own: the commands as they were replicated, which `redis-cli --pipe` replays where somebody decides to.

use primacy_core::{Group, GroupName, MemberName};
use primacy_redis::{Read, Tail};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// The part of a tail that the present primary does not have.
pub(super) struct Orphan {
    tail: Tail,
    from_bytes: u64,
    file: String,
}

impl Orphan {
    /// None where the tail is of another history, or ends before the new one begins.
    pub(super) fn of(
        name: &GroupName,
        group: &Group,
        tail: Option<Tail>,
        old: &MemberName,
    ) -> Option<Orphan> {
        let primary = group.primary.as_ref().filter(|p| p.member != *old)?;
        let start = &primary.lineage.start;
        let tail = tail.filter(|tail| primary.lineage.previous.as_ref() == Some(&tail.replid()))?;
        let from_bytes = start.offset_bytes.max(tail.start());
        let file = format!("{name}-{old}-before-epoch-{}.resp", primary.epoch);
        (tail.end() > from_bytes).then_some(Orphan { tail, from_bytes, file })
    }

    /// Writes it below `data_dir`, readable by its owner alone.
    pub(super) fn write(self, data_dir: &Path) -> io::Result<(PathBuf, u64)> {
        let dir = data_dir.join("orphaned");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let path = dir.join(&self.file);
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        let mut at = self.from_bytes;
        while let Read::Bytes(bytes) = self.tail.read(at, CHUNK_BYTES_MAX) {
            file.write_all(&bytes)?;
            at += bytes.len() as u64;
        }
        file.sync_all()?;
        Ok((path, at - self.from_bytes))
    }
}
