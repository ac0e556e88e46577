//! The writers of one fault: those that reach members directly, and those that go through the gates.

use std::time::Duration;

use anyhow::{Result, ensure};
use primacy_testbed::load::StaticLocate;
use primacy_testbed::{Ledger, Load, LoadOptions, Locate, Target, wait_for};

/// Acknowledged before anything happens, and again afterwards.
const RECORDS: u64 = 2_000;
/// The same through a gate, where each waits for a witness.
const RECORDS_GATE: u64 = 300;
const DEADLINE: Duration = Duration::from_mins(1);

/// How many, and how eager.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writers {
    /// That reach members directly.
    pub(crate) direct: u16,
    /// Between two records of one of them.
    pub(crate) pace: Option<Duration>,
    /// That go through the gates, one record a millisecond each; none where there is no gate.
    pub(crate) gated: u16,
    /// Whether a further writer at each member tries all the time to write there: finds two primaries at once.
    pub(crate) at_each: bool,
    /// How long a direct writer waits for an answer before it looks for another primary.
    pub(crate) patience: Duration,
}

impl Writers {
    /// Four at full speed, four through the gates.
    pub(crate) fn at_full_speed() -> Self {
        Self { direct: 4, pace: None, gated: 4, at_each: false, patience: Duration::from_millis(500) }
    }

    /// A few thousand records a second, for faults that last: they must not fill the machine meanwhile.
    pub(crate) fn steady() -> Self {
        let pace = Some(Duration::from_millis(1));
        Self { direct: 8, pace, gated: 4, at_each: false, patience: Duration::from_millis(200) }
    }
}

/// Running writers.
pub(crate) struct Crowd {
    direct: Load,
    gated: Option<Load>,
}

impl Crowd {
    /// Starts them. `gates` are the addresses of the gates, tried in a circle, as clients with a list do.
    pub(crate) fn start(
        writers: Writers,
        key_prefix: &str,
        locate: impl Locate + 'static,
        members: Vec<Target>,
        gates: Vec<String>,
    ) -> Result<Self> {
        let direct = LoadOptions {
            writers: writers.direct,
            pace: writers.pace,
            duration_max: DEADLINE * 2,
            response_timeout: writers.patience,
            key_prefix: key_prefix.to_owned(),
            strays: if writers.at_each { members } else { Vec::new() },
            ..LoadOptions::default()
        };
        let gated = LoadOptions {
            writers: writers.gated,
            pace: Some(Duration::from_millis(1)),
            duration_max: DEADLINE * 2,
            // A gate that is far from the primary passes each write on over the WAN.
            response_timeout: Duration::from_secs(2),
            key_prefix: format!("{key_prefix}-gate"),
            ..LoadOptions::default()
        };
        let gates = gates.into_iter().map(|address| Target::new("gate", address));
        let through_gates = StaticLocate::new(gates);
        Ok(Self {
            direct: Load::start(direct, locate)?,
            gated: (writers.gated > 0).then(|| Load::start(gated, through_gates)).transpose()?,
        })
    }

    pub(super) async fn in_full_swing(&self) -> Result<()> {
        self.go_on().await
    }

    /// Waits until the direct writers write to another member than `old`, and all go on from there.
    pub(super) async fn go_on_elsewhere(&self, old: &str) -> Result<()> {
        wait_for(&format!("writes to another member than {old}"), DEADLINE, async || {
            let progress = self.direct.progress();
            ensure!(progress.last_ack.as_ref().is_some_and(|(_, member)| member != old), "{progress:?}");
            Ok(())
        })
        .await?;
        self.go_on().await
    }

    /// Waits until all have written some more.
    pub(super) async fn go_on(&self) -> Result<()> {
        acknowledged(&self.direct, RECORDS).await?;
        match &self.gated {
            Some(gated) => acknowledged(gated, RECORDS_GATE).await,
            None => Ok(()),
        }
    }

    pub(super) async fn stop(self) -> (Ledger, Option<Ledger>) {
        let direct = self.direct.stop().await;
        match self.gated {
            Some(gated) => (direct, Some(gated.stop().await)),
            None => (direct, None),
        }
    }
}

async fn acknowledged(load: &Load, more: u64) -> Result<()> {
    let before = load.progress().acked;
    wait_for(&format!("{more} more acknowledged records"), DEADLINE, async || {
        let progress = load.progress();
        ensure!(progress.acked >= before + more, "{progress:?}");
        Ok(())
    })
    .await
}
