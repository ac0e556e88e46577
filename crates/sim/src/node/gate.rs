//! A gate: the door that is open only while the group serves, under a lease where it must be, and holds replies until
//! somebody else has the stream that covers them.

use super::post::{Intent, intent};
use crate::coverage::Mark;
use crate::defect::Defect;
use crate::message::{Answer, Chunk, Control, Message, Payload};
use crate::net::{ConnId, End, Kind};
use crate::setup::{member_number, node_id, node_number};
use crate::world::World;
use crate::world::truth::Promise;
use primacy_core::view::GateReport;
use primacy_core::{Durability, Epoch, GroupKind, Moment, Phase, RepliesOn};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const FOLLOW_EVERY: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Door {
    epoch: Epoch,
    m: usize,
    held: bool,
}

/// A reply that waits: to whom, for which write, and what it promises.
type Held = (ConnId, u32, bool);

#[derive(Default)]
pub(crate) struct Gate {
    door: Option<Door>,
    until: Option<Moment>,
    on: Option<(Epoch, RepliesOn, Moment)>,
    covered: u64,
    follow_at: Moment,
    /// The connection to the primary of each client's.
    up: BTreeMap<ConnId, (ConnId, Vec<Payload>, bool)>,
    present: Vec<Held>,
    asked: Option<(u32, Moment, Vec<Held>)>,
    answered: VecDeque<(u64, Vec<Held>)>,
}

impl super::Node {
    pub(crate) fn gate_is_shut(&self) -> bool {
        self.gate.as_ref().is_none_or(|gate| gate.door.is_none())
    }
}

impl World {
    pub(crate) fn reconcile_gate(&mut self, n: usize) {
        let at = self.clock(n);
        let Some(group) = self.nodes[n].group() else { return };
        if self.nodes[n].gate.is_none() {
            let epoch = group.epoch_last();
            self.note_gates(n, GateReport { at, epoch, open: false });
            return;
        }
        let last = group.epoch_last();
        let door = self.door(n, at);
        let door_before = self.nodes[n].gate.as_ref().and_then(|g| g.door);
        if door_before != door.map(|(d, _)| d) {
            self.cut_gate(n);
            if let Some(gate) = self.nodes[n].gate.as_mut() {
                gate.door = door.map(|(d, _)| d);
            }
            self.coverage.mark(if door.is_some() { Mark::GateOpened } else { Mark::GateClosed });
        }
        if let Some(gate) = self.nodes[n].gate.as_mut() {
            gate.until = door.and_then(|(_, until)| until);
        }
        let open = door.is_some() && !self.has(Defect::GateLiesShut);
        self.note_gates(n, GateReport { at, epoch: last, open });
    }

    fn note_gates(&mut self, n: usize, report: GateReport) {
        let before = self.nodes[n].own_gates.replace(report.clone());
        if before.is_none_or(|b| (b.epoch, b.open) != (report.epoch, report.open)) {
            self.has_news(n);
        }
        self.take_in_gates(n, n, report);
    }

    fn door(&mut self, n: usize, at: Moment) -> Option<(Door, Option<Moment>)> {
        let early = self.has(Defect::GateOpensEarly);
        let group = self.nodes[n].group()?;
        let primary = group.primary.as_ref()?;
        let (epoch, on, endpoint) =
            (primary.epoch, group.replies_on(), group.spec.kind == GroupKind::Endpoint);
        let m = member_number(&primary.member);
        let opening = group.transition.as_ref().is_some_and(|t| t.phase == Phase::Redirect);
        let to = group.transition.as_ref().filter(|t| early && t.phase <= Phase::Promote);
        if let Some(t) = to {
            return Some((Door { epoch: t.epoch, m: member_number(&t.to), held: false }, None));
        }
        let ignores = self.has(Defect::GateIgnoresIntent) || self.has(Defect::GateLiesShut);
        if (opening || intent(group) != Intent::None) && !ignores {
            return None;
        }
        let held = group.spec.kind == GroupKind::Redis && group.spec.durability != Durability::Async;
        if !held && !endpoint {
            return Some((Door { epoch, m, held }, None));
        }
        let until = self.nodes[n].leases.until(epoch, at);
        let until =
            if self.has(Defect::GateWithoutLease) { Some(at.after(Duration::from_mins(1))) } else { until }?;
        if held && !self.relies(n, on, epoch, at) {
            return None;
        }
        Some((Door { epoch, m, held }, Some(until)))
    }

    /// Knows what replies rely on; false when that has been nobody for too long.
    fn relies(&mut self, n: usize, on: RepliesOn, epoch: Epoch, at: Moment) -> bool {
        let Some(gate) = self.nodes[n].gate.as_mut() else { return false };
        match gate.on {
            Some((e, before, since)) if (e, before) == (epoch, on) => {
                return on != RepliesOn::Nobody || at.since(since) < RepliesOn::NOBODY_MAX;
            }
            _ => {
                gate.on = Some((epoch, on, at));
                gate.covered = 0;
                gate.follow_at = at;
            }
        }
        true
    }

