//! A follower's way to the leader: what is new at once, everything every 100 ms, ages instead of clock times.

use crate::message::{Batch, Message};
use crate::world::World;
use primacy_core::Moment;
use primacy_core::view::{Observation, Reach};
use std::rc::Rc;

const EVERY_US: u64 = 100_000;

impl World {
    pub(crate) fn report_tick(&mut self, n: usize) {
        let at = self.clock(n);
        let due = at.0 >= self.nodes[n].report_at;
        let news = std::mem::take(&mut self.nodes[n].news);
        if !due && !news {
            return;
        }
        self.nodes[n].report_at = at.0 + EVERY_US;
        if let Some(seat) = self.nodes[n].seat.as_mut() {
            seat.hear(n, at);
            return;
        }
        let Some(leader) = self.nodes[n].raft.leader.filter(|l| *l != n) else { return };
        let node = &self.nodes[n];
        let batch = Batch {
            sent_at: at.0,
            seen: node.own.iter().map(|(m, o)| (*m, o.clone())).collect(),
            witness: node.own_witness.clone(),
            holder: node.own_holder.clone(),
            gates: node.own_gates.clone(),
        };
        self.tell(n, leader, Message::Report(Box::new(batch)));
    }

    /// Says at once what a guard has to say.
    pub(crate) fn has_news(&mut self, n: usize) {
        self.nodes[n].news = true;
    }

    pub(crate) fn take_in_report(&mut self, n: usize, from: usize, batch: Batch) {
        let at = self.clock(n);
        let Some(seat) = self.nodes[n].seat.as_mut() else { return };
        seat.hear(from, at);
        // A moment of the reporter's clock is so long ago; of ours that is then.
        let ours = |theirs: Moment| Moment(at.0.saturating_sub(batch.sent_at.saturating_sub(theirs.0)));
        for (m, observation) in batch.seen {
            self.take_in(n, from, m, translated(Rc::unwrap_or_clone(observation), ours));
        }
        if let Some(mut report) = batch.witness {
            (report.at, report.heard_at) = (ours(report.at), ours(report.heard_at));
            self.take_in_witness(n, from, report);
        }
        if let Some(mut report) = batch.holder {
            (report.at, report.since) = (ours(report.at), ours(report.since));
            self.take_in_holder(n, from, report);
        }
        if let Some(mut report) = batch.gates {
            report.at = ours(report.at);
            self.take_in_gates(n, from, report);
        }
    }
}

fn translated(mut observation: Observation, ours: impl Fn(Moment) -> Moment) -> Observation {
    observation.at = ours(observation.at);
    if let Reach::Down { since, .. } = &mut observation.reach {
        *since = ours(*since);
    }
    if let Some((at, _)) = &mut observation.last_up {
        *at = ours(*at);
    }
    observation
}
