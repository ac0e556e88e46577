//! The leader's loop: plan when due, one proposal at a time, actions beside it.

use super::board::Pending;
use crate::coverage::Mark;
use crate::setup::group;
use crate::world::World;
use primacy_core::plan::{self, StepKind};
use primacy_core::{Action, Command, Moment, State};
use std::rc::Rc;
use std::time::Duration;

const PROPOSE_WITHIN: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_millis(20);

impl World {
    pub(crate) fn lead(&mut self, n: usize) {
        if self.nodes[n].seat.is_none() || !self.nodes[n].raft.leads() {
            return;
        }
        let at = self.clock(n);
        self.give_up_pending(n, at);
        let Some(seat) = self.nodes[n].seat.as_mut() else { return };
        if seat.pending.is_some() || at < seat.rest_until || (!seat.due && at < seat.wake_at) {
            return;
        }
        seat.due = false;
        seat.hear(n, at);
        let wall = self.wall();
        let node = &self.nodes[n];
        let Some(seat) = node.seat.as_ref() else { return };
        let assumed =
            node.state.leadership.is_some_and(|l| l.node == seat.view.me && l.term == seat.view.term);
        let bent = crate::defect::bend_state(self.defect, &node.state, &group());
        let state: &State = bent.as_ref().unwrap_or(&node.state);
        let plan = if assumed {
            plan::plan_group(state, &group(), &seat.view, at, wall)
        } else {
            plan::plan(state, &seat.view, at, wall)
        };
        let wake_at = plan.wake_at.unwrap_or(at.after(Duration::from_millis(100)));
        if let Some(seat) = self.nodes[n].seat.as_mut() {
            seat.wake_at = wake_at;
        }
        for step in plan.steps {
            self.coverage.rule(step.rule);
            match step.kind {
                StepKind::Propose(command) => {
                    let command = crate::defect::bend_command(self, n, command);
                    self.propose(n, command);
                    return;
                }
                StepKind::Perform(action) => self.perform(n, action),
            }
        }
    }

    fn give_up_pending(&mut self, n: usize, at: Moment) {
        let Some(seat) = self.nodes[n].seat.as_mut() else { return };
        if seat.pending.is_some_and(|p| at >= p.since.after(PROPOSE_WITHIN)) {
            seat.pending = None;
            seat.due = true;
            seat.rest_until = at.after(REST);
            self.coverage.mark(Mark::OutcomeUnknown);
        }
    }

    pub(crate) fn propose(&mut self, n: usize, command: Command) {
        if !self.nodes[n].raft.leads() {
            return;
        }
        let since = self.clock(n);
        self.early_effects(n, &command);
        let index = self.push_entry(n, Some(Rc::new(command)));
        let term = self.nodes[n].raft.term;
        let applied = self.nodes[n].applied;
        if let Some(seat) = self.nodes[n].seat.as_mut()
            && applied < index
        {
            seat.pending = Some(Pending { index, term, since });
        }
    }

    fn perform(&mut self, n: usize, action: Action) {
        if self.authorised(n, &action).is_err() {
            return;
        }
        if let Some(seat) = self.nodes[n].seat.as_mut() {
            seat.view.running.insert(action.key());
        }
        let action = self.bend_action(n, action);
        self.begin_action(n, action);
    }

    /// Whether this node may act at all, and on this epoch.
    pub(crate) fn authorised(&self, n: usize, action: &Action) -> Result<(), &'static str> {
        if self.has(crate::defect::Defect::ResumedLeaderActs) {
            return Ok(());
        }
        if !self.has_authority(n) {
            return Err("the quorum's lease is not valid");
        }
        let Some(group) = self.nodes[n].state.groups.get(&action.group) else { return Err("no such group") };
        if group.authorises(action.epoch) { Ok(()) } else { Err("the epoch is over") }
    }

    pub(crate) fn apply_soon(&mut self, n: usize) {
        let lag = self.setup.apply_lag[n];
        if lag == 0 {
            self.apply(n);
        } else if self.nodes[n].apply_due.is_none() {
            let due = self.now + self.dice.below(lag);
            self.nodes[n].apply_due = Some(due);
        }
    }

    pub(crate) fn apply_when_due(&mut self, n: usize) {
        if self.nodes[n].apply_due.is_some_and(|due| self.now >= due) {
            self.nodes[n].apply_due = None;
            self.apply(n);
        }
    }

    fn apply(&mut self, n: usize) {
        let mut changed = false;
        while self.nodes[n].applied < self.nodes[n].raft.commit {
            let node = &mut self.nodes[n];
            let index = node.applied + 1;
            let entry = node.raft.log[index - 1].clone();
            node.applied = index;
            node.applied_term = entry.term;
            self.committed(n, index, &entry);
            let rejected = match &entry.command {
                Some(command) => self.nodes[n].state.apply(index as u64, command).is_err(),
                None => false,
            };
            changed = true;
            self.settle_pending(n, index, entry.term, rejected);
        }
        if changed {
            self.follow_state(n);
            self.nodes[n].reconcile = true;
            self.reconcile(n);
            self.lead(n);
        }
    }

    fn settle_pending(&mut self, n: usize, index: usize, term: u64, rejected: bool) {
        let at = self.clock(n);
        let Some(seat) = self.nodes[n].seat.as_mut() else { return };
        let Some(pending) = seat.pending.filter(|p| p.index == index) else { return };
        seat.pending = None;
        seat.due = true;
        if rejected || pending.term != term {
            seat.rest_until = at.after(REST);
            self.coverage.mark(Mark::Rejected);
        }
    }

    pub(crate) fn lane_of_node(&self, n: usize) -> usize {
        self.setup.nodes[n]
    }
}
