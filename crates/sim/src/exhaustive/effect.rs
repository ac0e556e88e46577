//! What an action does to a server: the same in the same order as the node's own hand does it.

use super::Mistake;
use super::world::{Flight, Link, Source, World, history};
use crate::setup::member_number;
use primacy_core::plan::conclude;
use primacy_core::view::{Failure, SHUT_MIN_REPLICAS};
use primacy_core::{Action, ActionKind, Lineage, MemberName, Outcome, Position, Promoted, Promotion};

impl World {
    /// An action reaches its member, or its leader learns that it does not.
    pub(super) fn arrive(&mut self, i: usize) {
        if !self.reaches(i) || (self.flights[i].waited_for && !self.may(i)) {
            self.fail(i);
            return;
        }
        let Flight { action, waited_for, .. } = self.flights.remove(i);
        let result = self.effect(&action);
        self.settle_links();
        if !waited_for {
            return;
        }
        let key = action.key();
        self.see().running.remove(&key);
        match result {
            Ok(outcome) => {
                self.see().failures.remove(&key);
                let now = self.now;
                self.see().done.insert(key, now);
                let at = self.wall();
                for command in conclude(&self.state, &action, &outcome, at, at) {
                    self.pending.get_or_insert((command, self.now));
                }
                self.guard();
                self.look();
            }
            Err(why) => self.note_failure(&action, why),
        }
        self.think();
    }

    /// The leader asks itself again before each write; what an earlier one has written can only be closed.
    fn may(&self, i: usize) -> bool {
        let epoch = self.flights[i].action.epoch;
        self.bounds.mistake == Some(Mistake::AsksOnce)
            || self.has_quorum() && self.group().is_some_and(|g| g.authorises(epoch))
    }

    pub(super) fn reaches(&self, i: usize) -> bool {
        let flight = &self.flights[i];
        let m = member_number(&flight.action.member);
        let server = &self.servers[m];
        // A rescue is done by nodes; whether they have anything is known when it begins.
        server.up && !server.frozen && !self.apart(flight.from, m)
    }

    pub(super) fn fail(&mut self, i: usize) {
        let Flight { action, waited_for, .. } = self.flights.remove(i);
        if waited_for {
            self.see().running.remove(&action.key());
            self.note_failure(&action, "no answer");
            self.think();
        }
    }

    fn note_failure(&mut self, action: &Action, why: &str) {
        let key = action.key();
        let count = self.view.failures.get(&key).map_or(0, |f| f.count) + 1;
        let failure = Failure { count, at: self.now, message: why.to_owned(), permanent: false };
        self.see().failures.insert(key, failure);
    }

    /// What was sent to a member over connections of earlier leaders, and did not arrive yet, never will.
    fn close_others(&mut self, m: usize) {
        self.flights.retain(|f| f.waited_for || member_number(&f.action.member) != m);
    }

