//! What has happened, in the words of a scenario.

use primacy_core::{Event, MemberName};

pub fn event(event: &Event) -> String {
    match event {
        Event::LeadershipAssumed { node, term } => format!("n{node} leads in term {term}"),
        Event::GroupConfigured { group } => format!("{group} configured"),
        Event::GroupRemoved { group } => format!("{group} removed"),
        Event::TransitionStarted { epoch, from, to, cause, .. } => {
            let from = from.as_ref().map_or("nobody".to_owned(), ToString::to_string);
            format!("transition {epoch}: {from} -> {to} ({cause})")
        }
        Event::PhasePassed { phase, note, .. } => format!("{phase} passed: {note}"),
        Event::PrimaryChanged { member, epoch, .. } => format!("{member} is primary under epoch {epoch}"),
        Event::FenceChanged { fence, .. } => {
            let replicas: Vec<_> = fence.replicas.iter().map(MemberName::as_str).collect();
            format!("fence: {} of witness and {}", fence.min_replicas, replicas.join(", "))
        }
        Event::WitnessAppointed { node, .. } => {
            node.map_or("no witness".to_owned(), |n| format!("n{n} is the witness"))
        }
        Event::OrphanedFound { member, bytes, .. } => {
            format!("{member} is back with {bytes} bytes of its own")
        }
        Event::HolderAppointed { node, degraded, .. } => {
            let holder = node.map_or("no holder".to_owned(), |n| format!("n{n} is the holder"));
            if *degraded { format!("{holder}, and gates go on without one") } else { holder }
        }
        Event::TransitionEnded { outcome, lost, failure, .. } => {
            let why = failure.as_ref().map(|f| format!(": {f}")).unwrap_or_default();
            format!("{}, {lost}{why}", outcome.word())
        }
        Event::GroupPaused { by, .. } => format!("paused by {by}"),
        Event::GroupResumed { by, .. } => format!("resumed by {by}"),
        Event::GroupBlocked { reason, .. } => format!("blocked: {reason}"),
        Event::GroupUnblocked { .. } => "no longer blocked".to_owned(),
    }
}
