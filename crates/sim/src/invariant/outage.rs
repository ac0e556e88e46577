//! `coordinator_outage_is_harmless`: with no coordinator running a healthy primary goes on accepting writes.

use crate::coverage::Mark;
use crate::world::World;
use primacy_core::{FencePolicy, Phase};

/// Long enough that whatever happened before has worked itself out.
const ALONE_US: u64 = 6_000_000;

/// Remembers since when nothing else is wrong; with every node down for long, looks at the primary.
pub(crate) fn note(world: &mut World) {
    let now = world.now;
    if world.net.any_cut() || !world.net.slow.is_empty() || !world.net.loss.is_empty() {
        world.truth.network_bad_at = now;
    }
    for n in 0..world.nodes.len() {
        if world.nodes[n].frozen {
            world.truth.frozen_at.insert(n, now);
        }
    }
    let all_down = world.nodes.iter().all(|n| !n.alive);
    // What the servers are does not change with the last node: it is enough to look then.
    if all_down && !world.truth.all_down {
        world.truth.settled = settled(world);
    }
    world.truth.all_down = all_down;
    let well = world.truth.faults_now <= 1 && world.servers.iter().all(crate::redis::Server::runs);
    // What happens to a server while nobody looks after it is not the nodes' being down.
    world.truth.settled &= well;
    if !all_down || !well || world.truth.network_bad_at == now {
        world.truth.outage_alone_since = now;
        return;
    }
    if now >= world.truth.outage_alone_since + ALONE_US && world.truth.settled {
        let Some(m) = world.truth.primary() else { return };
        if world.servers[m].door_is_open() {
            world.mark(Mark::NoCoordinator);
            world.truth.outage_alone_since = now;
        } else if now >= world.truth.outage_alone_since + ALONE_US + 2_000_000 {
            world.violate(
                "coordinator_outage_is_harmless",
                format!("m{m} is shut though nothing but the nodes is down"),
            );
        }
    }
}

/// Whether the group serves and is guarded as it should be, with enough replicas to do without a witness.
fn settled(world: &World) -> bool {
    let Some(group) = world.truth.group() else { return false };
    let Some(primary) = &group.primary else { return false };
    let over = group.transition.as_ref().is_none_or(|t| t.phase == Phase::Settle);
    let m = crate::setup::member_number(&primary.member);
    let members = world.servers[m]
        .replicas
        .values()
        .filter(|r| r.online && matches!(r.who, crate::message::Who::Member(_)));
    over && group.spec.fence == FencePolicy::Witness
        && !world.is_endpoint()
        && world.servers[m].door_is_open()
        && members.count() as u64 >= primary.fence.min_replicas
}
