//! `committed_is_in_force`: the committed number is never above the one in force, and nobody counts for an open primary
//! who is not committed to be in its fence quorum.

use super::residue;
use crate::message::Who;
use crate::setup::member_number;
use crate::world::World;

/// Looked at when the primary or the state changed.
pub(crate) fn check(world: &mut World) {
    if world.is_endpoint() || residue::no_fence(world) {
        return;
    }
    let Some(primary) = world.truth.group().and_then(|g| g.primary.as_ref()) else { return };
    let m = member_number(&primary.member);
    let server = &world.servers[m];
    // A process that was restarted was never promoted.
    if !server.up || !server.is_primary() || server.promoted != primary.epoch.0 {
        return;
    }
    if server.min_replicas < primary.fence.min_replicas {
        let (set, committed) = (server.min_replicas, primary.fence.min_replicas);
        world.violate(
            "committed_is_in_force",
            format!("m{m} has min-replicas {set}, committed is {committed}"),
        );
        return;
    }
    let admitted = |o: usize| primary.fence.replicas.iter().any(|name| member_number(name) == o);
    let epoch = primary.epoch;
    let strange = server.replicas.values().find_map(|r| match r.who {
        Who::Member(o) if r.online && !admitted(o) => Some(o),
        Who::Member(_) | Who::Witness(_) | Who::Stranger => None,
    });
    if let Some(o) = strange {
        let text = format!("m{m} counts m{o}, which is not in the committed fence quorum of epoch {epoch}");
        world.violate("committed_is_in_force", text);
    }
}
