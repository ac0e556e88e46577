//! The servers, the nodes and what lies between them, as little of each as safety rests on.

use super::{Bounds, Mistake};
use crate::setup::{group, member, node_id, node_number, site};
use primacy_core::view::{
    AttachedReplica, BootFence, ConnectFailure, LinkEnd, MemberRole, MemberStatus, Observation, Reach,
    SHUT_MIN_REPLICAS, View, WitnessReport,
};
use primacy_core::{
    Action, Address, Command, Durability, Epoch, FailoverMode, FencePolicy, Group, GroupKind, GroupSpec,
    LossBudget, MemberSpec, Moment, NodeId, OnNoSite, Probe, State, Term, WallTime, lease,
};
use std::rc::Rc;
use std::time::Duration;

pub(super) const NODES: usize = 3;
/// After so long a primary has noticed that a replica is silent, at the latest.
const NOTICED_AFTER: Duration = Duration::from_millis(3_200);
/// How long a lease holds.
const LEASE: Duration = Duration::from_secs(3);
/// Bytes a second: more than is ever written here, so that every estimate of a loss must hold.
const RATE: u64 = 1_000;

/// A replica as its source knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    No,
    Up,
    /// Nothing has come from it since, and nothing says that it is gone.
    Lost(Moment),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Nowhere,
    Member(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) up: bool,
    pub(super) frozen: bool,
    pub(super) run: u32,
    /// None: it is a primary.
    pub(super) source: Option<Source>,
    pub(super) link_up: bool,
    pub(super) history: u32,
    pub(super) history_before: Option<u32>,
    /// The writes that it holds, in order: a byte of the stream each.
    pub(super) data: Vec<u8>,
    pub(super) min_replicas: u64,
    pub(super) links: [Link; NODES],
    pub(super) refuses: [bool; NODES],
    /// It counts a witness.
    pub(super) witnessed: bool,
    /// Under which epoch it was promoted.
    pub(super) promoted: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Witness {
    pub(super) node: NodeId,
    pub(super) epoch: Epoch,
    pub(super) of: usize,
    pub(super) run: u32,
    pub(super) until: Moment,
    pub(super) ended: bool,
    pub(super) attached: bool,
    pub(super) history: u32,
    pub(super) start: u64,
    pub(super) tail: Vec<u8>,
    pub(super) heard_at: Moment,
}

/// An action that was begun and has not reached its member yet.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) action: Action,
    pub(super) from: usize,
    pub(super) began: Moment,
    /// Whether its leader still waits for the answer.
    pub(super) waited_for: bool,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) bounds: Bounds,
    pub(super) state: Rc<State>,
    pub(super) view: Rc<View>,
    pub(super) index: u64,
    pub(super) now: Moment,
    pub(super) servers: Vec<Server>,
    pub(super) witness: Option<Witness>,
    pub(super) flights: Vec<Flight>,
    pub(super) pending: Option<(Command, Moment)>,
    /// The site that is cut off from the others.
    pub(super) cut: Option<usize>,
    pub(super) histories: u32,
    pub(super) faults_left: u8,
    pub(super) writes_left: u8,
    pub(super) steps_left: u8,
    /// Writes that clients have an answer to and that nothing is known to have lost.
    pub(super) answered: Vec<u8>,
    pub(super) open_epoch: u64,
    pub(super) violation: Option<String>,
}

impl World {
    /// A group that serves, with all its members attached.
    pub(super) fn serving(bounds: Bounds) -> World {
        let server = |_| Server {
            up: true,
            frozen: false,
            run: 1,
            source: Some(Source::Nowhere),
            link_up: false,
            history: 0,
            history_before: None,
            data: vec![],
            min_replicas: SHUT_MIN_REPLICAS,
            links: [Link::No; NODES],
            refuses: [false; NODES],
            witnessed: false,
            promoted: 0,
        };
        let mut view = View { nodes: (0..NODES).map(|n| (node_id(n), site(n))).collect(), ..View::default() };
        if bounds.mistake == Some(Mistake::NoWaiting) {
            view.times.passive_bound = Duration::ZERO;
            (view.times.lease_ttl, view.times.lease_margin) = (Duration::ZERO, Duration::ZERO);
        }
        let mut world = World {
            bounds,
            state: Rc::default(),
            view: Rc::new(view),
            index: 0,
            now: Moment(60_000_000),
            servers: (0..bounds.members).map(server).collect(),
            witness: None,
            flights: vec![],
            pending: None,
            cut: None,
            histories: 1,
            faults_left: bounds.faults,
            writes_left: bounds.writes,
            steps_left: u8::MAX,
            answered: vec![],
            open_epoch: 0,
            violation: None,
        };
        let at = world.wall();
        let groups = vec![spec(bounds.members)];
        world.commit(&Command::ConfigureGroups { groups, prune: false, by: "ops".into(), at });
        world.lead(0);
        for _ in 0..40 {
            world.calmly();
        }
        world.steps_left = bounds.steps;
        world
    }

