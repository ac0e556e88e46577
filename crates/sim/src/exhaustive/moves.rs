//! What can happen next.

use super::world::{Flight, Link, NODES, Source, World};
use crate::setup::{group, member, member_number};
use primacy_core::check::{self, Request};
use primacy_core::plan::{StepKind, plan};
use primacy_core::view::SHUT_MIN_REPLICAS;
use primacy_core::{Cause, Command, Moment};
use std::rc::Rc;
use std::time::Duration;

/// How much time passes at once.
pub(super) const STEP: Duration = Duration::from_millis(500);
/// So many actions of one leader are under way at once.
const FLIGHTS_MAX: usize = 3;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Half a second passes, and everybody looks.
    Pass,
    /// Everybody looks.
    Look,
    /// What the leader proposed is committed.
    Commit,
    /// An action reaches its member, by number.
    Arrive(usize),
    /// A client writes to a member that is open.
    Write(usize),
    /// A process dies.
    Kill(usize),
    /// It is started again, with its data and the name of its history, or without.
    Restart(usize, bool),
    /// A process stops for a while.
    Freeze(usize),
    /// It goes on.
    Thaw(usize),
    /// A site is cut off.
    Cut(usize),
    /// No site is.
    Heal,
    /// Another node leads.
    Lead(usize),
    /// An operator asks for a switchover to a member.
    Switchover(usize),
    /// An operator asks for a failover and accepts a loss.
    Failover,
}

