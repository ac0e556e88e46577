//! `watch_is_whole`: whoever watches, at whichever node, sees every revision once and in order.

use crate::world::World;
use primacy_core::Revision;

/// A watcher asks some node for what came after the last that it saw.
pub(crate) fn look(world: &mut World) {
    let n = world.dice.index(world.nodes.len());
    if !world.nodes[n].alive || world.nodes[n].frozen {
        return;
    }
    let seen = world.truth.watched;
    let after = seen.checked_sub(1).map_or(Revision(0), |i| world.truth.events[i].revision);
    let Ok(batches) = world.nodes[n].state.events_after(after) else { return };
    let mut wrong = None;
    let mut now = seen;
    for batch in batches {
        if world.truth.events.get(now) != Some(batch) {
            wrong = Some(batch.revision);
            break;
        }
        now += 1;
    }
    world.truth.watched = now;
    if let Some(revision) = wrong {
        world.violate(
            "watch_is_whole",
            format!("n{} tells revision {revision} where another comes next", n + 1),
        );
    }
}
