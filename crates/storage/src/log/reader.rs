//! Reading the log beside the writer.

use super::Shared;
use crate::{Entry, StorageError, TypeConfig, Vote};
use openraft::RaftLogReader;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

/// Reads the log of a [`LogStore`](crate::LogStore).
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        self.shared.read(half_open(&range)).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.memory().vote)
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl Shared {
    /// The entries of `range` that the log holds, as of one moment.
    pub(super) async fn read(self: &Arc<Self>, range: Range<u64>) -> io::Result<Vec<Entry>> {
        loop {
            let view = self.memory().view(range.clone());
            if view.on_disk.is_empty() {
                return Ok(view.kept);
            }
            let shared = self.clone();
            let on_disk = view.on_disk.clone();
            let fetch = move || shared.source.fetch(on_disk);
            let fetched = primacy_runtime::blocking(fetch).await.map_err(io::Error::other)??;
            let memory = self.memory();
            // Another leader's entries may have taken their place meanwhile.
            if memory.truncations() != view.truncations {
                continue;
            }
            let next = view.on_disk.start + fetched.len() as u64;
            if next >= view.on_disk.end {
                let mut entries = fetched;
                entries.extend(view.kept);
                return Ok(entries);
            }
            if memory.holds(next) {
                let (path, key) = (self.path.clone(), format!("entry {next}"));
                let reason = "it is missing".to_owned();
                return Err(StorageError::Corrupt { path, key, reason }.into());
            }
            // Purged meanwhile.
        }
    }
}
