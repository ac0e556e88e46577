//! Logs a verdict when it changes, with its evidence, and not again while it stays.

use primacy_core::detect::{Health, verdict};
use primacy_core::view::View;
use primacy_core::{GroupName, MemberName, Moment, State};
use std::collections::BTreeMap;
use tracing::{info, warn};

/// What was said last of each member.
#[derive(Default)]
pub(super) struct Verdicts {
    said: BTreeMap<GroupName, BTreeMap<MemberName, Health>>,
}

impl Verdicts {
    /// Judges the members of a group anew and tells what changed.
    pub(super) fn follow(&mut self, state: &State, name: &GroupName, view: &View, now: Moment) {
        let Some(group) = state.groups.get(name) else {
            self.said.remove(name);
            return;
        };
        let said = self.said.entry(name.clone()).or_default();
        said.retain(|member, _| group.spec.member(member).is_some());
        for member in &group.spec.members {
            let found = verdict(group, &member.name, view, now);
            let before = said.insert(member.name.clone(), found.health);
            if before == Some(found.health) {
                continue;
            }
            let evidence: Vec<String> = found.evidence.iter().map(ToString::to_string).collect();
            let evidence = evidence.join("; ");
            let (member, health) = (&member.name, found.health.word());
            match (before, found.health) {
                // What a new leader finds as it should be is no news.
                (None, Health::Up | Health::Unseen) => {}
                (_, Health::Up) => info!(group = %name, %member, health, "verdict"),
                (_, Health::Unseen | Health::Suspected) => {
                    info!(group = %name, %member, health, evidence, "verdict");
                }
                (_, Health::Silent | Health::Dead | Health::Restarted | Health::Demoted) => {
                    warn!(group = %name, %member, health, evidence, "verdict");
                }
            }
        }
    }
}
