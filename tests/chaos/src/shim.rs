//! What is beneath the processes: their wall clocks, their syncs, and disks of their own.
//!
//! A clock or a slow disk is a file that a library within the process maps (`shim/faults.c`). A disk is a small tmpfs in
//! a mount namespace of ours, so that nothing of it is left whatever happens to this process.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libchaos.so"));
/// Plenty for a log and its snapshots.
const DISK_BYTES: u64 = 96 << 20;
const BALLAST: &str = "ballast";

/// Gives this process a mount namespace of its own. Call it before any thread is started.
pub(crate) fn isolate_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("no mount namespace: this takes root")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("the mounts of this process cannot be made its own")
}

/// The library, where processes can load it.
pub(crate) fn library(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("libchaos.so");
    std::fs::write(&path, LIBRARY).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Clock and syncs of one process, over its restarts.
#[derive(Debug)]
pub(crate) struct Plan {
    file: File,
    path: PathBuf,
}

impl Plan {
    /// A clock that is right and syncs that are as fast as they are.
    pub(crate) fn create(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(format!("{name}.plan"));
        let file = OpenOptions::new().create(true).truncate(true).write(true).read(true).open(&path)?;
        file.write_all_at(&[0; 16], 0)?;
        Ok(Self { file, path })
    }

    /// The variables of a process that follows this plan.
    pub(crate) fn env(&self, library: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![("LD_PRELOAD".into(), text(library)), ("CHAOS_PLAN".into(), text(&self.path))]
    }

    /// How far the wall clock is ahead.
    pub(crate) fn set_clock_ahead_ms(&self, ms: i64) -> Result<()> {
        Ok(self.file.write_all_at(&(ms * 1_000).to_ne_bytes(), 0)?)
    }

    /// How much longer each sync takes.
    pub(crate) fn set_sync_slower_ms(&self, ms: u64) -> Result<()> {
        Ok(self.file.write_all_at(&(ms * 1_000).to_ne_bytes(), 8)?)
    }
}

/// A small disk, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// An empty one.
    pub(crate) fn mount(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        let options = format!("size={DISK_BYTES}");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot mount a disk at {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where a node has its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Writes until nothing more goes in.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut ballast = OpenOptions::new().create(true).append(true).open(self.path.join(BALLAST))?;
        for size in [1 << 20, 4096, 1] {
            let block = vec![0; size];
            while ballast.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    /// Takes away what [`Disk::fill`] wrote.
    pub(crate) fn free(&self) -> Result<()> {
        match std::fs::remove_file(self.path.join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It is gone with this process's namespace at the latest.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}
