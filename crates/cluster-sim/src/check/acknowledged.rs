//! What was acknowledged stays, and what was refused never was.

use super::Checker;
use primacy_consensus::{Committed, ProposeError};

impl Checker {
    /// What came of the proposal of `mark`.
    pub(crate) fn proposed(&mut self, now_us: u64, mark: u64, outcome: &Result<Committed, ProposeError>) {
        match outcome {
            Ok(committed) => {
                self.count("acknowledged");
                self.acknowledged.insert(mark, committed.revision);
                let at = self.applied.binary_search_by_key(&committed.revision, |applied| applied.revision);
                if at.is_ok_and(|at| self.applied[at].mark == mark) {
                    return;
                }
                // It is applied where it was proposed, and that is looked at after this step.
                if self.applied.last().is_some_and(|last| last.revision >= committed.revision) {
                    let text =
                        format!("{mark} is acknowledged at revision {}, where it is not", committed.revision);
                    self.violate("acknowledged", now_us, text);
                }
            }
            Err(ProposeError::OutcomeUnknown { .. }) => self.count("outcome_unknown"),
            Err(error) => {
                self.count("refused");
                self.refused.insert(mark);
                if self.applied.iter().any(|applied| applied.mark == mark) {
                    let text = format!("{mark} is applied, and was refused: {error}");
                    self.violate("acknowledged", now_us, text);
                }
            }
        }
    }

    /// At the end: nothing that was acknowledged is missing.
    pub(crate) fn all_there(&mut self, now_us: u64) {
        let lost = self.acknowledged.iter().find(|(mark, revision)| {
            let at = self.applied.binary_search_by(|applied| applied.revision.cmp(revision));
            at.map_or(true, |at| self.applied[at].mark != **mark)
        });
        if let Some((mark, revision)) = lost {
            let text = format!("{mark}, acknowledged at revision {revision}, is nowhere");
            self.violate("acknowledged", now_us, text);
        }
    }

    /// At the end: how many changes `node` holds, of how many.
    pub(crate) fn holds(&self, node: u64) -> (usize, usize) {
        (self.seen.get(&node).map_or(0, |seen| seen.marks), self.applied.len())
    }
}
