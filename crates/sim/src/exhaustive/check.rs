//! What must hold in every state.

use super::world::World;
use crate::setup::member_number;
use primacy_core::{Cause, Loss};

impl World {
    pub(super) fn check(&mut self) {
        let open: Vec<usize> = (0..self.servers.len()).filter(|m| self.is_open(*m)).collect();
        if let [a, b, ..] = open[..] {
            self.violate(format!("one_writer: m{a} and m{b} accept writes"));
        }
        for m in open {
            let epoch = self.servers[m].promoted;
            if epoch < self.open_epoch {
                self.violate(format!("one_writer: m{m} is open under {epoch}, after {}", self.open_epoch));
            }
            self.open_epoch = self.open_epoch.max(epoch);
        }
    }

    /// A promotion was committed: what did it cost?
    pub(super) fn promoted(&mut self) {
        let Some(group) = self.group() else { return };
        let (Some(primary), Some(t)) = (&group.primary, &group.transition) else { return };
        let m = member_number(&primary.member);
        let server = &self.servers[m];
        let (planned, lost, initial) = (t.planned, t.lost, t.cause == Cause::Initial);
        if initial || server.run_id(m) != primary.lineage.run_id {
            return;
        }
        let missing = self.answered.iter().filter(|id| !server.data.contains(id)).count() as u64;
        let within = match lost {
            Loss::Exact(n) | Loss::AtMost(n) => missing <= n,
            Loss::Unknown => true,
        };
        if (planned && missing > 0) || !within {
            self.violate(format!("acknowledged_survives: {missing} writes are gone, reported: {lost}"));
        }
        let data = self.servers[m].data.clone();
        self.answered.retain(|id| data.contains(id));
    }

    fn violate(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }
}
