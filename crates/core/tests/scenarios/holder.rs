//! The copies of a stream that nodes at other sites keep.

use crate::world::{World, group};
use primacy_core::view::HolderReport;
use primacy_core::{Durability, Epoch, GroupKind, Moment, NodeId};

#[derive(Clone)]
pub struct Copy {
    pub of: (Epoch, String),
    pub replid: Option<String>,
    pub start: u64,
    pub end: u64,
    pub sealed: bool,
    pub covers: bool,
    pub since: Moment,
}

impl World {
    /// The appointed holder copies what the witness has, and acknowledges it while that joins what a candidate has.
    pub fn hold(&mut self) {
        let Some(g) = self.state.groups.get(&group()) else { return };
        let Some(primary) = g.primary.clone().filter(|_| g.spec.kind == GroupKind::Redis) else { return };
        let (now, site_durable) = (self.now, g.spec.durability == Durability::Site);
        let of = (primary.epoch, primary.member.as_str().to_owned());
        let holder = primary.holder.filter(|_| site_durable);
        if let Some(node) = holder.filter(|n| !self.down_nodes.contains(n)) {
            let fresh = Copy {
                of: of.clone(),
                replid: None,
                start: 0,
                end: 0,
                sealed: false,
                covers: false,
                since: now,
            };
            let mut copy = self.copies.remove(&node).filter(|c| c.of == of).unwrap_or(fresh);
            let covers = self.copy_on(node, &mut copy);
            if copy.covers != covers {
                (copy.covers, copy.since) = (covers, now);
            }
            self.copies.insert(node, copy);
        }
        for (node, copy) in &mut self.copies {
            if holder != Some(*node) && copy.covers {
                (copy.covers, copy.since) = (false, now);
            }
        }
        self.tell_copies();
    }

    /// Whether the copy on that node is up to date and joins what a candidate at another site than the primary's holds.
    fn copy_on(&self, node: NodeId, copy: &mut Copy) -> bool {
        let site = self.view.nodes.get(&node);
        let Some(w) = self.witness.as_ref().filter(|w| w.of == copy.of) else { return false };
        let fed = !self.down_nodes.contains(&w.node) && !self.apart(site, self.view.nodes.get(&w.node));
        let candidates = self.servers.iter().filter(|(name, s)| {
            **name != copy.of.1
                && s.answers()
                && s.replid == w.replid
                && self.sites[*name] != self.sites[&copy.of.1]
        });
        let furthest = candidates.map(|(_, s)| s.offset).max();
        let starving = !fed || copy.sealed || self.starved.contains(&node);
        match (starving, &copy.replid, furthest) {
            (false, None, Some(reach)) if reach >= w.start => {
                (copy.replid, copy.start, copy.end) = (Some(w.replid.clone()), reach, w.end);
            }
            (false, Some(_), _) => copy.end = copy.end.max(w.end),
            _ => {}
        }
        !starving && copy.replid.is_some() && furthest.is_some_and(|reach| reach >= copy.start)
    }

    fn tell_copies(&mut self) {
        let leader_site = self.view.nodes.get(&self.view.me).cloned();
        for (node, copy) in &self.copies {
            let apart = self.apart(self.view.nodes.get(node), leader_site.as_ref());
            if self.down_nodes.contains(node) || apart {
                continue;
            }
            let report = HolderReport {
                at: self.now,
                epoch: copy.of.0,
                replid: copy.replid.clone(),
                start_bytes: copy.start,
                end_bytes: copy.end,
                sealed: copy.sealed,
                covers: copy.covers,
                since: copy.since,
            };
            self.view.holders.insert((group(), *node), report);
        }
    }

    pub fn say_copies(&mut self) {
        let lines: Vec<String> = self
            .copies
            .iter()
            .map(|(node, c)| {
                let what = c
                    .replid
                    .as_ref()
                    .map_or("nothing".to_owned(), |id| format!("{}..{} of {id}", c.start, c.end));
                let how = if c.sealed {
                    "sealed"
                } else if c.covers {
                    "acknowledges"
                } else {
                    "silent"
                };
                format!("    n{node} holds {what}: {how}")
            })
            .collect();
        for line in lines {
            self.say(line);
        }
    }
}
