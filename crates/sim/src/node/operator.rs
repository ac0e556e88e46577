//! What operators ask of the leader: core's own checks decide, and say why not.

use crate::coverage::Mark;
use crate::fault::Wish;
use crate::setup::{group, member};
use crate::world::World;
use primacy_core::check::{Request, failover, switchover};
use primacy_core::{Cause, Command};

impl World {
    /// The node that leads with authority, if there is one.
    pub(crate) fn acting_leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|n| {
            let node = &self.nodes[*n];
            node.alive && !node.frozen && node.seat.is_some() && self.has_authority(*n)
        })
    }

    /// Somebody wants something. Says whether it was proposed.
    pub(crate) fn wish(&mut self, wish: Wish) -> bool {
        let Some(n) = self.acting_leader() else { return false };
        let at = self.clock(n);
        let wall = self.wall();
        let Some(seat) = self.nodes[n].seat.as_ref() else { return false };
        let state = &self.nodes[n].state;
        let request = |to: Option<usize>, cause, allow_data_loss| Request {
            group: group(),
            to: to.map(member),
            requested_by: "op".to_owned(),
            reason: None,
            allow_data_loss,
            cause,
        };
        let checked = match wish {
            Wish::Switchover(to) => {
                switchover(state, &seat.view, &request(to, Cause::Operator, false), at, wall)
            }
            Wish::Failback => switchover(state, &seat.view, &request(None, Cause::Failback, false), at, wall),
            Wish::Failover { to, allow_data_loss } => {
                failover(state, &seat.view, &request(to, Cause::Operator, allow_data_loss), at, wall)
            }
            Wish::Pause => {
                let command = Command::Pause { group: group(), by: "op".to_owned(), reason: None, at: wall };
                self.coverage.mark(Mark::Paused);
                self.propose_aside(n, command);
                return true;
            }
            Wish::Resume => {
                let command = Command::Resume { group: group(), by: "op".to_owned(), at: wall };
                self.propose_aside(n, command);
                return true;
            }
            Wish::Configure => return self.reconfigure(n),
        };
        let start = checked.ok().and_then(|c| c.start.ok());
        let Some(start) = start else {
            self.coverage.mark(Mark::WishRefused);
            return false;
        };
        self.coverage.mark(Mark::WishGranted);
        self.propose_aside(n, Command::StartTransition(Box::new(start)));
        true
    }

    /// As an operator's request is proposed: beside what the loop has under way.
    fn propose_aside(&mut self, n: usize, command: Command) {
        self.early_effects(n, &command);
        self.push_entry(n, Some(std::rc::Rc::new(command)));
        if let Some(seat) = self.nodes[n].seat.as_mut() {
            seat.due = true;
        }
    }

    fn reconfigure(&mut self, n: usize) -> bool {
        let Some(mut spec) = self.nodes[n].group().map(|g| g.spec.clone()) else { return false };
        let m = self.dice.index(spec.members.len());
        spec.members[m].priority = self.dice.range(1, 100) as u32;
        spec.down_after_ms = self.dice.range(5, 20) * 100;
        let at = self.wall();
        let command = Command::ConfigureGroups { groups: vec![spec], prune: false, by: "op".to_owned(), at };
        self.coverage.mark(Mark::Reconfigured);
        self.propose_aside(n, command);
        true
    }

    /// Once a leader is there, the group is configured.
    pub(crate) fn found(&mut self) {
        if self.truth.founded {
            return;
        }
        if let Some(n) = self.acting_leader() {
            let (groups, at) = (vec![self.setup.spec.clone()], self.wall());
            self.truth.founded = true;
            self.propose_aside(n, Command::ConfigureGroups { groups, prune: false, by: "op".to_owned(), at });
        }
    }
}
