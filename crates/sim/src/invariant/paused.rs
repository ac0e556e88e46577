//! `paused_is_still`: nothing automatic happens to a paused group.

use crate::world::World;
use primacy_core::{Action, Command, Group};

/// A command was committed.
pub(crate) fn started(world: &mut World, command: &Command, before: Option<&Group>) {
    if let Command::StartTransition(start) = command
        && start.cause.automatic()
        && before.is_some_and(|g| g.paused.is_some())
    {
        world.violate(
            "paused_is_still",
            format!("a transition to {} begins while the group is paused", start.to),
        );
    }
}

/// A leader begins to act.
pub(crate) fn acts(world: &mut World, n: usize, action: &Action) {
    let Some(group) = world.nodes[n].group() else { return };
    let closing = group.transition.as_ref().is_some_and(|t| t.phase.closes_the_door());
    if group.paused.is_some() && !closing {
        let text = format!("n{} acts on a paused group: {} {}", n + 1, action.kind.word(), action.member);
        world.violate("paused_is_still", text);
    }
}
