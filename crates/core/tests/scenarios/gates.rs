//! Gates to the endpoints of a group, as their nodes keep them.

use crate::world::{World, group};
use primacy_core::view::GateReport;
use primacy_core::{Epoch, Group, Moment, NodeId, Phase, Term, lease};
use std::collections::BTreeSet;

/// What a node knows and holds.
#[derive(Clone, Default)]
pub struct Gate {
    /// The last epoch that it knows of, and where that leads.
    known: Epoch,
    door: Option<(Epoch, String)>,
    /// Its lease.
    lease: Option<(Epoch, Moment)>,
    /// Whether it has a gate at all, or only says so.
    exists: bool,
}

impl Gate {
    fn leads_to(&self, now: Moment) -> Option<&str> {
        let (epoch, member) = self.door.as_ref().filter(|_| self.exists)?;
        self.lease.filter(|(of, until)| of == epoch && *until > now)?;
        Some(member)
    }
}

impl World {
    pub fn open_gates(&mut self, nodes: impl Iterator<Item = NodeId>) {
        for node in nodes {
            self.gates.entry(node).or_default().exists = true;
        }
    }

    /// Every node that reaches the leader follows what is committed, renews its lease and says how its gates are.
    pub fn keep_gates(&mut self) {
        let g = self.state.groups.get(&group()).cloned();
        let leader_site = self.view.nodes.get(&self.view.me).cloned();
        for (node, site) in self.view.nodes.clone() {
            let mut gate = self.gates.remove(&node).unwrap_or_default();
            if self.down_nodes.contains(&node) {
                (gate.door, gate.lease) = (None, None);
            } else if self.view.term != Term(0) && !self.apart(Some(&site), leader_site.as_ref()) {
                let Some(g) = &g else {
                    self.gates.insert(node, Gate { exists: gate.exists, ..Gate::default() });
                    continue;
                };
                (gate.known, gate.door) = (g.epoch_last(), door(g));
                let epoch = g.primary.as_ref().map(|p| p.epoch).filter(|e| lease::may_grant(g, *e).is_ok());
                if let Some(epoch) = epoch.filter(|_| gate.exists) {
                    self.view.granted.insert((group(), node), self.now);
                    gate.lease = Some((epoch, self.now.after(self.view.times.lease_ttl)));
                }
                let open = gate.leads_to(self.now).is_some();
                self.view.gates.insert((group(), node), GateReport { at: self.now, epoch: gate.known, open });
            }
            self.gates.insert(node, gate);
        }
        let led_to: BTreeSet<&str> = self.gates.values().filter_map(|g| g.leads_to(self.now)).collect();
        if led_to.len() > 1 {
            let text = format!("    GATES LEAD TO SEVERAL: {led_to:?}");
            self.say(text);
        }
    }

    pub fn tell_gates(&mut self) {
        let with_gate = self.gates.iter().filter(|(_, gate)| gate.exists);
        let each =
            with_gate.map(|(node, g)| format!("n{node} -> {}", g.leads_to(self.now).unwrap_or("nobody")));
        let text = format!("    {}", each.collect::<Vec<_>>().join(", "));
        self.say(text);
    }
}

/// Where a node that has applied this leads.
fn door(g: &Group) -> Option<(Epoch, String)> {
    let primary = g.primary.as_ref()?;
    let shut = g.transition.as_ref().is_some_and(|t| {
        t.phase == Phase::Redirect || (t.epoch != primary.epoch && t.phase.closes_the_door())
    });
    (!shut).then(|| (primary.epoch, primary.member.to_string()))
}
