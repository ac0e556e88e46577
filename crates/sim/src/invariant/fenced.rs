//! `fenced_before_promoted`: no promotion without committed proof of the fence.

use crate::world::World;

/// A promotion was committed.
pub(crate) fn promoted(world: &mut World, epoch: u64) {
    let group = world.truth.group();
    let transition = group.and_then(|g| g.transition.as_ref()).filter(|t| t.epoch.0 == epoch);
    if transition.is_none_or(|t| t.proof.is_none()) {
        world.violate("fenced_before_promoted", format!("the promotion of epoch {epoch} has no proof"));
    }
}
