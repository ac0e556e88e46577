//! What this machine is while the figures are taken, printed above them.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyhow::{Context, Result};
use primacy_testbed::Workdir;
use serde::Serialize;

use crate::figure::Samples;

const SYNCS: usize = 50;

/// The machine and how busy it is.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    /// Runnable processes over the last minute, before this run added its own.
    load_average: Option<f64>,
    /// One write of 256 bytes and one fdatasync, where the logs of both sides lie.
    sync_us: Samples,
}

impl Machine {
    /// Looks at it; takes less than a second unless the disk is very slow.
    pub(crate) fn look() -> Result<Self> {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            load_average: load.split(' ').next().and_then(|first| first.parse().ok()),
            sync_us: sync_us()?,
        })
    }

    /// In one line.
    pub(crate) fn text(&self) -> String {
        let load = self.load_average.map_or("unknown".to_owned(), |load| format!("{load:.1}"));
        format!(
            "{} cores, load average {load} at the start, fdatasync {:.0}/{:.0}/{:.0} us (min/median/max of {})",
            self.cores,
            self.sync_us.min(),
            self.sync_us.median(),
            self.sync_us.max(),
            self.sync_us.n()
        )
    }
}

fn sync_us() -> Result<Samples> {
    let workdir = Workdir::create()?;
    let file = OpenOptions::new().create_new(true).write(true).open(workdir.path().join("sync"))?;
    let mut took_us = Vec::new();
    for index in 0..SYNCS {
        let began = Instant::now();
        file.write_all_at(&[7; 256], index as u64 * 256)?;
        file.sync_data()?;
        took_us.push(began.elapsed().as_secs_f64() * 1_000_000.0);
    }
    Samples::new(took_us).context("the disk was not looked at")
}