    /// Whether something may pass now: the clock is asked before each write.
    fn passes(&self, n: usize) -> Option<Door> {
        let at = self.clock(n);
        let gate = self.nodes[n].gate.as_ref()?;
        let in_time = gate.until.is_none_or(|until| at < until);
        gate.door.filter(|_| in_time)
    }

    fn cut_gate(&mut self, n: usize) {
        let Some(gate) = self.nodes[n].gate.as_mut() else { return };
        let all: Vec<(ConnId, ConnId)> = gate.up.iter().map(|(c, (u, ..))| (*c, *u)).collect();
        gate.up.clear();
        gate.present.clear();
        gate.asked = None;
        gate.answered.clear();
        for (client, up) in all {
            self.close(client, End::Node(n), Payload::Fin);
            self.close(up, End::Node(n), Payload::Fin);
        }
    }

    /// From a client, or from the primary for one.
    pub(crate) fn gate_says(&mut self, n: usize, conn: ConnId, to: usize, payload: Payload) {
        if to == 1 {
            self.client_of_gate(n, conn, payload);
        } else {
            self.primary_of_gate(n, conn, &payload);
        }
    }

    fn client_of_gate(&mut self, n: usize, conn: ConnId, payload: Payload) {
        match payload {
            Payload::Write { .. } => {
                let Some(door) = self.passes(n) else {
                    self.close(conn, End::Node(n), Payload::Fin);
                    return;
                };
                if !self.nodes[n].gate.as_ref().is_some_and(|g| g.up.contains_key(&conn)) {
                    let up = self.dial(End::Node(n), End::Server(door.m), Kind::Client);
                    if let Some(gate) = self.nodes[n].gate.as_mut() {
                        gate.up.insert(conn, (up, vec![], false));
                    }
                }
                let Some(gate) = self.nodes[n].gate.as_mut() else { return };
                let Some((up, waiting, ready)) = gate.up.get_mut(&conn) else { return };
                if *ready {
                    let up = *up;
                    self.gate_passes(door);
                    self.send(up, End::Node(n), payload);
                } else {
                    waiting.push(payload);
                }
            }
            Payload::Fin | Payload::Rst => self.drop_client(n, conn),
            _ => {}
        }
    }

    fn drop_client(&mut self, n: usize, conn: ConnId) {
        let up = self.nodes[n].gate.as_mut().and_then(|g| g.up.remove(&conn));
        if let Some((up, ..)) = up {
            self.close(up, End::Node(n), Payload::Fin);
        }
        self.close(conn, End::Node(n), Payload::Fin);
    }

    fn primary_of_gate(&mut self, n: usize, conn: ConnId, payload: &Payload) {
        let Some(gate) = self.nodes[n].gate.as_mut() else { return };
        let Some(client) = gate.up.iter().find(|(_, (up, ..))| *up == conn).map(|(c, _)| *c) else {
            self.close(conn, End::Node(n), Payload::Fin);
            return;
        };
        match *payload {
            Payload::Accepted => {
                let waiting = gate.up.get_mut(&client).map(|(_, waiting, ready)| {
                    *ready = true;
                    std::mem::take(waiting)
                });
                for payload in waiting.unwrap_or_default() {
                    if let Some(door) = self.passes(n) {
                        self.gate_passes(door);
                        self.send(conn, End::Node(n), payload);
                    }
                }
            }
            Payload::Reply { id, ok } => self.hold_or_pass(n, (client, id, ok)),
            Payload::Fin | Payload::Rst | Payload::Refused => self.drop_client(n, client),
            _ => {}
        }
    }

    fn gate_passes(&mut self, door: Door) {
        if self.is_endpoint() {
            crate::invariant::one_writer::passed(self, door.m, door.epoch.0);
        }
    }

    fn hold_or_pass(&mut self, n: usize, reply: Held) {
        let Some(door) = self.passes(n) else {
            self.drop_client(n, reply.0);
            return;
        };
        if !door.held {
            self.release(n, vec![reply], Promise::Nothing);
            return;
        }
        if self.has(Defect::ReplyBeforeBarrier) {
            let promise = self.promise(n);
            self.release(n, vec![reply], promise);
            return;
        }
        if let Some(gate) = self.nodes[n].gate.as_mut() {
            gate.present.push(reply);
        }
        self.ask_barrier(n);
    }

    fn ask_barrier(&mut self, n: usize) {
        let at = self.clock(n);
        let Some(gate) = self.nodes[n].gate.as_mut() else { return };
        let Some(door) = gate.door.filter(|_| gate.asked.is_none() && !gate.present.is_empty()) else {
            return;
        };
        let held = std::mem::take(&mut gate.present);
        if self.has(Defect::BarrierIsWitnessCount) {
            let offset = self.nodes[n].gate.as_ref().map_or(0, |g| g.covered);
            if let Some(gate) = self.nodes[n].gate.as_mut() {
                gate.answered.push_back((offset, held));
            }
            self.gate_covered(n);
            return;
        }
        match self.ask_member(n, door.m, None, Control::Offset) {
            Some((id, _)) => {
                if let Some(gate) = self.nodes[n].gate.as_mut() {
                    gate.asked = Some((id, at, held));
                }
            }
            None => self.barrier_failed(n),
        }
    }

