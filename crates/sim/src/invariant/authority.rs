//! `no_minority_promotion` and `linearizable_directory`: at most one node believes in its quorum at any instant, and it
//! has all that was ever answered. Whoever acts, grants or answers asks for that belief first.

use crate::world::World;

/// Looked at after every event.
pub(crate) fn check(world: &mut World) {
    let mut acting = None;
    for n in 0..world.nodes.len() {
        let node = &world.nodes[n];
        if !node.alive || node.frozen || node.seat.is_none() || !world.has_authority(n) {
            continue;
        }
        if let Some(other) = acting {
            world.violate(
                "no_minority_promotion",
                format!("n{} and n{} both hold the quorum's lease", other + 1, n + 1),
            );
            return;
        }
        acting = Some(n);
        let commit = world.nodes[n].raft.commit;
        let answered = world.truth.commit_answered;
        if commit < answered {
            let text = format!("n{} would answer from entry {commit}, {answered} was answered before", n + 1);
            world.violate("linearizable_directory", text);
        }
        world.truth.commit_answered = answered.max(commit);
    }
}
