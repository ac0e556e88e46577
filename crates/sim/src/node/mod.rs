//! A coordinator node: the glue that the shipped node has around the shipped core, on simulated parts.
//!
//! Every rule is asked of `primacy-core`: what is here only carries observations in and steps out, in the order and
//! with the bounds of `crates/node`. What this process may know is what it was told; true time and the truth about
//! servers are not for it.

mod act;
pub(crate) mod board;
mod gate;
mod hold;
mod lead;
mod lease;
mod operator;
mod post;
mod probe;
pub(crate) mod raft;
mod report;
mod rescue;
mod tail;

pub(crate) use gate::Gate;
pub(crate) use hold::Holding;
pub(crate) use lease::Leases;
pub(crate) use post::{Post, Tail};

use crate::message::Message;
use crate::world::{Event, World};
use board::Seat;
use primacy_core::view::{GateReport, HolderReport, Observation, SafetyTimes, WitnessReport};
use primacy_core::{Group, Moment, State, WallTime};
use probe::Prober;
use raft::Raft;
use rescue::Job;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How often a node looks at its clock.
const TICK_US: u64 = 10_000;
/// Apart enough that a moment of one clock means nothing to another.
const CLOCKS_APART_US: u64 = 500_000_000;
const WALL_US: u64 = 1_700_000_000_000_000;

pub(crate) struct Node {
    pub(crate) alive: bool,
    pub(crate) frozen: bool,
    pub(crate) host_up: bool,
    pub(crate) boot: u32,
    pub(crate) inbox: Vec<Event>,
    pub(crate) raft: Raft,
    pub(crate) state: State,
    pub(crate) applied: usize,
    pub(crate) applied_term: u64,
    apply_due: Option<u64>,
    pub(crate) probers: Vec<Prober>,
    /// What it saw last of each member.
    pub(crate) own: BTreeMap<usize, Rc<Observation>>,
    pub(crate) own_witness: Option<WitnessReport>,
    pub(crate) own_holder: Option<HolderReport>,
    pub(crate) own_gates: Option<GateReport>,
    report_at: u64,
    news: bool,
    pub(crate) seat: Option<Seat>,
    pub(crate) leases: Leases,
    pub(crate) post: Option<Post>,
    pub(crate) holding: Option<Holding>,
    pub(crate) gate: Option<Gate>,
    /// Who follows what this node keeps of the stream, and how far it was told.
    followers: BTreeMap<(usize, bool), tail::Follower>,
    jobs: Vec<Job>,
    /// The tail that is offered to a candidate.
    offer: Option<Tail>,
    reconcile: bool,
}

impl Node {
    pub(crate) fn new(world: &World, n: usize) -> Node {
        let members = world.setup.members.len();
        Node {
            alive: true,
            frozen: false,
            host_up: true,
            boot: 1,
            inbox: vec![],
            raft: Raft::new(world.setup.nodes.len()),
            state: State::default(),
            applied: 0,
            applied_term: 0,
            apply_due: None,
            probers: (0..members).map(|_| Prober::default()).collect(),
            own: BTreeMap::new(),
            own_witness: None,
            own_holder: None,
            own_gates: None,
            report_at: 0,
            news: false,
            seat: None,
            leases: Leases::default(),
            post: None,
            holding: None,
            gate: world.setup.gates[n].then(Gate::default),
            followers: BTreeMap::new(),
            jobs: vec![],
            offer: None,
            reconcile: true,
        }
    }

    pub(crate) fn group(&self) -> Option<&Group> {
        self.state.groups.values().next()
    }
}

impl World {
    /// The clock of a node: steady, and a little fast or slow.
    pub(crate) fn clock(&self, n: usize) -> Moment {
        let now = self.now.cast_signed();
        let drift = now * self.setup.drift_ppm[n] / 1_000_000;
        Moment((now + drift).cast_unsigned() + CLOCKS_APART_US * (n as u64 + 1))
    }

    pub(crate) fn wall(&self) -> WallTime {
        WallTime(WALL_US + self.now)
    }

    pub(crate) fn times(&self) -> SafetyTimes {
        let times = SafetyTimes::of(Duration::from_micros(self.setup.timings.lease_ttl));
        crate::defect::bend_times(self.defect, times)
    }

    pub(crate) fn tick(&mut self, n: usize) {
        let (at, boot) = (self.now + TICK_US - 2_000 + self.dice.below(4_000), self.nodes[n].boot);
        self.schedule(at, Event::Tick { node: n, boot });
        self.raft_tick(n);
        self.apply_when_due(n);
        self.probe_tick(n);
        self.reconcile(n);
        self.lease_tick(n);
        self.post_tick(n);
        self.hold_tick(n);
        self.gate_tick(n);
        self.rescue_tick(n);
        self.act_tick(n);
        self.report_tick(n);
        self.lead(n);
    }

