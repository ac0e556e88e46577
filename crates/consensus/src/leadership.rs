//! Who leads, for those who follow it.

use crate::context::{Core, leader_in};
use crate::{Halted, LeaderHint};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use primacy_core::Term;
use primacy_runtime::watch;
use primacy_storage::TypeConfig;
use std::sync::Arc;

/// Who leads, as far as this node knows. No authority: a leader that was cut off goes on believing that it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeadershipView {
    /// The leader, this node included.
    pub leader: Option<LeaderHint>,
    /// The highest term this node knows.
    pub term: Term,
    /// Whether it is this node.
    pub leading: bool,
}

fn view(metrics: &RaftServerMetrics<TypeConfig>) -> LeadershipView {
    let leader = leader_in(&metrics.vote, metrics.membership_config.membership());
    let leading =
        metrics.state == ServerState::Leader && leader.as_ref().is_some_and(|l| l.id.0 == metrics.id);
    LeadershipView { leader, term: Term(metrics.vote.leader_id.term), leading }
}

/// Publishes the leader until openraft ends, and halts the node then.
pub(crate) async fn publish(core: Arc<Core>, views: watch::Sender<LeadershipView>) {
    let mut metrics = core.raft.server_metrics();
    loop {
        let seen = view(&metrics.borrow_and_update());
        views.send_if_modified(|held| {
            let changed = *held != seen;
            if changed {
                log_change(&core, held, &seen);
                *held = seen;
            }
            changed
        });
        if metrics.changed().await.is_err() {
            break;
        }
    }
    views.send(LeadershipView::default());
    let reason = core.metrics(|m| match &m.running_state {
        Ok(()) => "it ended".to_owned(),
        Err(fatal) => fatal.to_string(),
    });
    core.halt(Halted::Fatal { reason });
}

fn log_change(core: &Core, before: &LeadershipView, now: &LeadershipView) {
    match &now.leader {
        Some(leader) if before.leader.as_ref().map(|l| (l.id, l.term)) != Some((leader.id, leader.term)) => {
            tracing::info!(node = %core.node(), leader = %leader.id, term = %leader.term, "leader");
        }
        None if before.leader.is_some() => tracing::warn!(node = %core.node(), term = %now.term, "no leader"),
        _ => {}
    }
}