    /// Time passes with nothing in its way.
    fn calmly(&mut self) {
        for _ in 0..20 {
            if self.pending.is_some() {
                self.commit_pending();
            } else if !self.flights.is_empty() {
                self.arrive(0);
            }
        }
        self.pass();
    }

    pub(super) fn wall(&self) -> WallTime {
        WallTime(1_700_000_000_000_000 + self.now.0)
    }

    pub(super) fn group(&self) -> Option<&Group> {
        self.state.groups.values().next()
    }

    /// What the leader sees, to be changed.
    pub(super) fn see(&mut self) -> &mut View {
        Rc::make_mut(&mut self.view)
    }

    pub(super) fn leader(&self) -> usize {
        node_number(self.view.me)
    }

    pub(super) fn apart(&self, a: usize, b: usize) -> bool {
        self.cut.is_some_and(|cut| a != b && (a == cut || b == cut))
    }

    /// Whether the leader has its quorum.
    pub(super) fn has_quorum(&self) -> bool {
        self.cut != Some(self.leader())
    }

    /// Another node leads, with nothing but the state.
    pub(super) fn lead(&mut self, node: usize) {
        let (term, times, nodes) = (self.view.term.0 + 1, self.view.times, self.view.nodes.clone());
        let since = self.now;
        self.view = Rc::new(View {
            me: node_id(node),
            term: Term(term),
            leading_since: since,
            times,
            nodes,
            ..View::default()
        });
        for flight in &mut self.flights {
            flight.waited_for = false;
        }
        self.pending = None;
        let now = self.now;
        self.see().primary_since.insert(group(), now);
        self.see().phase_since.insert(group(), now);
        self.see().holder_since.insert(group(), now);
        self.look();
        self.think();
    }

    /// Half a second passes; then everybody looks.
    pub(super) fn pass(&mut self) {
        self.now = self.now.after(super::moves::STEP);
        self.steps_left = self.steps_left.saturating_sub(1);
        let late =
            |f: &Flight, now: Moment| f.waited_for && now.since(f.began) >= Duration::from_millis(1_500);
        while let Some(i) = self.flights.iter().position(|f| late(f, self.now)) {
            self.fail(i);
        }
        self.settle_links();
        self.guard();
        self.look();
        self.think();
    }

    /// Who is attached to whom, as far as each can know.
    pub(super) fn settle_links(&mut self) {
        let (now, count) = (self.now, self.servers.len());
        for r in 0..count {
            let Some(Source::Member(p)) = self.servers[r].source else {
                self.servers[r].link_up = false;
                continue;
            };
            if !self.servers[r].up || self.servers[r].frozen {
                continue;
            }
            if self.apart(r, p) || !self.servers[p].up {
                self.servers[r].link_up = false;
                continue;
            }
            if self.servers[p].frozen {
                continue;
            }
            if !self.servers[p].is_primary() || self.servers[p].refuses[r] {
                self.servers[r].link_up = false;
                continue;
            }
            let source = &self.servers[p];
            let (history, data) = (source.history, source.data.clone());
            self.servers[p].links[r] = Link::Up;
            let replica = &mut self.servers[r];
            (replica.link_up, replica.history, replica.data) = (true, history, data);
            replica.history_before = None;
        }
        for p in 0..count {
            if !self.servers[p].up || self.servers[p].frozen {
                continue;
            }
            for r in 0..count {
                let attached =
                    self.servers[r].source == Some(Source::Member(p)) && self.servers[p].is_primary();
                let gone = !self.servers[r].up || !attached || self.servers[p].refuses[r];
                let quiet = self.apart(r, p) || self.servers[r].frozen;
                self.servers[p].links[r] = match self.servers[p].links[r] {
                    Link::Up | Link::Lost(_) if self.servers[p].refuses[r] => Link::No,
                    Link::Up if quiet => Link::Lost(now),
                    Link::Up | Link::Lost(_) if gone && !quiet => Link::No,
                    Link::Lost(since) if now >= since.after(NOTICED_AFTER) => Link::No,
                    link => link,
                };
            }
        }
    }

