//! How long writers wait while the primary changes: the same load and the same measure for every side.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use primacy_testbed::{Ledger, Load, LoadOptions, Locate, wait_for};

use crate::phases::wall_us;

/// Acknowledged before anything happens, and again afterwards.
const RECORDS: u64 = 2_000;
const DEADLINE: Duration = Duration::from_mins(1);

/// What the writers saw of one change.
pub(crate) struct Outage {
    /// The longest time that any single writer went without an acknowledgement.
    pub(crate) longest: Duration,
    /// When the change began, in microseconds as transitions count time.
    pub(crate) caused_us: u64,
    /// All that they saw.
    pub(crate) ledger: Ledger,
}

/// Four writers at full speed while `change` runs, until all go on at another member than `primary`.
///
/// # Errors
/// When the change fails, or the writers do not go on within a minute.
pub(crate) async fn measure<F>(
    primary: &str,
    locate: impl Locate + 'static,
    key_prefix: String,
    change: F,
) -> Result<Outage>
where
    F: Future<Output = Result<()>>,
{
    let options = LoadOptions { key_prefix, duration_max: DEADLINE * 2, ..LoadOptions::default() };
    let load = Load::start(options, locate)?;
    acknowledged(&load, RECORDS, None).await?;
    let (began, caused_us) = (Instant::now(), wall_us());
    change.await?;
    acknowledged(&load, 0, Some(primary)).await?;
    acknowledged(&load, load.progress().acked + RECORDS, Some(primary)).await?;
    let ledger = load.stop().await;
    let gap = ledger.longest_writer_gap(began..Instant::now());
    ensure!(gap.ended, "a writer did not go on after the change of {primary}");
    Ok(Outage { longest: gap.length(), caused_us, ledger })
}

/// Waits for so many records in all, the last of them not by `before`.
async fn acknowledged(load: &Load, records: u64, before: Option<&str>) -> Result<()> {
    let what = format!("{records} acknowledged records, by another member than {before:?}");
    wait_for(&what, DEADLINE, async || {
        let progress = load.progress();
        let last = progress.last_ack.as_ref().map(|(_, member)| member.as_str());
        ensure!(progress.acked >= records && last.is_some() && last != before, "{progress:?}");
        Ok(())
    })
    .await
}
