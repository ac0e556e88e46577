//! Fault points: a test build dies, or stops, at a named place, so that a test can kill a leader in each phase.
//!
//! `PRIMACY_FAULT` names one: `crash_after:COMMAND` once the command is committed through this node,
//! `crash_before_action:ACTION`, `crash_after_action:ACTION` before its outcome is proposed, and
//! `freeze_before_action:ACTION`, which stops the process as SIGSTOP does until somebody continues it. COMMAND is a word
//! of [`command_word`], ACTION one of `fence`, `lift`, `detach`, `rescue`, `set_fence`, `promote`, `open`, `follow`. Builds without debug assertions and
//! without the feature `fault-points` have none of this.

use primacy_core::Command;

/// A command's name, for logs and counters.
pub(crate) fn command_word(command: &Command) -> &'static str {
    match command {
        Command::ConfigureGroups { .. } => "configure_groups",
        Command::AssumeLeadership { .. } => "assume_leadership",
        Command::StartTransition(_) => "start_transition",
        Command::ConfirmFence { .. } => "confirm_fence",
        Command::ConfirmRescue { .. } => "confirm_rescue",
        Command::ChangeFence { .. } => "change_fence",
        Command::AppointWitness { .. } => "appoint_witness",
        Command::RecordOrphaned { .. } => "record_orphaned",
        Command::AppointHolder { .. } => "appoint_holder",
        Command::ConfirmPromotion { .. } => "confirm_promotion",
        Command::ConfirmOpen { .. } => "confirm_open",
        Command::Settle { .. } => "settle",
        Command::RollBack { .. } => "roll_back",
        Command::ConfirmRollBack { .. } => "confirm_roll_back",
        Command::Pause { .. } => "pause",
        Command::Resume { .. } => "resume",
        Command::Block { .. } => "block",
        Command::Unblock { .. } => "unblock",
    }
}

/// A place at which a fault can be injected.
#[cfg_attr(
    not(any(test, debug_assertions, feature = "fault-points")),
    expect(dead_code, reason = "without fault points nobody asks where it is")
)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// The command was committed.
    Committed(&'static str),
    /// The action is about to run.
    Before(&'static str),
    /// The action worked, and nothing was proposed yet.
    After(&'static str),
}

/// Does what `PRIMACY_FAULT` asks for at this place.
#[cfg(any(test, debug_assertions, feature = "fault-points"))]
pub(crate) fn reach(place: Place) {
    let Ok(asked) = std::env::var("PRIMACY_FAULT") else { return };
    match effect(&asked, place) {
        Effect::None => {}
        Effect::Crash => {
            tracing::warn!(fault = asked, "PRIMACY_FAULT ends this process");
            std::process::abort();
        }
        Effect::Freeze => {
            tracing::warn!(fault = asked, "PRIMACY_FAULT stops this process until it is continued");
            // It cannot fail for one's own process.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        }
    }
}

/// Does nothing.
#[cfg(not(any(test, debug_assertions, feature = "fault-points")))]
pub(crate) fn reach(_: Place) {}

#[cfg(any(test, debug_assertions, feature = "fault-points"))]
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    None,
    Crash,
    Freeze,
}

#[cfg(any(test, debug_assertions, feature = "fault-points"))]
fn effect(asked: &str, place: Place) -> Effect {
    let Some((kind, word)) = asked.split_once(':') else { return Effect::None };
    match (kind, place) {
        ("crash_after", Place::Committed(w)) if w == word => Effect::Crash,
        ("crash_before_action", Place::Before(w)) if w == word => Effect::Crash,
        ("crash_after_action", Place::After(w)) if w == word => Effect::Crash,
        ("freeze_before_action", Place::Before(w)) if w == word => Effect::Freeze,
        _ => Effect::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_its_own_place_only() {
        assert_eq!(effect("crash_after:confirm_fence", Place::Committed("confirm_fence")), Effect::Crash);
        assert_eq!(effect("crash_after:confirm_fence", Place::Committed("confirm_open")), Effect::None);
        assert_eq!(effect("crash_before_action:promote", Place::Before("promote")), Effect::Crash);
        assert_eq!(effect("crash_before_action:promote", Place::After("promote")), Effect::None);
        assert_eq!(effect("freeze_before_action:open", Place::Before("open")), Effect::Freeze);
        assert_eq!(effect("open", Place::Before("open")), Effect::None);
    }
}
