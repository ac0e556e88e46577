//! The directory of a deployment: gone when it is dropped, unless somebody wants to look into it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Set to anything, it keeps the directories of deployments, with logs and data, for a look afterwards.
const KEEP: &str = "PRIMACY_TESTBED_KEEP";

/// A temporary directory that is removed on drop, or kept and named in the log when `PRIMACY_TESTBED_KEEP` is set.
#[derive(Debug)]
pub struct Workdir(Option<TempDir>);

impl Workdir {
    /// Creates an empty directory below the system's temporary directory.
    pub fn create() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("primacy-")
            .tempdir()
            .context("cannot create a temporary directory: is TMPDIR writable?")?;
        Ok(Self(Some(dir)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        // Only drop takes the directory out.
        self.0.as_ref().map_or(Path::new("."), TempDir::path)
    }

    /// A directory below it, created when it is missing.
    pub fn subdir(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if std::env::var_os(KEEP).is_some()
            && let Some(dir) = self.0.take()
        {
            // Not within the macro, which evaluates nothing when nobody listens.
            let kept = dir.keep();
            tracing::warn!("kept {}", kept.display());
        }
    }
}
