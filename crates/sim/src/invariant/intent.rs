//! `intent_precedes_effect`: whatever reaches a member matches a committed phase and epoch.

use crate::message::Control;
use crate::setup::member_number;
use crate::world::World;
use primacy_core::{Epoch, Phase};

/// Something that carries an epoch reaches a server.
pub(crate) fn effect(world: &mut World, m: usize, epoch: Option<Epoch>, control: &Control) {
    let Some(Epoch(epoch)) = epoch else { return };
    let word = control.word();
    if !world.truth.epochs.contains(&epoch) {
        world.violate(
            "intent_precedes_effect",
            format!("{word} reaches m{m} under epoch {epoch}, which is none"),
        );
        return;
    }
    let needed = match control {
        // At the end of a tail it is promoted before its rescue is committed.
        Control::Promote { .. } | Control::Look | Control::ReadTail { .. } => Some(Phase::Rescue),
        Control::Open { .. } | Control::SetFence { .. } | Control::Follow { .. } => Some(Phase::Redirect),
        Control::Lift { .. } => Some(Phase::RollBack),
        Control::Fence { .. } | Control::Detach => Some(Phase::Fence),
        Control::Probe | Control::Offset | Control::Reach => None,
    };
    if let Some(phase) = needed.filter(|p| !world.truth.reached.contains(&(epoch, *p))) {
        let text = format!("{word} reaches m{m} under epoch {epoch}, which has not come to {phase}");
        world.violate("intent_precedes_effect", text);
        return;
    }
    let opens = matches!(control, Control::Open { .. } | Control::SetFence { .. });
    if opens && world.truth.primaries.get(&epoch) != Some(&m) {
        world.violate(
            "intent_precedes_effect",
            format!("{word} reaches m{m}, which is not the primary of {epoch}"),
        );
    }
    let _ = member_number;
}
