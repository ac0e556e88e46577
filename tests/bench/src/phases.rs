//! Where the time of a transition goes, by the leader's own record of it: the first thing to look at when a goal is
//! missed.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use primacy_client::Client;
use primacy_testbed::Deployment;
use primacy_wire::v1::{HistoryRequest, Phase, Transition};

use crate::figure::Samples;

/// The last transition of the group of a deployment, finished or not.
pub(crate) async fn last_transition(ours: &Deployment) -> Result<Transition> {
    let client = Client::connect(ours.cluster.endpoints()).await?;
    let request = HistoryRequest { group: ours.group.name().to_owned(), last: 1 };
    client.admin().history(request).await?.transitions.pop().context("the group has no history")
}

/// Milliseconds of each step, over several transitions.
#[derive(Default)]
pub(crate) struct Phases {
    steps: Vec<(&'static str, Vec<f64>)>,
}

/// Now, as transitions count time. Leader and bench run on one machine.
pub(crate) fn wall_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

impl Phases {
    /// Takes a finished transition into account; what caused it happened at `caused_us`.
    pub(crate) fn add(&mut self, caused_us: u64, transition: &Transition) {
        self.step("until detected", transition.detected_at_us.saturating_sub(caused_us));
        self.step("until intended", transition.started_at_us.saturating_sub(transition.detected_at_us));
        for record in &transition.phases {
            if let Some(name) = name(record.phase()) {
                self.step(name, record.us);
            }
        }
        if let Some(opened_at_us) = transition.opened_at_us {
            self.step("from cause to open", opened_at_us.saturating_sub(caused_us));
        }
    }

    /// The median of each step, in one line; `None` when there was no transition.
    pub(crate) fn text(&self) -> Option<String> {
        let medians = self.steps.iter().filter_map(|(name, values)| {
            Some(format!("{name} {:.1}", Samples::new(values.clone())?.median()))
        });
        let medians: Vec<String> = medians.collect();
        (!medians.is_empty()).then(|| format!("by the leader's record, median ms: {}", medians.join(", ")))
    }

    fn step(&mut self, name: &'static str, took_us: u64) {
        let took_ms = took_us as f64 / 1_000.0;
        match self.steps.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(took_ms),
            None => self.steps.push((name, vec![took_ms])),
        }
    }
}

fn name(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Fence => Some("fence"),
        Phase::Rescue => Some("rescue"),
        Phase::Promote => Some("promote"),
        Phase::Redirect => Some("redirect"),
        Phase::RollBack => Some("roll back"),
        // Its end is that of the old primary's return, which no writer waits for.
        Phase::Settle | Phase::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use primacy_wire::v1::PhaseRecord;

    #[test]
    fn each_step_has_its_median() {
        let record = |phase: Phase, us| PhaseRecord { phase: phase.into(), us, ..PhaseRecord::default() };
        let transition = |fence_us| Transition {
            detected_at_us: 3_000,
            started_at_us: 4_500,
            opened_at_us: Some(12_000),
            phases: vec![record(Phase::Fence, fence_us), record(Phase::Settle, 9)],
            ..Transition::default()
        };
        let mut phases = Phases::default();
        assert_eq!(phases.text(), None);
        for fence_us in [2_000, 9_000, 3_000] {
            phases.add(1_000, &transition(fence_us));
        }
        let expected = "by the leader's record, median ms: until detected 2.0, until intended 1.5, fence 3.0, \
                        from cause to open 11.0";
        assert_eq!(phases.text().unwrap(), expected);
    }
}