    /// Makes posts, copies and gates follow state and leases.
    pub(crate) fn reconcile(&mut self, n: usize) {
        self.nodes[n].reconcile = false;
        self.reconcile_post(n);
        self.reconcile_holding(n);
        self.reconcile_gate(n);
    }

    pub(crate) fn node_hears(&mut self, n: usize, from: usize, message: Message) {
        match message {
            Message::RequestVote { .. }
            | Message::Vote { .. }
            | Message::Append { .. }
            | Message::Appended { .. } => {
                self.raft_hears(n, from, message);
            }
            Message::Report(batch) => self.take_in_report(n, from, *batch),
            Message::Renew { id, asks } => self.grant(n, from, id, &asks),
            Message::Renewed { id, grants } => self.granted(n, id, grants.as_deref()),
            Message::Seal { id, epoch, of } => {
                let sealed = self.seal_for(n, epoch, of);
                self.tell(n, from, Message::SealedIs { id, sealed: sealed.map(Box::new) });
            }
            Message::SealedIs { id, sealed } => self.job_sealed(n, id, sealed.map(|s| *s)),
            Message::Rescue { id, action, within_us } => self.begin_rescue(n, from, id, *action, within_us),
            Message::Rescued { id, result, fetched, promoted } => {
                self.rescue_answered(n, id, result.map(|s| *s), fetched, promoted.map(|p| *p));
            }
            Message::Fetch { id, of, from: offset } => {
                let tail = self.kept_tail(n, of).filter(|t| t.start <= offset).map(|t| t.end);
                self.tell(n, from, Message::Fetched { id, tail });
            }
            Message::Fetched { id, tail } => self.job_fetched(n, id, tail),
            Message::Kill { id, epoch, member, run_id } => {
                let result = self.kill_here(n, epoch, member, &run_id);
                self.tell(n, from, Message::Killed { id, result });
            }
            Message::Killed { id, result } => self.kill_answered(n, id, result),
            Message::Follow { of, from: at, acknowledged } => {
                self.follow_asked(n, from, of, at, acknowledged);
            }
            Message::Chunk(chunk) => self.chunk_arrives(n, from, &chunk),
        }
        if self.nodes[n].reconcile {
            self.reconcile(n);
        }
        self.lead(n);
    }

    /// The process ends; its kernel closes what it had, unless the host is gone as well.
    pub(crate) fn crash_node(&mut self, n: usize, power: bool) {
        if !self.nodes[n].alive {
            if power {
                self.nodes[n].host_up = false;
            }
            return;
        }
        let was_leading = self.nodes[n].raft.leads();
        let term = self.nodes[n].raft.term;
        self.nodes[n].alive = false;
        self.nodes[n].frozen = false;
        self.nodes[n].inbox.clear();
        self.nodes[n].raft.crash();
        if power {
            self.nodes[n].host_up = false;
            self.net_forget(crate::net::End::Node(n));
        } else {
            for conn in self.net.held_by(crate::net::End::Node(n)) {
                self.close(conn, crate::net::End::Node(n), crate::message::Payload::Fin);
            }
            if was_leading {
                self.announce_leader_gone(n, term);
            }
        }
        let fresh = Node::new(self, n);
        let node = &mut self.nodes[n];
        let kept = Node {
            alive: false,
            host_up: node.host_up,
            boot: node.boot,
            raft: std::mem::replace(&mut node.raft, Raft::new(0)),
            state: std::mem::take(&mut node.state),
            applied: node.applied,
            applied_term: node.applied_term,
            ..fresh
        };
        self.nodes[n] = kept;
    }

    pub(crate) fn start_node(&mut self, n: usize) {
        if self.nodes[n].alive {
            return;
        }
        self.net_forget(crate::net::End::Node(n));
        let node = &mut self.nodes[n];
        (node.alive, node.host_up) = (true, true);
        node.boot += 1;
        let boot = node.boot;
        let at = self.clock(n);
        self.nodes[n].raft.restart(at);
        let phase = self.dice.below(10_000);
        self.schedule(self.now + phase, Event::Tick { node: n, boot });
    }

    pub(crate) fn thaw_node(&mut self, n: usize) {
        if !self.nodes[n].frozen {
            return;
        }
        self.nodes[n].frozen = false;
        for event in std::mem::take(&mut self.nodes[n].inbox) {
            self.handle(event);
        }
    }
}