    /// The witness renews its lease, attaches, and lets go when the lease is over.
    pub(super) fn guard(&mut self) {
        self.renew();
        let now = self.now;
        let Some(mut w) = self.witness.take() else { return };
        let server = &mut self.servers[w.of];
        let same = server.up && server.run == w.run && server.is_primary();
        if !server.up || server.run != w.run {
            w.ended |= w.attached;
        }
        if !server.frozen {
            w.attached = same && w.until > now;
            server.witnessed = w.attached;
            if w.attached {
                w.tail.clone_from(&server.data);
                w.heard_at = now;
            }
        }
        let node = node_number(w.node);
        if !self.apart(node, self.leader()) {
            let report = WitnessReport {
                at: now,
                epoch: w.epoch,
                attached: w.attached,
                ended: w.ended.then_some(LinkEnd::Eof),
                closed: w.until <= now,
                replid: Some(history(w.history)),
                start_bytes: w.start,
                end_bytes: w.tail.len() as u64,
                heard_at: w.heard_at,
                copies: 0,
            };
            self.see().witnesses.insert((group(), w.node), report);
        }
        self.witness = Some(w);
    }

    fn renew(&mut self) {
        let Some(g) = self.group() else { return };
        let Some(primary) = g.primary.as_ref() else { return };
        let Some(node) = primary.witness else { return };
        let may = lease::may_grant(g, primary.epoch).is_ok()
            && lease::may_witness(g, node, &self.view, self.now).is_ok();
        let m = crate::setup::member_number(&primary.member);
        let (epoch, run_id) = (primary.epoch, primary.lineage.run_id.clone());
        if !may || !self.has_quorum() || self.apart(node_number(node), self.leader()) {
            return;
        }
        let now = self.now;
        self.see().granted.insert((group(), node), now);
        self.see().witness_granted.insert((group(), node), (epoch, now));
        let until = self.now.after(LEASE);
        if let Some(w) = self.witness.as_mut().filter(|w| w.epoch == epoch && w.node == node) {
            w.until = until;
            return;
        }
        let server = &self.servers[m];
        if server.up && !server.frozen && server.is_primary() && server.run_id(m) == run_id {
            self.witness = Some(Witness {
                node,
                epoch,
                of: m,
                run: server.run,
                until,
                ended: false,
                attached: false,
                history: server.history,
                start: server.data.len() as u64,
                tail: server.data.clone(),
                heard_at: self.now,
            });
        }
    }

    /// Every node looks at every member, and the leader hears of it.
    pub(super) fn look(&mut self) {
        let leader = self.leader();
        let cut = self.cut;
        for n in (0..NODES).filter(|n| cut.is_none_or(|cut| *n == leader || (*n != cut && leader != cut))) {
            let now = self.now;
            self.see().heard.insert(node_id(n), now);
            for m in 0..self.servers.len() {
                let key = (group(), member(m));
                let before = self.view.seen.get(&key).and_then(|seen| seen.get(&node_id(n)));
                let last_up = before.and_then(|b| match &b.reach {
                    Reach::Up(status) => Some((b.at, status.clone())),
                    Reach::Down { .. } => b.last_up.clone(),
                });
                let since = match before.map(|b| &b.reach) {
                    Some(Reach::Down { since, .. }) => *since,
                    _ => self.now,
                };
                let reach = self.reach(n, m, since);
                // While it answers, that is its last answer.
                let last_up = last_up.filter(|_| matches!(reach, Reach::Down { .. }));
                let observation = Observation { at: self.now, reach, last_up, rate_peak_bytes: Some(RATE) };
                let state = Rc::clone(&self.state);
                if let Some(group) = state.groups.values().next() {
                    self.see().record(group, &key.1, node_id(n), observation);
                }
            }
        }
    }

    fn reach(&self, n: usize, m: usize, since: Moment) -> Reach {
        let server = &self.servers[m];
        let silent = self.apart(n, m) || (server.up && server.frozen);
        if !silent && server.up {
            return Reach::Up(self.status(m));
        }
        let (ended, connect) = if silent {
            (Some(LinkEnd::Unanswered), None)
        } else {
            (Some(LinkEnd::Eof), Some(ConnectFailure::Refused))
        };
        Reach::Down { since, ended, connect, exited_pid: None, detail: String::new() }
    }

