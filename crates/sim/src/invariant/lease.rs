//! `lease_exclusivity`: a fence that rests on leases being over is not proven while one holds.

use crate::node::Node;
use crate::redis::STRANGER;
use crate::world::World;
use primacy_core::view::MemberRole;
use primacy_core::{Group, GroupKind, Proof};

/// A proof was committed.
pub(crate) fn proven(world: &mut World, proof: &Proof, before: Option<&Group>) {
    let endpoint = world.setup.spec.kind == GroupKind::Endpoint;
    let rests_on_leases = match proof {
        Proof::Expired { .. } => true,
        Proof::Acknowledged { .. } => endpoint,
        Proof::Detached { .. } | Proof::Vacant | Proof::Waived => false,
    };
    let Some(epoch) = before.and_then(|g| g.primary.as_ref()).map(|p| p.epoch).filter(|_| rests_on_leases)
    else {
        return;
    };
    // An older leader, cut off beside the primary, may know of one: it is not the one that waited.
    let leader = world.nodes.iter().filter(|n| n.seat.is_some()).max_by_key(|n| n.raft.term);
    let known = |n: &Node| {
        let (_, last) = n.seat.as_ref()?.view.last_of_primary.values().next()?;
        match &last.role {
            MemberRole::Primary { replicas } => {
                Some(replicas.iter().filter(|r| r.host == STRANGER).count() as u64)
            }
            MemberRole::Replica { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => None,
        }
    };
    world.truth.strangers_known = leader.and_then(known).unwrap_or(0);
    for n in 0..world.nodes.len() {
        let at = world.clock(n);
        let node = &world.nodes[n];
        if !node.alive || node.leases.until(epoch, at).is_none() {
            continue;
        }
        // One that knows of the intent has shut its gates, whatever its lease says. That its witness may still be attached
        // is counted by the proof.
        let knows = node.group().is_some_and(|g| g.epoch_last() > epoch);
        if !(knows && node.gate_is_shut()) {
            let text = format!(
                "n{} holds a lease of epoch {epoch} when the fence counts as proven ({})",
                n + 1,
                proof.word()
            );
            world.violate("lease_exclusivity", text);
            return;
        }
    }
}