    fn effect(&mut self, action: &Action) -> Result<Outcome, &'static str> {
        let m = member_number(&action.member);
        match &action.kind {
            ActionKind::Fence { drain, .. } => {
                self.close_others(m);
                if self.bounds.mistake != Some(Mistake::LostFence) {
                    self.servers[m].min_replicas = SHUT_MIN_REPLICAS;
                }
                self.settle_links();
                Ok(self.fenced(m, drain.as_ref().map(|(to, _)| to)))
            }
            ActionKind::Lift { min_replicas } | ActionKind::Open { min_replicas } => {
                if !self.servers[m].is_primary() {
                    self.servers[m].min_replicas = SHUT_MIN_REPLICAS;
                    return Err("it is no primary");
                }
                self.servers[m].min_replicas = *min_replicas;
                let lift = matches!(action.kind, ActionKind::Lift { .. });
                Ok(if lift { Outcome::Lifted } else { Outcome::Opened })
            }
            ActionKind::Detach => {
                self.close_others(m);
                self.point(m, Source::Nowhere);
                Ok(Outcome::Detached)
            }
            ActionKind::Follow { primary, .. } => {
                let to = (0..self.servers.len()).find(|o| super::world::address(*o) == *primary);
                self.point(m, to.map_or(Source::Nowhere, Source::Member));
                Ok(Outcome::Following)
            }
            ActionKind::SetFence { min_replicas, admit, refuse } => {
                if !self.servers[m].is_primary() {
                    return Err("it is no primary");
                }
                if self.servers[m].min_replicas < *min_replicas || !refuse.is_empty() {
                    self.close_others(m);
                }
                self.admit(m, admit, refuse);
                self.servers[m].min_replicas = *min_replicas;
                Ok(Outcome::FenceSet { min_replicas: *min_replicas, refused: refuse.clone() })
            }
            ActionKind::Promote(Promotion { expected, run_id, admit, refuse, .. }) => {
                if run_id.as_ref().is_some_and(|chosen| *chosen != self.servers[m].run_id(m)) {
                    return Err("it was restarted");
                }
                self.close_others(m);
                let epoch = action.epoch.0;
                self.promote(m, epoch, expected.as_deref(), admit, refuse)
            }
            ActionKind::Rescue { .. } => self.rescue(m),
            ActionKind::Kill { .. } => Err("no node is on its host"),
        }
    }

    fn fenced(&self, m: usize, drain: Option<&MemberName>) -> Outcome {
        let server = &self.servers[m];
        let code = if server.is_primary() { "NOREPLICAS" } else { "READONLY" };
        let end = Position { replid: history(server.history), offset_bytes: server.data.len() as u64 };
        let caught_up = |to: &&MemberName| {
            let o = &self.servers[member_number(to)];
            let same = o.history == server.history && o.data.len() >= server.data.len();
            (o.up && !o.frozen && same) || self.bounds.mistake == Some(Mistake::NoDrain)
        };
        let drained_us = drain.filter(caught_up).map(|_| 1);
        Outcome::Fenced { code: code.to_owned(), run_id: server.run_id(m), end, drained_us }
    }

    /// Shuts it and points it somewhere else.
    fn point(&mut self, m: usize, source: Source) {
        let server = &mut self.servers[m];
        server.min_replicas = SHUT_MIN_REPLICAS;
        if server.source != Some(source) {
            (server.source, server.link_up) = (Some(source), false);
            server.links = [Link::No; super::world::NODES];
            server.witnessed = false;
        }
    }

    fn admit(&mut self, m: usize, admit: &[MemberName], refuse: &[MemberName]) {
        for name in admit {
            self.servers[m].refuses[member_number(name)] = false;
        }
        for name in refuse {
            self.servers[m].refuses[member_number(name)] = true;
        }
    }

    fn promote(
        &mut self,
        m: usize,
        epoch: u64,
        expected: Option<&str>,
        admit: &[MemberName],
        refuse: &[MemberName],
    ) -> Result<Outcome, &'static str> {
        let server = &self.servers[m];
        let known = |id: u32| expected.is_none_or(|e| e == history(id));
        let again = server.is_primary() && server.history_before.is_some_and(known);
        if !known(server.history) && !again {
            return Err("it holds another history");
        }
        let fresh = self.histories;
        let server = &mut self.servers[m];
        server.min_replicas = SHUT_MIN_REPLICAS;
        server.promoted = server.promoted.max(epoch);
        if !server.is_primary() {
            server.source = None;
            server.history_before = Some(server.history);
            server.history = fresh;
            self.histories += 1;
        }
        self.admit(m, admit, refuse);
        let server = &self.servers[m];
        let start = Position { replid: history(server.history), offset_bytes: server.data.len() as u64 };
        let previous = server.history_before.map(history);
        let lineage = Lineage { run_id: server.run_id(m), start, previous };
        Ok(Outcome::Promoted(Promoted { lineage, refused: refuse.to_vec() }))
    }

    /// The candidate reads what the witness kept.
    fn rescue(&mut self, m: usize) -> Result<Outcome, &'static str> {
        let Some(w) = self.witness.clone() else { return Err("nobody kept a tail") };
        let server = &mut self.servers[m];
        if server.history != w.history || (server.data.len() as u64) < w.start || server.is_primary() {
            return Err("the tail does not join");
        }
        if self.cut.is_some_and(|cut| (cut == w.of) != (cut == m)) {
            return Err("the node does not answer");
        }
        let fetched_bytes = (w.tail.len() as u64).saturating_sub(server.data.len() as u64);
        if fetched_bytes > 0 {
            server.data.clone_from(&w.tail);
        }
        let end = Position { replid: history(w.history), offset_bytes: w.tail.len() as u64 };
        // The leader asks for the promotion by itself, as where the one at the end of the tail failed.
        Ok(Outcome::Rescued { end, fetched_bytes, complete: w.ended, promoted: None })
    }
}