    fn status(&self, m: usize) -> MemberStatus {
        let server = &self.servers[m];
        let counted = |r: &usize| self.counts(m, *r);
        let role = match server.source {
            None => MemberRole::Primary {
                replicas: (0..self.servers.len())
                    .filter(counted)
                    .map(address)
                    .chain(server.witnessed.then(|| Address {
                        host: "10.0.1.1".into(),
                        port: 7102,
                        tls: false,
                    }))
                    .map(|a| AttachedReplica { host: a.host, port: a.port, online: true, offset_bytes: 0 })
                    .collect(),
            },
            Some(source) => {
                let at = match source {
                    Source::Nowhere => Address { host: "127.0.0.1".into(), port: 1, tls: false },
                    Source::Member(p) => address(p),
                };
                MemberRole::Replica {
                    host: at.host,
                    port: at.port,
                    link_up: server.link_up,
                    read_offset_bytes: server.data.len() as u64,
                    read_only: true,
                }
            }
        };
        MemberStatus {
            run_id: server.run_id(m),
            pid: server.run,
            uptime_s: 0,
            version: String::new(),
            role,
            replid: history(server.history),
            replid2: server.history_before.map(history),
            second_offset_bytes: 0,
            offset_bytes: server.data.len() as u64,
            min_replicas: server.min_replicas,
            notices_silence: true,
            loading: false,
            keys: 1,
            clients: 0,
            rtt_us: 0,
            sentinels: 0,
            boot: BootFence::Fenced,
        }
    }

    /// Whether a server counts a replica.
    fn counts(&self, m: usize, r: usize) -> bool {
        match self.servers[m].links[r] {
            Link::No => false,
            Link::Up => true,
            Link::Lost(since) => self.now < since.after(NOTICED_AFTER),
        }
    }

    /// What it is like, on one line.
    pub(super) fn words(&self) -> String {
        let phase =
            self.group().and_then(|g| g.transition.as_ref()).map(|t| format!("{} to {}", t.phase, t.to));
        let server = |m: usize| {
            let s = &self.servers[m];
            let role = if s.is_primary() { "primary" } else { "replica" };
            let door = if self.is_open(m) { "open" } else { "shut" };
            let state = if !s.up {
                "dead"
            } else if s.frozen {
                "frozen"
            } else {
                role
            };
            format!("m{m} {state} {door} {}/{}", s.min_replicas, s.data.len())
        };
        let servers: Vec<_> = (0..self.servers.len()).map(server).collect();
        let flights: Vec<_> =
            self.flights.iter().map(|f| format!("{} {}", f.action.kind.word(), f.action.member)).collect();
        let words = self.pending.as_ref().map(|(command, _)| format!("{command:?}"));
        let pending = words.as_ref().and_then(|w| w.split([' ', '(']).next());
        format!(
            "{} | {} | {} | {}",
            phase.unwrap_or_else(|| "at rest".to_owned()),
            servers.join(", "),
            flights.join(", "),
            pending.unwrap_or("")
        )
    }

    /// Whether it accepts a write now.
    pub(super) fn is_open(&self, m: usize) -> bool {
        let server = &self.servers[m];
        let counted = (0..self.servers.len()).filter(|r| self.counts(m, *r)).count() as u64;
        let good = counted + u64::from(server.witnessed);
        server.up && !server.frozen && server.is_primary() && server.min_replicas <= good
    }
}

impl Server {
    pub(super) fn is_primary(&self) -> bool {
        self.source.is_none()
    }

    pub(super) fn run_id(&self, m: usize) -> String {
        format!("run-{m}-{}", self.run)
    }
}

pub(super) fn history(id: u32) -> String {
    format!("h{id}")
}

pub(super) fn address(m: usize) -> Address {
    Address { host: format!("10.0.0.{}", m + 1), port: 6379, tls: false }
}

fn spec(members: usize) -> GroupSpec {
    let one = |m: usize| MemberSpec {
        name: member(m),
        site: site(m),
        address: address(m),
        priority: 100 - m as u32,
        probe: Probe::Native,
    };
    GroupSpec {
        name: group(),
        kind: GroupKind::Redis,
        failover: FailoverMode::Automatic,
        down_after_ms: 1_000,
        max_loss: LossBudget::Any,
        fence: FencePolicy::Witness,
        tail_max_bytes: 1 << 20,
        may_kill: false,
        durability: Durability::Local,
        on_no_site: OnNoSite::Refuse,
        mirror: None,
        members: (0..members).map(one).collect(),
    }
}
