//! `budget_kept`: nobody is promoted by the rules alone where more would be lost than the group may lose.

use crate::world::World;
use primacy_core::{Cause, Group};

/// A promotion was committed.
pub(crate) fn promoted(world: &mut World, group: &Group) {
    let Some(t) = &group.transition else { return };
    let asked = t.loss_accepted || t.planned || t.cause == Cause::Initial;
    let budget = group.spec.max_loss;
    if !asked && !budget.allows(t.lost) {
        let text =
            format!("transition {} ({}) goes on with {}, the budget is {budget}", t.epoch, t.cause, t.lost);
        world.violate("budget_kept", text);
    }
}
