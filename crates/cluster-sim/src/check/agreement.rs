//! All nodes apply the same entries in the same order, and none takes one back.

use super::{Applied, Checker, Seen, mark_of};
use crate::cluster::Living;
use primacy_core::{Revision, State};

impl Checker {
    pub(super) fn agreement(&mut self, now_us: u64, living: &Living) {
        let place = living.place;
        let former = self.seen.get(&place.node).copied().filter(|seen| seen.place == place);
        let mut seen = former.unwrap_or(Seen { place, marks: 0, revision: Revision(0) });
        let found = living.consensus.read(|state| {
            if state.revision == seen.revision { Ok(()) } else { self.compare(now_us, &mut seen, state) }
        });
        self.seen.insert(place.node, seen);
        if let Err(text) = found {
            self.violate("agreement", now_us, format!("node {}: {text}", place.node));
        }
    }

    fn compare(&mut self, now_us: u64, seen: &mut Seen, state: &State) -> Result<(), String> {
        if state.revision < seen.revision || state.events.len() < seen.marks {
            return Err(format!("went back from revision {} to {}", seen.revision, state.revision));
        }
        for (index, batch) in state.events.iter().enumerate().skip(seen.marks) {
            let mark = batch.events.first().and_then(mark_of).unwrap_or(0);
            match self.applied.get(index) {
                Some(known) if (known.revision, known.mark) == (batch.revision, mark) => {}
                Some(known) => {
                    return Err(format!(
                        "its change number {index} is {mark} at revision {}, where another node has {} at revision {}",
                        batch.revision, known.mark, known.revision
                    ));
                }
                None => {
                    if self.refused.contains(&mark) {
                        return Err(format!("{mark} is applied, and was refused for certain"));
                    }
                    self.applied.push(Applied { revision: batch.revision, mark, at_us: now_us });
                }
            }
        }
        (seen.marks, seen.revision) = (state.events.len(), state.revision);
        Ok(())
    }
}
