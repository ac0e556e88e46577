//! `one_witness`: at most one node may keep the door of a primary open as its witness.

use crate::world::World;

/// Looked at after every event.
pub(crate) fn check(world: &mut World) {
    let mut found: Option<(usize, u64)> = None;
    for n in 0..world.nodes.len() {
        let node = &world.nodes[n];
        let Some(post) = node.post.as_ref().filter(|p| !p.closed && node.alive && !node.frozen) else {
            continue;
        };
        if !post.attached || node.leases.witness(post.epoch, world.clock(n)).is_none() {
            continue;
        }
        match found {
            Some((other, epoch)) if epoch == post.epoch.0 => {
                let text = format!("n{} and n{} are both witness under epoch {epoch}", other + 1, n + 1);
                world.violate("one_witness", text);
                return;
            }
            _ => found = Some((n, post.epoch.0)),
        }
    }
}
