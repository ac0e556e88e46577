//! No two nodes have authority at once: not after any step, a frozen one included, for it may go on at any moment.

use super::Checker;
use crate::cluster::Living;
use crate::executor::Executor;

fn has_it(executor: &Executor, living: &Living) -> bool {
    executor.at(living.place, || living.consensus.has_authority())
}

impl Checker {
    /// Authority begins with a step of the node that gets it, so the others are looked at only when it has it.
    pub(super) fn authority(
        &mut self,
        executor: &Executor,
        now_us: u64,
        living: &Living,
        all: impl FnOnce() -> Vec<Living>,
    ) {
        if !has_it(executor, living) {
            return;
        }
        let me = living.place.node;
        let others = all();
        let other = others.iter().find(|other| other.place.node != me && has_it(executor, other));
        if let Some(other) = other {
            let text = format!("nodes {me} and {} both have authority", other.place.node);
            self.violate("authority", now_us, text);
        }
    }
}
