//! The costs of several rounds of the same fault, as figures.

use anyhow::{Context, Result};

use super::Cost;
use crate::figure::{Figure, Goal, Peer, Samples};

/// What each round cost.
#[derive(Default)]
pub(crate) struct Tally {
    rounds: Vec<Cost>,
}

impl Tally {
    pub(crate) fn add(&mut self, cost: Cost) {
        self.rounds.push(cost);
    }

    /// The rounds of several.
    pub(crate) fn of<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Self {
        Self { rounds: tallies.into_iter().flat_map(|tally| tally.rounds.iter().cloned()).collect() }
    }

    /// One value of each round.
    pub(crate) fn samples(&self, value: impl Fn(&Cost) -> f64) -> Result<Samples> {
        Samples::new(self.rounds.iter().map(value).collect()).context("no round was measured")
    }

    pub(crate) fn outage(&self) -> Result<Samples> {
        self.samples(|cost| ms(cost.outage))
    }

    /// Of the two kinds of clients, the one that waited longer.
    pub(crate) fn outage_of_both(&self) -> Result<Samples> {
        self.samples(|cost| ms(cost.outage.max(cost.outage_gate.unwrap_or_default())))
    }

    pub(crate) fn outage_gate(&self) -> Result<Samples> {
        self.samples(|cost| ms(cost.outage_gate.unwrap_or_default()))
    }

    pub(crate) fn longest_wait(&self) -> Result<Samples> {
        self.samples(|cost| ms(cost.longest_wait))
    }

    /// How long no direct writer got an acknowledgement from anybody.
    pub(crate) fn silence(&self) -> Result<Samples> {
        self.samples(|cost| ms(cost.silence))
    }

    pub(crate) fn lost(&self) -> Result<Samples> {
        self.samples(|cost| cost.lost as f64)
    }

    pub(crate) fn overlaps(&self) -> Result<Samples> {
        self.samples(|cost| cost.overlaps as f64)
    }

    /// Records lost through a gate beside those that the peer lost.
    pub(crate) fn lost_by_gate(&self, name: &'static str, fault: &str, peer: Option<Peer>) -> Result<Figure> {
        Ok(Figure {
            name,
            title: format!("{fault}: acknowledged records lost through a gate"),
            unit: "records",
            ours: self.samples(|cost| cost.lost_gate as f64)?,
            peer,
            goal: Goal::MaxAtMost(0.0),
            note: None,
        })
    }

    /// Bytes that are missing beyond what history reports, of all writers.
    pub(crate) fn lost_unreported(&self, name: &'static str, fault: &str) -> Result<Figure> {
        let reported = |cost: &Cost| cost.reported_bytes.unwrap_or(u64::MAX);
        let direct = self.lost()?;
        let unknown = self.rounds.iter().filter(|cost| cost.reported_bytes.is_none()).count();
        let bytes = self.samples(|cost| cost.lost_bytes as f64)?;
        let bound = Samples::new(self.rounds.iter().filter_map(|c| Some(c.reported_bytes? as f64)).collect());
        let bound = bound
            .map_or("nothing".to_owned(), |bound| format!("{:.0} to {:.0} bytes", bound.min(), bound.max()));
        let note = format!(
            "direct writers lost {:.0} to {:.0} records a round, all together {:.0} to {:.0} bytes; reported {bound}, \
             unknown in {unknown} rounds",
            direct.min(),
            direct.max(),
            bytes.min(),
            bytes.max(),
        );
        Ok(Figure {
            name,
            title: format!("{fault}: bytes lost beyond what history reports"),
            unit: "bytes",
            ours: self.samples(|cost| cost.lost_bytes.saturating_sub(reported(cost)) as f64)?,
            peer: None,
            goal: Goal::MaxAtMost(0.0),
            note: Some(note),
        })
    }
}

fn ms(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