    fn barrier_failed(&mut self, n: usize) {
        self.coverage.mark(Mark::BarrierFailed);
        self.cut_gate(n);
    }

    /// The primary has said where its stream is. False when it was somebody else's question.
    pub(crate) fn gate_offset_answered(&mut self, n: usize, id: u32, answer: &Answer) -> bool {
        let Some(gate) = self.nodes[n].gate.as_mut() else { return false };
        let Some((_, _, held)) = gate.asked.take_if(|(asked, ..)| *asked == id) else { return false };
        let Answer::Offset(offset) = answer else { return true };
        if gate.answered.back().is_some_and(|(last, _)| offset < last) {
            self.barrier_failed(n);
            return true;
        }
        gate.answered.push_back((*offset, held));
        self.gate_covered(n);
        self.ask_barrier(n);
        true
    }

    /// Releases what is covered, in order.
    pub(crate) fn gate_covered(&mut self, n: usize) {
        let own = self.own_cover(n);
        let Some(gate) = self.nodes[n].gate.as_mut() else { return };
        gate.covered = gate.covered.max(own);
        while let Some(gate) = self.nodes[n].gate.as_mut()
            && let Some((_, held)) = gate.answered.pop_front_if(|(offset, _)| *offset <= gate.covered)
        {
            let promise = self.promise(n);
            self.release(n, held, promise);
        }
    }

    fn promise(&self, n: usize) -> Promise {
        match self.nodes[n].gate.as_ref().and_then(|g| g.on) {
            Some((_, RepliesOn::Holder(_), _)) => Promise::Site,
            Some((_, RepliesOn::Witness, _)) => Promise::Local,
            Some((_, RepliesOn::Nobody, _)) | None => Promise::Nothing,
        }
    }

    fn release(&mut self, n: usize, held: Vec<Held>, promise: Promise) {
        for (client, id, ok) in held {
            if self.passes(n).is_none() {
                self.drop_client(n, client);
                continue;
            }
            if ok {
                self.released(n, id, promise);
            }
            self.send(client, End::Node(n), Payload::Reply { id, ok });
        }
    }

    /// How far this node itself has what its gate waits for.
    fn own_cover(&self, n: usize) -> u64 {
        let Some((epoch, on, _)) = self.nodes[n].gate.as_ref().and_then(|g| g.on) else { return 0 };
        match on {
            RepliesOn::Witness => {
                let post = self.nodes[n].post.as_ref().filter(|p| p.epoch == epoch);
                post.and_then(|p| p.tail.as_ref()).map_or(0, |t| t.end.offset)
            }
            RepliesOn::Holder(node) if node == node_id(n) => {
                let holding = self.nodes[n].holding.as_ref().filter(|h| h.epoch == epoch && h.following);
                holding.map_or(0, |h| h.acknowledged)
            }
            RepliesOn::Holder(_) | RepliesOn::Nobody => 0,
        }
    }

    /// Another node has told how far it has the stream, or acknowledges it.
    pub(crate) fn gate_hears(&mut self, n: usize, from: usize, chunk: &Chunk) {
        let Chunk { of, to, acknowledged, .. } = *chunk;
        let who = self.relied_on(n);
        let Some(gate) = self.nodes[n].gate.as_mut() else { return };
        let Some((epoch, on, _)) = gate.on else { return };
        let fits = match on {
            RepliesOn::Witness => !acknowledged,
            RepliesOn::Holder(_) => acknowledged,
            RepliesOn::Nobody => false,
        };
        if epoch == of && fits && who == Some(from) {
            gate.covered = gate.covered.max(to.offset);
            self.gate_covered(n);
        }
    }

    /// The node on whose word this gate lets go.
    fn relied_on(&self, n: usize) -> Option<usize> {
        let (epoch, on, _) = self.nodes[n].gate.as_ref()?.on?;
        let primary = self.nodes[n].group()?.primary.as_ref().filter(|p| p.epoch == epoch)?;
        match on {
            RepliesOn::Witness => primary.witness.map(node_number),
            RepliesOn::Holder(node) => Some(node_number(node)),
            RepliesOn::Nobody => None,
        }
    }

    pub(crate) fn gate_tick(&mut self, n: usize) {
        let at = self.clock(n);
        let who = self.relied_on(n).filter(|who| *who != n);
        let Some(gate) = self.nodes[n].gate.as_mut() else { return };
        if gate.door.is_some() && gate.until.is_some_and(|until| at >= until) {
            self.reconcile_gate(n);
            return;
        }
        if gate.asked.as_ref().is_some_and(|(_, since, _)| at >= since.after(RepliesOn::OFFSET_WITHIN)) {
            self.barrier_failed(n);
            return;
        }
        if let (Some((of, on, _)), Some(who)) = (gate.on, who)
            && at >= gate.follow_at
        {
            gate.follow_at = at.after(FOLLOW_EVERY);
            let acknowledged = matches!(on, RepliesOn::Holder(_));
            self.tell(n, who, Message::Follow { of, from: None, acknowledged });
        }
        self.gate_covered(n);
        self.ask_barrier(n);
    }
}
