//! `acknowledged_survives` and `site_loss_survives`: what was acknowledged is there after a switchover, and after a
//! failover where a gate promised it; whatever else is gone was reported, and not as less than it is.

use crate::coverage::Mark;
use crate::world::World;
use crate::world::truth::{Promise, Promotion, Write};
use primacy_core::{Cause, Loss, Proof, Transition};

/// How long before a promotion everything that a promise rests on must have been well for it to bind.
const QUIET_US: u64 = 8_000_000;

/// A transition has ended, or the run has: what did each promotion cost?
pub(crate) fn settle(world: &mut World) {
    if world.is_endpoint() || super::residue::no_fence(world) {
        return;
    }
    let writes = world.truth.writes.len();
    for id in 0..writes {
        let write = &world.truth.writes[id];
        let Some((_, epoch, place, _)) =
            write.accepted.filter(|_| write.acked_at.is_some() && !write.counted)
        else {
            continue;
        };
        let next = world.truth.promotions.iter().position(|p| p.epoch > epoch);
        let Some(i) = next else { continue };
        world.truth.writes[id].counted = true;
        if world.histories.continues(place, world.truth.promotions[i].start) || world.truth.writes[id].residue
        {
            continue;
        }
        lost(world, id, i);
        if world.violation.is_some() {
            return;
        }
    }
    compare(world);
}

fn transition(world: &World, epoch: u64) -> Option<Transition> {
    let group = world.truth.group()?;
    group.transition.iter().chain(&group.history).find(|t| t.epoch.0 == epoch).cloned()
}

fn lost(world: &mut World, id: usize, i: usize) {
    let write = world.truth.writes[id].clone();
    world.truth.promotions[i].lost_bytes += write.bytes;
    let epoch = world.truth.promotions[i].epoch;
    let told = write.accepted;
    world.say(None, || format!("write {id} ({} bytes, accepted {told:?}) was lost by {epoch}", write.bytes));
    let promotion = world.truth.promotions[i].clone();
    let Some(t) = transition(world, promotion.epoch) else { return };
    if promised(world, &write, &promotion, &t) {
        let (m, epoch, place, _) = write.accepted.unwrap_or((0, 0, promotion.start, 0));
        let text = format!(
            "write {id}, accepted by m{m} under epoch {epoch} at {place:?} and promised {:?} by a gate, is gone after {} \
             ({}, {})",
            write.promise, promotion.epoch, t.cause, t.lost
        );
        world.violate("acknowledged_survives", text);
    }
}

/// Whether a promise binds: nothing that it does not promise to survive went wrong meanwhile.
fn promised(world: &World, write: &Write, promotion: &Promotion, t: &Transition) -> bool {
    let Some((n, boot)) = write.relied_on else { return false };
    // Whoever takes over must have been able to use what was kept for it.
    let to = crate::setup::member_number(&t.to);
    if !write.joined.contains(&(to, world.servers[to].run)) {
        return false;
    }
    let node = &world.nodes[n];
    let quiet = promotion.at.saturating_sub(QUIET_US);
    let thawed = world.truth.frozen_at.get(&n).is_none_or(|at| *at < quiet);
    let there = node.boot == boot && node.alive && thawed && promotion.quiet_since < quiet;
    let by_itself = matches!(t.cause, Cause::Death | Cause::Silence);
    let dead = matches!(t.proof, Some(Proof::Detached { .. }));
    match write.promise {
        Promise::Nothing => false,
        Promise::Local => there && by_itself && dead,
        Promise::Site => there && by_itself,
    }
}

/// Each promotion's report against what it cost.
fn compare(world: &mut World) {
    for i in 0..world.truth.promotions.len() {
        let Promotion { epoch, lost_bytes, .. } = world.truth.promotions[i].clone();
        let Some(t) = transition(world, epoch).filter(|t| t.outcome.is_some()) else { continue };
        if t.cause == Cause::Initial {
            continue;
        }
        let reported = match t.lost {
            Loss::Exact(n) | Loss::AtMost(n) => Some(n),
            Loss::Unknown => None,
        };
        if lost_bytes > 0 {
            world.mark(Mark::LossReported);
        } else if !t.planned {
            world.mark(Mark::LossNone);
        }
        if reported.is_some_and(|n| lost_bytes > n) {
            let text = format!(
                "transition {epoch} ({}) lost {lost_bytes} acknowledged bytes and reports {}",
                t.cause, t.lost
            );
            world.violate("acknowledged_survives", text);
            return;
        }
    }
}
