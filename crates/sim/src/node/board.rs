//! What the leader sees, and what it has under way: soft state, gone with the leadership.

use super::act::Run;
use crate::setup::{group, member_number, node_id, site};
use crate::world::World;
use primacy_core::view::{GateReport, HolderReport, Observation, View, WitnessReport};
use primacy_core::{ActionKey, Epoch, Group, Moment, NodeId, Phase, Revision, Term};

/// A command that was proposed and is not known to be committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) index: usize,
    pub(crate) term: u64,
    pub(crate) since: Moment,
}

/// One leadership.
pub(crate) struct Seat {
    pub(crate) view: View,
    pub(crate) due: bool,
    pub(crate) wake_at: Moment,
    pub(crate) rest_until: Moment,
    pub(crate) pending: Option<Pending>,
    pub(crate) runs: Vec<Run>,
    known: Known,
}

#[derive(Default)]
struct Known {
    revision: Revision,
    primary: Option<Epoch>,
    phase: Option<(Epoch, Phase)>,
    held: Option<(Epoch, Option<NodeId>, bool)>,
    fresh: bool,
}

impl World {
    pub(crate) fn take_seat(&mut self, n: usize) {
        let at = self.clock(n);
        let nodes = self.setup.nodes.iter().enumerate().map(|(i, s)| (node_id(i), site(*s))).collect();
        let view = View {
            me: node_id(n),
            term: Term(self.nodes[n].raft.term),
            leading_since: crate::defect::bend_leading(self.defect, at),
            heard: [(node_id(n), at)].into(),
            times: self.times(),
            nodes,
            ..View::default()
        };
        let seat = Seat {
            view,
            due: true,
            wake_at: at,
            rest_until: at,
            pending: None,
            runs: vec![],
            known: Known::default(),
        };
        self.nodes[n].seat = Some(seat);
        let own: Vec<_> = self.nodes[n].own.iter().map(|(m, o)| (*m, o.clone())).collect();
        for (m, observation) in own {
            self.take_in(n, n, m, Observation::clone(&observation));
        }
        self.take_in_own_reports(n);
        self.follow_state(n);
        self.lead(n);
    }

    fn take_in_own_reports(&mut self, n: usize) {
        let node = &self.nodes[n];
        let (w, h, g) = (node.own_witness.clone(), node.own_holder.clone(), node.own_gates.clone());
        if let Some(report) = w {
            self.take_in_witness(n, n, report);
        }
        if let Some(report) = h {
            self.take_in_holder(n, n, report);
        }
        if let Some(report) = g {
            self.take_in_gates(n, n, report);
        }
    }

    pub(crate) fn leave_seat(&mut self, n: usize) {
        self.nodes[n].seat = None;
    }

    /// Keeps what is newer than what is here.
    pub(crate) fn take_in(&mut self, n: usize, from: usize, m: usize, observation: Observation) {
        let defects = self.defect;
        let node = &mut self.nodes[n];
        let (Some(seat), Some(group)) = (node.seat.as_mut(), node.state.groups.values().next()) else {
            return;
        };
        let Some(name) = group.spec.members.iter().map(|s| &s.name).find(|name| member_number(name) == m)
        else {
            return;
        };
        let seen = seat.view.seen.iter().find(|((_, of), _)| of == name).map(|(_, by_node)| by_node);
        let before = seen.and_then(|by_node| by_node.get(&node_id(from)));
        if before.is_some_and(|b| b.at > observation.at) {
            return;
        }
        let observation = crate::defect::bend_observation(defects, group, m, observation);
        seat.due |= before.is_none_or(|b| observation.reach.is_news_after(&b.reach));
        seat.view.record(group, name, node_id(from), observation);
    }

    pub(crate) fn take_in_witness(&mut self, n: usize, from: usize, report: WitnessReport) {
        let Some(seat) = self.nodes[n].seat.as_mut() else { return };
        let key = (group(), node_id(from));
        let before = seat.view.witnesses.get(&key);
        if before.is_some_and(|b| b.at > report.at) {
            return;
        }
        seat.due |= before.is_none_or(|b| report.is_news_after(b));
        seat.view.witnesses.insert(key, report);
    }

    pub(crate) fn take_in_holder(&mut self, n: usize, from: usize, report: HolderReport) {
        let Some(seat) = self.nodes[n].seat.as_mut() else { return };
        let key = (group(), node_id(from));
        let before = seat.view.holders.get(&key);
        if before.is_some_and(|b| b.at > report.at) {
            return;
        }
        seat.due |= before.is_none_or(|b| report.is_news_after(b));
        seat.view.holders.insert(key, report);
    }

    pub(crate) fn take_in_gates(&mut self, n: usize, from: usize, report: GateReport) {
        let Some(seat) = self.nodes[n].seat.as_mut() else { return };
        let key = (group(), node_id(from));
        let before = seat.view.gates.get(&key);
        if before.is_some_and(|b| b.at > report.at) {
            return;
        }
        seat.due |= before.is_none_or(|b| report.is_news_after(b));
        seat.view.gates.insert(key, report);
    }

    /// Since when things are as they are in the state, as this leader knows it.
    pub(crate) fn follow_state(&mut self, n: usize) {
        let at = self.clock(n);
        let node = &mut self.nodes[n];
        let (Some(seat), Some(group)) = (node.seat.as_mut(), node.state.groups.values().next()) else {
            return;
        };
        if seat.known.fresh && seat.known.revision == group.revision {
            return;
        }
        seat.known.fresh = true;
        seat.follow(group, at);
    }
}

impl Seat {
    fn follow(&mut self, group: &Group, at: Moment) {
        let name = group.spec.name.clone();
        self.known.revision = group.revision;
        self.due = true;
        let primary = group.primary.as_ref().map(|p| p.epoch);
        if self.known.primary != primary {
            self.known.primary = primary;
            self.view.primary_since.insert(name.clone(), at);
        }
        let phase = group.transition.as_ref().map(|t| (t.epoch, t.phase));
        if self.known.phase != phase {
            self.known.phase = phase;
            self.view.phase_since.insert(name.clone(), at);
        }
        let held = group.primary.as_ref().map(|p| (p.epoch, p.holder, p.degraded));
        if self.known.held != held {
            self.known.held = held;
            self.view.holder_since.insert(name, at);
        }
        let live = [primary, phase.map(|(epoch, _)| epoch)];
        self.view.failures.retain(|key, _| live.contains(&Some(key.epoch)));
        self.view.done.retain(|key, _| live.contains(&Some(key.epoch)));
    }

    pub(crate) fn worked(&mut self, key: &ActionKey, at: Moment) {
        self.view.running.remove(key);
        self.view.failures.remove(key);
        self.view.done.insert(key.clone(), at);
        self.due = true;
    }

    pub(crate) fn failed(&mut self, key: &ActionKey, at: Moment, message: String, permanent: bool) {
        self.view.running.remove(key);
        let count = self.view.failures.get(key).map_or(0, |f| f.count) + 1;
        let failure = primacy_core::view::Failure { count, at, message, permanent };
        self.view.failures.insert(key.clone(), failure);
        self.due = true;
    }

    pub(crate) fn hear(&mut self, from: usize, at: Moment) {
        self.view.heard.insert(node_id(from), at);
    }
}
