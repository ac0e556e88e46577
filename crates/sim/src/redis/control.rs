//! What Primacy asks of a server over a control connection: each pipeline is run in one go and answered.
//!
//! The same questions and changes, in the same order, as the node's own hand sends them.

use super::{Source, replid, status};
use crate::defect::Defect;
use crate::message::{Answer, Control, Payload, Who};
use crate::net::{ConnId, End, Kind};
use crate::world::World;
use primacy_core::view::{MemberStatus, SHUT_MIN_REPLICAS};

impl World {
    pub(crate) fn control_arrives(&mut self, m: usize, conn: ConnId, id: u32, control: Control) {
        self.servers[m].controls.insert(conn);
        let answer = self.run_control(m, conn, control);
        self.end_pauses(m);
        self.server_changed(m);
        self.send(conn, End::Server(m), Payload::Answer { id, answer });
    }

    fn run_control(&mut self, m: usize, conn: ConnId, control: Control) -> Answer {
        let now = self.now;
        match control {
            Control::Probe if self.is_endpoint() => Answer::Status(Box::new(MemberStatus::endpoint(100))),
            Control::Probe => Answer::Status(Box::new(status(&self.servers[m], m, now))),
            Control::Offset => Answer::Offset(self.servers[m].place.offset),
            Control::Reach => self.reach(m),
            Control::Fence { pause_us } => self.run_fence(m, conn, pause_us),
            Control::Detach => {
                self.close_other_controls(m, conn);
                self.shut(m);
                self.servers[m].read_only = true;
                self.replicate_from(m, Source::Nowhere);
                Answer::Done
            }
            Control::Lift { min_replicas } => {
                self.servers[m].pings = true;
                self.set_min(m, min_replicas);
                self.unpause(m);
                self.verify_open(m)
            }
            Control::Open { min_replicas } => {
                self.set_min(m, min_replicas);
                self.unpause(m);
                self.servers[m].pings = true;
                self.verify_open(m)
            }
            Control::Look => {
                self.close_other_controls(m, conn);
                self.shut(m);
                self.servers[m].read_only = true;
                self.reach(m)
            }
            Control::Promote { expected, admit, refuse } => {
                self.run_promote(m, expected.as_deref(), &admit, &refuse)
            }
            Control::SetFence { min_replicas, admit, refuse } => {
                self.run_set_fence(m, conn, min_replicas, &admit, &refuse)
            }
            Control::Follow { primary, evict } => {
                self.shut(m);
                self.servers[m].read_only = true;
                self.replicate_from(m, Source::Member(primary));
                self.servers[m].pings = true;
                self.unpause(m);
                if evict {
                    self.evict(m);
                }
                Answer::Done
            }
            Control::ReadTail { node } => {
                self.shut(m);
                self.replicate_from(m, Source::Tail(node));
                Answer::Done
            }
        }
    }

    fn shut(&mut self, m: usize) {
        self.servers[m].min_replicas = SHUT_MIN_REPLICAS;
    }

    fn set_min(&mut self, m: usize, min_replicas: u64) {
        let now = self.now;
        self.servers[m].min_replicas = min_replicas;
        self.servers[m].count_good(now);
    }

    fn reach(&self, m: usize) -> Answer {
        let server = &self.servers[m];
        Answer::Reach {
            run_id: server.run_id(m),
            replid: replid(server.replid),
            read: server.reach(),
            applied: server.place.offset,
            primary: server.is_primary(),
            second: server.replid2.map(|(id, second)| (replid(id), second.saturating_sub(1))),
            syncing: server.stage == super::Stage::Copying,
        }
    }

    fn run_fence(&mut self, m: usize, conn: ConnId, pause_us: u64) -> Answer {
        self.close_other_controls(m, conn);
        self.shut(m);
        let now = self.now;
        let server = &mut self.servers[m];
        server.read_only = true;
        server.count_good(now);
        server.paused_until = now + pause_us;
        server.pings = false;
        let code = if server.is_primary() { "NOREPLICAS" } else { "READONLY" };
        let end = server.reach();
        Answer::Fenced { code, run_id: server.run_id(m), replid: replid(server.replid), end }
    }

    /// It is primary, and would accept a write as soon as its quorum is there; else it is shut again.
    fn verify_open(&mut self, m: usize) -> Answer {
        if self.servers[m].is_primary() {
            return Answer::Done;
        }
        self.shut(m);
        Answer::Refused("it is no primary".to_owned(), false)
    }

    fn run_promote(&mut self, m: usize, expected: Option<&str>, admit: &[usize], refuse: &[usize]) -> Answer {
        self.shut(m);
        let server = &self.servers[m];
        let promoted =
            |id: &str| server.is_primary() && server.replid2.is_some_and(|(second, _)| replid(second) == id);
        if let Some(id) = expected.filter(|id| replid(server.replid) != **id && !promoted(id)) {
            return Answer::Refused(format!("it holds another history than {id}"), true);
        }
        self.replicate_from_nobody(m);
        if !self.has(Defect::NotRefusedAtPromotion) {
            self.switch_users(m, admit, refuse);
        }
        let server = &self.servers[m];
        let (previous, start) = match server.replid2 {
            Some((id, second)) => (Some(replid(id)), second.saturating_sub(1)),
            None => (None, server.place.offset),
        };
        Answer::Promoted {
            run_id: server.run_id(m),
            replid: replid(server.replid),
            start,
            previous: previous.or(expected.map(str::to_owned)),
            refused: refuse.to_vec(),
        }
    }

    fn run_set_fence(
        &mut self,
        m: usize,
        conn: ConnId,
        min: u64,
        admit: &[usize],
        refuse: &[usize],
    ) -> Answer {
        if !self.servers[m].is_primary() {
            return Answer::Refused("it is no primary".to_owned(), false);
        }
        if self.servers[m].min_replicas < min || !refuse.is_empty() {
            self.close_other_controls(m, conn);
        }
        self.switch_users(m, admit, refuse);
        self.set_min(m, min);
        Answer::Done
    }

    fn switch_users(&mut self, m: usize, admit: &[usize], refuse: &[usize]) {
        for other in admit {
            self.servers[m].refused.remove(other);
        }
        self.servers[m].refused.extend(refuse);
        let refused = refuse.to_vec();
        self.disconnect_replicas(m, |who| matches!(who, Who::Member(other) if refused.contains(&other)));
    }

    /// What was sent on other control connections, and did not get run yet, is never run.
    fn close_other_controls(&mut self, m: usize, but: ConnId) {
        for conn in self.net.held_by(End::Server(m)) {
            if conn != but && self.net.conns[conn as usize].kind == Kind::Control {
                self.close(conn, End::Server(m), Payload::Fin);
            }
        }
        self.servers[m].controls.retain(|c| *c == but);
    }

    fn evict(&mut self, m: usize) {
        for conn in std::mem::take(&mut self.servers[m].clients) {
            self.close(conn, End::Server(m), Payload::Fin);
        }
    }
}
