//! A term has one leader.

use super::Checker;
use crate::cluster::Living;

impl Checker {
    pub(super) fn leader(&mut self, now_us: u64, living: &Living) {
        let node = living.place.node;
        let leading = living.consensus.leadership();
        let term = {
            let view = leading.borrow();
            if !view.leading {
                return;
            }
            view.term.0
        };
        match self.leaders.get(&term) {
            None => {
                self.leaders.insert(term, node);
                self.count("leaders");
                self.tell(now_us, || format!("node {node} leads term {term}"));
            }
            Some(known) if *known == node => {}
            Some(known) => {
                let text = format!("nodes {known} and {node} both lead term {term}");
                self.violate("one_leader", now_us, text);
            }
        }
    }
}
