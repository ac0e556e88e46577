//! What happened, told once: the leader's log lines, the span of each transition, and the counters.

use metrics::{counter, histogram};
use primacy_core::{Epoch, Event, EventBatch, GroupName, MemberName, Revision, State};
use std::collections::BTreeMap;
use tracing::{Span, info, info_span, warn};

/// Follows the committed events while this node leads.
pub(super) struct Journal {
    seen: Revision,
    spans: BTreeMap<GroupName, (Epoch, Span)>,
}

impl Journal {
    /// Begins after what is committed already; a transition that is under way gets its span.
    pub(super) fn begin(state: &State) -> Journal {
        let mut journal = Journal { seen: state.revision, spans: BTreeMap::new() };
        for (name, group) in &state.groups {
            if let Some(t) = &group.transition {
                let from = t.from.as_ref().map_or("none", |m| m.as_str());
                journal.open(name, t.epoch, from, t.to.as_str(), t.cause.word());
            }
        }
        journal
    }

    /// Tells what was committed since.
    pub(super) fn follow(&mut self, state: &State) {
        let after = self.seen.max(state.compacted);
        if let Ok(batches) = state.events_after(after) {
            for batch in batches {
                self.tell(state, batch);
            }
        }
        self.seen = state.revision;
    }

    /// The span of the transition of that epoch, or none.
    pub(super) fn span(&self, group: &GroupName, epoch: Epoch) -> Span {
        match self.spans.get(group) {
            Some((of, span)) if *of == epoch => span.clone(),
            _ => Span::none(),
        }
    }

    fn open(&mut self, group: &GroupName, epoch: Epoch, from: &str, to: &str, cause: &str) {
        let span = info_span!("transition", %group, epoch = epoch.0, from, to, cause);
        self.spans.insert(group.clone(), (epoch, span));
    }

    fn tell(&mut self, state: &State, batch: &EventBatch) {
        for event in &batch.events {
            counter!("primacy_events_total", "event" => event.word()).increment(1);
            self.tell_one(state, event);
        }
    }

    fn tell_one(&mut self, state: &State, event: &Event) {
        match event {
            Event::LeadershipAssumed { node, term } => {
                info!(node = node.0, term = term.0, "leadership assumed");
            }
            Event::GroupConfigured { group } => info!(%group, "group configured"),
            Event::GroupRemoved { group } => info!(%group, "group removed"),
            Event::TransitionStarted { group, epoch, from, to, cause } => {
                let from = from.as_ref().map_or("none", |m| m.as_str());
                self.open(group, *epoch, from, to.as_str(), cause.word());
                let _in = self.span(group, *epoch).entered();
                info!("transition started");
            }
            Event::PhasePassed { group, epoch, phase, us, note } => {
                let _in = self.span(group, *epoch).entered();
                info!(phase = phase.word(), ms = ms(*us), note, "phase passed");
                histogram!("primacy_phase_seconds", "phase" => phase.word()).record(*us as f64 / 1e6);
            }
            Event::PrimaryChanged { group, epoch, member, site, address, .. } => {
                let _in = self.span(group, *epoch).entered();
                info!(%member, %site, %address, "primary changed");
            }
            Event::FenceChanged { group, epoch, fence } => {
                let replicas: Vec<&str> = fence.replicas.iter().map(MemberName::as_str).collect();
                let replicas = replicas.join(", ");
                info!(%group, epoch = epoch.0, min_replicas = fence.min_replicas, replicas, "fence quorum changed");
            }
            Event::WitnessAppointed { group, epoch, node } => {
                info!(%group, epoch = epoch.0, node = node.map(|n| n.0), "witness appointed");
            }
            Event::HolderAppointed { group, epoch, node, degraded } => {
                info!(%group, epoch = epoch.0, node = node.map(|n| n.0), degraded, "holder of the stream appointed");
            }
            Event::OrphanedFound { group, epoch, member, bytes } => {
                warn!(%group, epoch = epoch.0, %member, bytes, "the old primary is back with data that nobody else has");
            }
            Event::TransitionEnded { group, epoch, outcome, lost, failure } => {
                let span = self.span(group, *epoch);
                let _in = span.enter();
                info!(outcome = outcome.word(), %lost, failure, "transition ended");
                self.count_ended(state, group, *epoch);
            }
            Event::GroupPaused { group, by } => info!(%group, by, "group paused"),
            Event::GroupResumed { group, by } => info!(%group, by, "group resumed"),
            Event::GroupBlocked { group, reason } => {
                warn!(%group, reason = %reason, remedy = reason.remedy(group), "group blocked");
            }
            Event::GroupUnblocked { group } => info!(%group, "group no longer blocked"),
        }
    }

    fn count_ended(&mut self, state: &State, name: &GroupName, epoch: Epoch) {
        let Some(group) = state.groups.get(name) else { return };
        let Some(t) = group.history.iter().rev().find(|t| t.epoch == epoch) else { return };
        let outcome = t.outcome.map_or("under_way", |o| o.word());
        let labels =
            [("group", name.to_string()), ("cause", t.cause.word().into()), ("outcome", outcome.into())];
        counter!("primacy_transitions_total", &labels).increment(1);
        if let Some(outage_ms) = t.outage_ms() {
            histogram!("primacy_transition_outage_seconds", "group" => name.to_string())
                .record(outage_ms / 1e3);
        }
        if let Some(bytes) = t.lost.bytes() {
            counter!("primacy_transition_lost_bytes_total", "group" => name.to_string()).increment(bytes);
        }
        if self.spans.get(name).is_some_and(|(of, _)| *of == epoch) {
            self.spans.remove(name);
        }
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}
