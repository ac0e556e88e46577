//! What a node holds is no older than it says.

use super::Checker;
use crate::cluster::Living;

/// A clock of the cluster may run so much faster than the world's, in hundredths: what it calls a second is less.
const DRIFT_PERCENT: u64 = 1;

impl Checker {
    /// It held all that any node had applied so long ago as it says.
    pub(super) fn freshness(&mut self, now_us: u64, living: &Living) {
        let Some(age) = living.consensus.staleness() else { return };
        let age_us = age.as_micros() as u64;
        let then_us = now_us.saturating_sub(age_us + age_us * DRIFT_PERCENT / 100 + 2);
        let held = self.seen.get(&living.place.node).map_or(0, |seen| seen.marks);
        // Only the first that it lacks can tell.
        if let Some(lacks) = self.applied.get(held).filter(|lacks| lacks.at_us < then_us) {
            let text = format!(
                "node {} says that it held all {:.3} s ago, but lacks {} (revision {}), applied elsewhere {:.3} s ago",
                living.place.node,
                age_us as f64 / 1e6,
                lacks.mark,
                lacks.revision,
                (now_us - lacks.at_us) as f64 / 1e6
            );
            self.violate("freshness", now_us, text);
        }
    }
}
