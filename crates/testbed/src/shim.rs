//! What is beneath a process: its wall clock and how long a sync takes, without any privilege.
//!
//! The problem: to step the clock of one process and not of the machine. The idea: a library that is loaded into it
//! (`shim/faults.c`) adds what a file says, and the test writes that file.

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libfaults.so"));

/// The library, in a directory of a test.
#[derive(Debug)]
pub struct Shim {
    dir: PathBuf,
    library: PathBuf,
}

impl Shim {
    /// Puts it where processes can load it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(dir: &Path) -> Result<Self> {
        let library = dir.join("libfaults.so");
        std::fs::write(&library, LIBRARY).with_context(|| format!("cannot write {}", library.display()))?;
        Ok(Self { dir: dir.to_owned(), library })
    }

    /// For one process, over its restarts: a clock that is right and syncs that are as fast as they are.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn plan(&self, name: &str) -> Result<FaultPlan> {
        let path = self.dir.join(format!("{name}.plan"));
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).read(true).open(&path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        file.write_all_at(&[0; 16], 0)?;
        Ok(FaultPlan { file, path, library: self.library.clone() })
    }
}

/// Clock and syncs of one process.
#[derive(Debug)]
pub struct FaultPlan {
    file: File,
    path: PathBuf,
    library: PathBuf,
}

impl FaultPlan {
    /// The variables of a process that follows this plan.
    pub fn env(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![("LD_PRELOAD".into(), text(&self.library)), ("TESTBED_PLAN".into(), text(&self.path))]
    }

    /// Steps its wall clock so far ahead of the right time, or behind it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_clock_ahead_ms(&self, ms: i64) -> Result<()> {
        Ok(self.file.write_all_at(&(ms * 1_000).to_ne_bytes(), 0)?)
    }

    /// Has each sync take so much longer.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_sync_slower_ms(&self, ms: u64) -> Result<()> {
        Ok(self.file.write_all_at(&(ms * 1_000).to_ne_bytes(), 8)?)
    }
}
