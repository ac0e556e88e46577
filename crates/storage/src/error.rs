//! Why a store was refused or failed: which file, which key, what is wrong, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// What an operator does about a log that cannot be trusted. Deleting it, or starting empty under the same id, would
/// take back a vote.
const SET_ASIDE: &str = "nothing was changed; set the data directory aside, start the node with an empty one under a \
                         new id, add that to the cluster and remove the old id";

/// A store that cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The directory is used by another process.
    #[error("{}: another process holds this file's lock; stop it, or give this node a data directory of its own", lock.display())]
    InUse {
        /// The lock file.
        lock: PathBuf,
    },
    /// The store belongs to another node or another cluster.
    #[error("{}: belongs to {key} {found:?}, and this node is configured for {key} {expected:?}; correct the configuration, or set the directory aside", path.display())]
    Foreign {
        /// The file that says so.
        path: PathBuf,
        /// `cluster` or `node`.
        key: &'static str,
        /// What it says.
        found: String,
        /// What was configured.
        expected: String,
    },
    /// The store has a layout that this version does not know.
    #[error("{}: schema_version is {found}, and this version of primacy reads {expected}; start the version that wrote it; nothing was changed", path.display())]
    Schema {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this version knows.
        expected: u32,
    },
    /// What is on the disk is not what was written there.
    #[error("{}: {key}: {reason}; {SET_ASIDE}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The record in it.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}{}", path.display(), remedy(source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The refusal.
        source: io::Error,
    },
    /// An earlier write failed, and nothing can be promised after it.
    #[error("the log was closed by an earlier failure: {reason}")]
    Closed {
        /// The earlier failure.
        reason: String,
    },
}

impl StorageError {
    /// The same about the original, where this was found in a copy of it. What the operating system refused was
    /// refused to the copy.
    pub(crate) fn of_original(self, copy: &Path, original: &Path) -> Self {
        let moved = |path: PathBuf| match path.strip_prefix(copy) {
            Ok(inside) => original.join(inside),
            Err(_) => path,
        };
        match self {
            Self::Corrupt { path, key, reason } => Self::Corrupt { path: moved(path), key, reason },
            Self::Schema { path, found, expected } => Self::Schema { path: moved(path), found, expected },
            other => other,
        }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space and start the node again: everything acknowledged is still there"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; let the user of this process write there"
        }
        _ => "",
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::Io { source, .. } => source.kind(),
            StorageError::Corrupt { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
