//! `one_writer`: at most one member of a group accepts writes at any instant, and never an earlier one again.

use super::residue;
use crate::coverage::Mark;
use crate::world::World;

/// A server has accepted a write.
pub(crate) fn accepted(world: &mut World, m: usize, exempt: bool) {
    if world.is_endpoint() || residue::no_fence(world) {
        return;
    }
    let now = world.now;
    let epoch = world.servers[m].promoted;
    if exempt {
        world.mark(Mark::WriteAfterThaw);
        return;
    }
    if residue::stranger(world, m) {
        world.mark(Mark::StrangerKeptOpen);
        return;
    }
    let other = (0..world.servers.len()).find(|o| *o != m && world.servers[*o].is_open(now));
    let other = other.filter(|o| !residue::stranger(world, *o) && !residue::frozen_turn(world, *o));
    if let Some(other) = other {
        world.violate("one_writer", format!("m{m} (epoch {epoch}) accepts a write while m{other} is open"));
    }
    rises(world, m, epoch);
}

/// A gate has led something to an endpoint.
pub(crate) fn passed(world: &mut World, m: usize, epoch: u64) {
    rises(world, m, epoch);
}

fn rises(world: &mut World, m: usize, epoch: u64) {
    let last = world.truth.last_epoch_written;
    if epoch < last {
        world.violate(
            "one_writer",
            format!("m{m} accepts a write under epoch {epoch}, after one under {last}"),
        );
    }
    world.truth.last_epoch_written = last.max(epoch);
}
