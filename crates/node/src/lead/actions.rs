//! Actions under way: each once at a time, with authority, with a deadline, and gone with the leadership.

use super::fault::{self, Place};
use crate::guard::Guards;
use futures::stream::FuturesUnordered;
use primacy_consensus::Consensus;
use primacy_core::{Action, ActionKind, Outcome, State, WallTime};
use primacy_redis::{ActionError, Hand};
use primacy_runtime::{Task, now, spawn, wall};
use std::iter;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// What an action that is not bounded by its own nature may take.
const WITHIN: Duration = Duration::from_secs(1);
/// What a fence may take on top of its own bound: connecting, and reading back.
const FENCE_SLACK: Duration = Duration::from_millis(250);

/// An action that ended.
pub(super) struct Done {
    pub(super) action: Action,
    pub(super) started: WallTime,
    pub(super) took: Duration,
    pub(super) result: Result<Outcome, ActionError>,
}

/// The actions of one leadership. Dropping it aborts them.
#[derive(Default)]
pub(super) struct Actions {
    running: FuturesUnordered<Task<Done>>,
}

impl Actions {
    /// Begins an action whose authority was checked; `span` is that of its transition.
    pub(super) fn begin(&mut self, hand: &Hand, guards: &Arc<Guards>, action: Action, span: tracing::Span) {
        let (hand, guards) = (hand.clone(), guards.clone());
        let perform = async move {
            let (started, began) = (wall(), now());
            let words = words(&action.kind);
            for word in &words {
                fault::reach(Place::Before(word));
            }
            let within = within(&action.kind);
            let result = match &action.kind {
                ActionKind::Rescue { .. } => guards.have_rescued(&action, within).await,
                ActionKind::Kill { run_id, pid } => guards.have_killed(&action, run_id, *pid, within).await,
                ActionKind::Fence { .. }
                | ActionKind::Lift { .. }
                | ActionKind::Detach
                | ActionKind::SetFence { .. }
                | ActionKind::Promote(_)
                | ActionKind::Open { .. }
                | ActionKind::Follow { .. } => hand.perform(&action, within).await,
            };
            let done = match &result {
                Ok(Outcome::Rescued { promoted: None, .. }) => &words[..1],
                Ok(_) => &words[..],
                Err(_) => &[],
            };
            for word in done {
                fault::reach(Place::After(word));
            }
            Done { action, started, took: now().since(began), result }
        };
        self.running.push(spawn(perform.instrument(span)));
    }

    /// The next action that ends; waits for ever when none runs.
    pub(super) async fn next(&mut self) -> Done {
        use futures::StreamExt;
        loop {
            match self.running.next().await {
                Some(Ok(done)) => return done,
                // A panic in an action was reported where it happened; the next plan tries again.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// The word of an action, and of the one that may end it.
fn words(kind: &ActionKind) -> Vec<&'static str> {
    let ends_in = matches!(kind, ActionKind::Rescue { then: Some(_), .. }).then_some("promote");
    iter::once(kind.word()).chain(ends_in).collect()
}

fn within(kind: &ActionKind) -> Duration {
    match kind {
        ActionKind::Fence { within, .. } => *within + FENCE_SLACK,
        ActionKind::Rescue { within, .. } => *within,
        ActionKind::Lift { .. }
        | ActionKind::Detach
        | ActionKind::Kill { .. }
        | ActionKind::SetFence { .. }
        | ActionKind::Promote(_)
        | ActionKind::Open { .. }
        | ActionKind::Follow { .. } => WITHIN,
    }
}

/// Whether this node may act at all, and on this epoch: the lease first, then what is committed.
pub(super) fn authorised(consensus: &Consensus, action: &Action) -> Result<(), &'static str> {
    if !consensus.has_authority() {
        return Err("the quorum's lease is not valid");
    }
    if !consensus.read(|state| names_epoch(state, action)) {
        return Err("the epoch is over");
    }
    Ok(())
}

fn names_epoch(state: &State, action: &Action) -> bool {
    state.groups.get(&action.group).is_some_and(|group| group.authorises(action.epoch))
}
