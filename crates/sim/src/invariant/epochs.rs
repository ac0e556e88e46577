//! `epoch_rises`: epochs of a group rise.

use crate::world::World;
use primacy_core::Group;

/// A primary was committed.
pub(crate) fn primary_changed(world: &mut World, before: Option<&Group>, epoch: u64) {
    let last = before.and_then(|g| g.primary.as_ref()).map_or(0, |p| p.epoch.0);
    if epoch <= last {
        world.violate("epoch_rises", format!("epoch {epoch} follows {last}"));
    }
}
