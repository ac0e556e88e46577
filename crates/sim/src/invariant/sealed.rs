//! `sealed_is_still`: what was sealed for a rescue takes nothing more under that epoch, so that nobody relies on what the
//! candidate does not read.

use crate::world::World;
use primacy_core::Epoch;

/// A node has said where what it keeps of the stream of `of` ends, sealed for the transition of `epoch`.
pub(crate) fn sealed(world: &mut World, n: usize, epoch: Epoch, of: Epoch, end: u64) {
    world.truth.sealed.insert((n, of.0), (epoch.0, end));
}

/// What a node keeps of the stream of `of` has grown to `end`.
pub(crate) fn grew(world: &mut World, n: usize, of: Epoch, end: u64) {
    let Some((epoch, sealed)) = world.truth.sealed.get(&(n, of.0)).copied() else { return };
    // A transition that was rolled back leaves the stream to those who have it.
    let under_way = world.truth.group().and_then(|g| g.transition.as_ref());
    let binds = under_way.is_some_and(|t| t.epoch.0 == epoch && t.phase.closes_the_door());
    if binds && end > sealed {
        let text = format!("n{} has the stream of {of} to {end}, sealed at {sealed} for {epoch}", n + 1);
        world.violate("sealed_is_still", text);
    }
}