impl World {
    /// All that can happen now.
    pub(super) fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::with_capacity(16);
        if self.pending.is_some() && self.has_quorum() {
            moves.push(Move::Commit);
        }
        for (i, flight) in self.flights.iter().enumerate() {
            // That it cannot be reached is found out by time.
            if self.reaches(i)
                || (flight.waited_for && !self.servers[member_number(&flight.action.member)].up)
            {
                moves.push(Move::Arrive(i));
            }
        }
        moves.push(Move::Look);
        if self.steps_left > 0 && !self.is_due() {
            moves.push(Move::Pass);
        }
        let members = 0..self.servers.len();
        if self.writes_left > 0 {
            moves.extend(members.clone().filter(|m| self.is_open(*m)).map(Move::Write));
        }
        moves.extend(members.clone().filter(|m| self.servers[*m].frozen).map(Move::Thaw));
        if self.cut.is_some() {
            moves.push(Move::Heal);
        }
        if self.faults_left > 0 {
            self.faults(&mut moves);
        }
        moves
    }

    /// Whether something must happen before time goes on: what can be done is done within a step.
    fn is_due(&self) -> bool {
        let old = |at: Moment| self.now.since(at) >= STEP;
        let proposed = self.pending.as_ref().is_some_and(|(_, at)| old(*at)) && self.has_quorum();
        let arrives = |(i, f): (usize, &Flight)| f.waited_for && old(f.began) && self.reaches(i);
        proposed || self.flights.iter().enumerate().any(arrives)
    }

    fn faults(&self, moves: &mut Vec<Move>) {
        for m in 0..self.servers.len() {
            let server = &self.servers[m];
            if server.up {
                moves.push(Move::Kill(m));
            } else {
                moves.extend([Move::Restart(m, true), Move::Restart(m, false)]);
            }
            if server.up && !server.frozen {
                moves.push(Move::Freeze(m));
            }
        }
        if self.cut.is_none() {
            moves.extend((0..self.servers.len()).map(Move::Cut));
        }
        let others = (0..NODES).filter(|n| *n != self.leader() && self.cut != Some(*n));
        moves.extend(others.map(Move::Lead));
        if self.has_quorum() && self.pending.is_none() {
            moves.extend((0..self.servers.len()).map(Move::Switchover));
            moves.push(Move::Failover);
        }
    }

    pub(super) fn make(&mut self, one: Move) {
        match one {
            Move::Pass => self.pass(),
            Move::Look => self.everybody_looks(),
            Move::Commit => self.commit_pending(),
            Move::Arrive(i) => self.arrive(i),
            Move::Write(m) => self.write(m),
            Move::Thaw(m) => self.thaw(m),
            Move::Heal => self.cut = None,
            Move::Kill(m) => self.kill(m),
            Move::Restart(m, keeps) => self.restart(m, keeps),
            Move::Freeze(m) => self.servers[m].frozen = true,
            Move::Cut(site) => {
                self.cut = Some(site);
                self.settle_links();
            }
            Move::Lead(n) => self.lead(n),
            Move::Switchover(to) => self.ask(Some(to)),
            Move::Failover => self.ask(None),
        }
        match one {
            Move::Kill(_)
            | Move::Restart(..)
            | Move::Freeze(_)
            | Move::Cut(_)
            | Move::Lead(_)
            | Move::Switchover(_)
            | Move::Failover => self.faults_left -= 1,
            Move::Pass
            | Move::Look
            | Move::Commit
            | Move::Arrive(_)
            | Move::Write(_)
            | Move::Thaw(_)
            | Move::Heal => {}
        }
        self.check();
    }

    fn everybody_looks(&mut self) {
        self.settle_links();
        self.guard();
        self.look();
        self.think();
    }

    fn kill(&mut self, m: usize) {
        let server = &mut self.servers[m];
        (server.up, server.frozen, server.link_up, server.witnessed) = (false, false, false, false);
        server.links = [Link::No; NODES];
        let run = server.run;
        if let Some(w) = self.witness.as_mut().filter(|w| w.of == m && w.run == run) {
            w.ended |= w.attached;
            w.attached = false;
        }
    }

    fn restart(&mut self, m: usize, keeps: bool) {
        let fresh = self.histories;
        let server = &mut self.servers[m];
        server.up = true;
        server.run += 1;
        server.source = Some(Source::Nowhere);
        server.min_replicas = SHUT_MIN_REPLICAS;
        server.refuses = [false; NODES];
        server.history_before = None;
        if !keeps {
            server.history = fresh;
            server.data.clear();
            self.histories += 1;
        }
    }

    /// It goes on, and learns first of the ends that its kernel has for it.
    fn thaw(&mut self, m: usize) {
        self.servers[m].frozen = false;
        for r in 0..self.servers.len() {
            let there = self.servers[r].up && self.servers[r].source == Some(Source::Member(m));
            if !there || self.apart(m, r) || self.servers[r].frozen {
                self.servers[m].links[r] = Link::No;
            }
        }
        self.settle_links();
        let lease = self.witness.as_ref().is_some_and(|w| w.of == m && w.until > self.now);
        self.servers[m].witnessed &= lease;
    }

    fn write(&mut self, m: usize) {
        let id = self.bounds.writes - self.writes_left;
        self.writes_left -= 1;
        self.servers[m].data.push(id);
        self.answered.push(id);
    }

    fn ask(&mut self, to: Option<usize>) {
        let request = Request {
            group: group(),
            to: to.map(member),
            requested_by: "ops".to_owned(),
            reason: None,
            allow_data_loss: to.is_none(),
            cause: Cause::Operator,
        };
        let (now, wall) = (self.now, self.wall());
        let checked = match to {
            Some(_) => check::switchover(&self.state, &self.view, &request, now, wall),
            None => check::failover(&self.state, &self.view, &request, now, wall),
        };
        if let Ok(start) = checked.map_err(drop).and_then(|c| c.start.map_err(drop)) {
            self.pending = Some((Command::StartTransition(Box::new(start)), now));
        }
    }

    /// The leader plans, unless it waits for a commit.
    pub(super) fn think(&mut self) {
        if !self.has_quorum() || self.pending.is_some() {
            return;
        }
        let plan = plan(&self.state, &self.view, self.now, self.wall());
        for step in plan.steps {
            match step.kind {
                StepKind::Propose(command) => {
                    self.pending = Some((command, self.now));
                    return;
                }
                StepKind::Perform(action) => {
                    let under_way = self.flights.iter().filter(|f| f.waited_for).count();
                    if under_way < FLIGHTS_MAX {
                        self.see().running.insert(action.key());
                        let (from, began) = (self.leader(), self.now);
                        self.flights.push(Flight { action, from, began, waited_for: true });
                    }
                }
            }
        }
    }

    pub(super) fn commit_pending(&mut self) {
        if let Some((command, _)) = self.pending.take() {
            self.commit(&command);
            self.guard();
            self.think();
        }
    }

    pub(super) fn commit(&mut self, command: &Command) {
        self.index += 1;
        let known = |w: &World| {
            let g = w.group();
            let primary = g.and_then(|g| g.primary.as_ref()).map(|p| p.epoch);
            let phase = g.and_then(|g| g.transition.as_ref()).map(|t| (t.epoch, t.phase));
            (primary, phase)
        };
        let before = known(self);
        let state = Rc::make_mut(&mut self.state);
        if state.apply(self.index, command).is_err() {
            return;
        }
        // Whoever watches is not here.
        state.events.clear();
        let now = self.now;
        let after = known(self);
        if before.0 != after.0 {
            self.see().primary_since.insert(group(), now);
            self.see().holder_since.insert(group(), now);
            self.promoted();
        }
        if before.1 != after.1 {
            self.see().phase_since.insert(group(), now);
        }
        let live = [after.0, after.1.map(|(epoch, _)| epoch)];
        self.see().failures.retain(|key, _| live.contains(&Some(key.epoch)));
        self.see().done.retain(|key, _| live.contains(&Some(key.epoch)));
    }
}
