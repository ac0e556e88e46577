//! `agreement`: what one node has applied at an index every other applies there.

use crate::message::Entry;
use crate::world::World;
use std::rc::Rc;

/// A node applies an entry that another has applied before.
pub(crate) fn check(world: &mut World, n: usize, index: usize, entry: &Entry) {
    let truth = &world.truth.log[index - 1];
    let same = match (&truth.command, &entry.command) {
        (Some(a), Some(b)) => Rc::ptr_eq(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if truth.term != entry.term || !same {
        world.violate("agreement", format!("n{} applies another entry at {index}", n + 1));
    }
}
