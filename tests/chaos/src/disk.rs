//! Disks of the nodes' own, which can be filled: a small tmpfs each, in a mount namespace of ours, so that nothing of it
//! is left whatever happens to this process.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Plenty for a log and its snapshots.
const DISK_BYTES: u64 = 96 << 20;
const BALLAST: &str = "ballast";

/// Gives this process a mount namespace of its own. Call it before any thread is started.
pub(crate) fn isolate_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("no mount namespace: this takes root")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("the mounts of this process cannot be made its own")
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
