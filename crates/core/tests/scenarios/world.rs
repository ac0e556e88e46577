//! Servers, nodes and a log that commits at once: enough of a world to read the rules by.

use crate::gates::Gate;
use crate::holder::Copy;
use crate::server::Server;
use primacy_core::plan::{StepKind, conclude, plan};
use primacy_core::view::{ConnectFailure, Failure, LinkEnd, Observation, Reach, View, WitnessReport};
use primacy_core::{
    Action, ActionKind, Address, Command, Epoch, GroupKind, GroupName, Lineage, MemberName, Moment, NodeId,
    Outcome, Position, Promoted, Promotion, Rejected, SiteName, State, Term, WallTime, lease,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub const GROUP: &str = "features";

pub struct World {
    pub state: State,
    pub view: View,
    pub index: u64,
    pub now: Moment,
    pub servers: BTreeMap<String, Server>,
    pub sites: BTreeMap<String, SiteName>,
    pub down_nodes: BTreeSet<NodeId>,
    /// Node and member that do not reach each other.
    pub cuts: BTreeSet<(NodeId, String)>,
    /// Node and member that run on the same host.
    pub same_host: BTreeSet<(NodeId, String)>,
    /// Action words that stay without an answer.
    pub held: BTreeSet<String>,
    /// What was begun and has not been written yet.
    pub under_way: Vec<Action>,
    /// Actions that work and whose answers get lost.
    pub losing: BTreeSet<String>,
    /// Action words that fail, and how.
    pub failing: BTreeMap<String, (String, bool)>,
    pub said: Vec<String>,
    /// A site whose links to all others are cut.
    pub isolated: Option<SiteName>,
    /// The witness connection, as its node holds it.
    pub witness: Option<Witness>,
    /// What the nodes know of an endpoint group, and their gates.
    pub gates: BTreeMap<NodeId, Gate>,
    /// The copies of the stream that nodes keep for another site.
    pub copies: BTreeMap<NodeId, Copy>,
    /// Nodes that are not given the stream by the witness.
    pub starved: BTreeSet<NodeId>,
    histories: u32,
}

/// A witness connection.
#[derive(Clone)]
pub struct Witness {
    pub node: NodeId,
    pub of: (Epoch, String),
    /// It holds its lease until then.
    pub until: Moment,
    pub attached: bool,
    pub ended: Option<LinkEnd>,
    pub start: u64,
    pub end: u64,
    pub replid: String,
    pub heard_at: Moment,
}

pub fn group() -> GroupName {
    GroupName::new(GROUP).unwrap()
}

impl World {
    pub fn new() -> Self {
        World {
            state: State::default(),
            view: View::default(),
            index: 0,
            now: Moment(10_000_000),
            servers: BTreeMap::new(),
            sites: BTreeMap::new(),
            down_nodes: BTreeSet::new(),
            cuts: BTreeSet::new(),
            same_host: BTreeSet::new(),
            held: BTreeSet::new(),
            under_way: vec![],
            losing: BTreeSet::new(),
            failing: BTreeMap::new(),
            said: vec![],
            isolated: None,
            witness: None,
            gates: BTreeMap::new(),
            copies: BTreeMap::new(),
            starved: BTreeSet::new(),
            histories: 0,
        }
    }

    pub fn wall(&self) -> WallTime {
        WallTime(1_700_000_000_000_000 + self.now.0)
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.said.push(text.into());
    }

    pub fn propose(&mut self, command: &Command) -> Result<(), Rejected> {
        self.index += 1;
        let primary = self.state.groups.get(&group()).and_then(|g| g.primary.clone());
        let phase = self.phase();
        let held = primary.as_ref().map(|p| (p.epoch, p.holder, p.degraded));
        let applied = self.state.apply(self.index, command);
        match &applied {
            Ok(events) => {
                for e in events {
                    self.said.push(format!("{:>3} {}", self.index, crate::words::event(e)));
                }
            }
            Err(rejected) => self.said.push(format!("    rejected: {rejected}")),
        }
        if self.state.groups.get(&group()).and_then(|g| g.primary.clone()) != primary {
            self.view.primary_since.insert(group(), self.now);
        }
        let primary = self.state.groups.get(&group()).and_then(|g| g.primary.as_ref());
        if primary.map(|p| (p.epoch, p.holder, p.degraded)) != held {
            self.view.holder_since.insert(group(), self.now);
        }
        if self.phase() != phase {
            self.view.phase_since.insert(group(), self.now);
        }
        applied.map(|_| ())
    }

    fn phase(&self) -> Option<(u64, primacy_core::Phase)> {
        self.state.groups.get(&group())?.transition.as_ref().map(|t| (t.epoch.0, t.phase))
    }

    /// Lets time pass; every 50 ms the nodes look and the leader plans.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = end.min(self.now.after(Duration::from_millis(50)));
            self.replicate();
            self.observe();
            self.guard();
            self.hold();
            self.settle();
        }
    }

    fn site_of_node(&self, node: NodeId) -> Option<&SiteName> {
        self.view.nodes.get(&node)
    }

    /// Whether a cut lies between two sites.
    pub fn apart(&self, a: Option<&SiteName>, b: Option<&SiteName>) -> bool {
        let isolated = self.isolated.as_ref();
        isolated.is_some() && a != b && (a == isolated || b == isolated)
    }

    /// Replicas that a server counts: members that follow it, and its witness.
    pub fn counted(&self, name: &str) -> Vec<(Address, u64)> {
        let server = &self.servers[name];
        let follows = |s: &&Server| s.source == Some((server.address.host.clone(), server.address.port));
        let members = self.servers.values().filter(|s| s.link_up && s.answers()).filter(follows);
        let mut list: Vec<_> = members.map(|s| (s.address.clone(), s.offset)).collect();
        if self.witness.as_ref().is_some_and(|w| w.attached && w.of.1 == name) {
            list.push(("10.0.1.1:7102".parse().unwrap(), 0));
        }
        list
    }

    pub fn accepts_writes(&self, name: &str) -> bool {
        self.servers[name].accepts_writes(self.counted(name).len() as u64)
    }

    /// The appointed node renews its lease, attaches, and lets go when the lease is over.
    pub fn guard(&mut self) {
        let known = self.state.groups.get(&group());
        if known.map_or(!self.gates.is_empty(), |g| g.spec.kind == GroupKind::Endpoint) {
            return self.keep_gates();
        }
        let Some(g) = known else { return };
        let Some(primary) = g.primary.clone() else { return };
        let leader_site = self.site_of_node(self.view.me).cloned();
        if let Some(node) = primary.witness.filter(|n| !self.down_nodes.contains(n)) {
            let reaches_leader = !self.apart(self.site_of_node(node), leader_site.as_ref());
            let may = lease::may_grant(g, primary.epoch).is_ok()
                && lease::may_witness(g, node, &self.view, self.now).is_ok();
            let of = (primary.epoch, primary.member.as_str().to_owned());
            if reaches_leader && may && self.view.term != Term(0) {
                self.view.granted.insert((group(), node), self.now);
                self.view.witness_granted.insert((group(), node), (primary.epoch, self.now));
                let until = self.now.after(self.view.times.lease_ttl);
                let server = &self.servers[&of.1];
                // It does not attach to another process than the one that was made primary.
                let same =
                    |w: &&mut Witness| w.of == of && (w.replid == server.replid || !server.is_primary());
                match self.witness.as_mut().filter(same) {
                    Some(w) => (w.until, w.node) = (until, node),
                    None => {
                        self.witness = Some(Witness {
                            node,
                            of,
                            until,
                            attached: false,
                            ended: None,
                            start: server.offset,
                            end: server.offset,
                            replid: server.replid.clone(),
                            heard_at: self.now,
                        });
                    }
                }
            }
        }
        let now = self.now;
        let Some(mut w) = self.witness.take() else { return };
        let server = &self.servers[&w.of.1];
        let open = w.until > now && !self.down_nodes.contains(&w.node);
        if w.attached && (!server.alive || server.sheds) {
            (w.attached, w.ended) = (false, Some(LinkEnd::Eof));
        } else if server.alive {
            w.attached = open && server.is_primary() && !server.sheds;
        }
        if w.attached && !server.frozen {
            (w.end, w.heard_at) = (server.offset, now);
        }
        let report = WitnessReport {
            at: now,
            epoch: w.of.0,
            attached: w.attached,
            ended: w.ended,
            closed: !open,
            replid: Some(w.replid.clone()),
            start_bytes: w.start,
            end_bytes: w.end,
            heard_at: w.heard_at,
            copies: 0,
        };
        if !self.down_nodes.contains(&w.node) && !self.apart(self.site_of_node(w.node), leader_site.as_ref())
        {
            self.view.witnesses.insert((group(), w.node), report);
        }
        self.witness = Some(w);
    }

    /// Plans and performs until nothing is left to do.
    pub fn settle(&mut self) {
        if self.view.term == Term(0) {
            return;
        }
        for _ in 0..60 {
            let plan = plan(&self.state, &self.view, self.now, self.wall());
            if plan.steps.is_empty() {
                return;
            }
            for step in plan.steps {
                match step.kind {
                    StepKind::Propose(command) => {
                        let _ = self.propose(&command);
                    }
                    StepKind::Perform(action) => self.perform(&action),
                }
                self.replicate();
                self.guard();
                self.hold();
            }
        }
        self.say("    never comes to rest");
    }

    fn perform(&mut self, action: &Action) {
        let word = action.kind.word();
        let key = action.key();
        if self.held.contains(word) {
            self.say(format!("    {word} {} (no answer)", action.member));
            self.view.running.insert(key);
            self.under_way.push(action.clone());
            return;
        }
        self.write_down(action);
    }

    /// What was begun comes to the point of writing: its leader asks itself again whether it may.
    pub fn arrive(&mut self, word: &str) {
        let is = |a: &Action| a.kind.word() == word;
        let Some(i) = self.under_way.iter().position(is) else { panic!("no {word} is under way") };
        let action = self.under_way.remove(i);
        self.view.running.remove(&action.key());
        if self.state.groups.get(&group()).is_some_and(|g| g.authorises(action.epoch)) {
            self.write_down(&action);
        } else {
            self.say(format!("    {word} {} is not written: epoch {} is over", action.member, action.epoch));
        }
    }

    fn write_down(&mut self, action: &Action) {
        let (word, key) = (action.kind.word(), action.key());
        let started = self.wall();
        let result = match self.failing.get(word) {
            Some((message, permanent)) => Err((message.clone(), *permanent)),
            None => self.effect(action).map_err(|m| (m, false)),
        };
        if result.is_ok() && self.losing.contains(word) {
            self.say(format!("    {word} {} (the answer is lost)", action.member));
            self.view.running.insert(key);
            return;
        }
        match result {
            Ok(outcome) => {
                self.say(format!("    {word} {}", action.member));
                self.view.failures.remove(&key);
                self.view.done.insert(key, self.now);
                if let Outcome::Rescued { promoted: Some(_), .. } = &outcome {
                    self.say(format!("    promote {}", action.member));
                }
                for command in conclude(&self.state, action, &outcome, started, self.wall()) {
                    let _ = self.propose(&command);
                }
            }
            Err((message, permanent)) => {
                self.say(format!("    {word} {} fails: {message}", action.member));
                let now = self.now;
                let known = self.view.failures.entry(key).or_insert(Failure {
                    count: 0,
                    at: now,
                    message: String::new(),
                    permanent,
                });
                known.count += 1;
                known.at = now;
                known.message = message;
            }
        }
    }

    fn effect(&mut self, action: &Action) -> Result<Outcome, String> {
        let name = action.member.as_str();
        let site = self.sites.get(name).cloned();
        let leader_site = self.view.nodes.get(&self.view.me).cloned();
        if let ActionKind::Rescue { of, holder, then, .. } = &action.kind {
            if self.down_nodes.contains(holder) || self.apart(self.site_of_node(*holder), site.as_ref()) {
                return Err(format!("n{holder} does not answer"));
            }
            let (end, fetched_bytes, complete) = self.rescue(name, *holder, *of)?;
            let asked = then.as_ref().filter(|_| complete);
            let goes = !self.held.contains("promote") && !self.failing.contains_key("promote");
            let promoted = asked.filter(|_| goes).and_then(|asked| self.promote(name, asked).ok());
            let promoted = promoted.map(|promoted| (promoted, Duration::ZERO));
            return Ok(Outcome::Rescued { end, fetched_bytes, complete, promoted });
        }
        if let ActionKind::Kill { .. } = &action.kind {
            let near = self.same_host.iter().any(|(_, member)| member == name);
            let server = self.servers.get_mut(name).filter(|_| near).ok_or("no node is on its host")?;
            (server.alive, server.frozen, server.link_up) = (false, false, false);
            return Ok(Outcome::Killed);
        }
        let apart = self.apart(site.as_ref(), leader_site.as_ref());
        let server = self.servers.get_mut(name).unwrap();
        if !server.answers() || apart {
            return Err(format!("{name} does not answer"));
        }
        match &action.kind {
            ActionKind::Fence { drain, .. } => {
                server.min_replicas = 1_000_000;
                let code = if server.is_primary() { "NOREPLICAS" } else { "READONLY" };
                let end = Position { replid: server.replid.clone(), offset_bytes: server.offset };
                self.replicate();
                let caught_up = |to: &MemberName| {
                    let s = &self.servers[to.as_str()];
                    s.answers() && s.replid == end.replid && s.offset == end.offset_bytes
                };
                let drained_us = drain.as_ref().filter(|(to, _)| caught_up(to)).map(|_| 300);
                let run_id = self.servers[name].run_id(name);
                Ok(Outcome::Fenced { code: code.to_owned(), run_id, end, drained_us })
            }
            ActionKind::Lift { min_replicas } => {
                server.min_replicas = *min_replicas;
                Ok(Outcome::Lifted)
            }
            ActionKind::Detach => {
                server.min_replicas = 1_000_000;
                server.source = Some(("127.0.0.1".to_owned(), 1));
                server.link_up = false;
                Ok(Outcome::Detached)
            }
            ActionKind::Kill { .. } | ActionKind::Rescue { .. } => Err("performed above".to_owned()),
            ActionKind::SetFence { min_replicas, admit, refuse } => {
                server.patient = false;
                server.min_replicas = *min_replicas;
                server.refuses.retain(|m| !admit.iter().any(|a| a.as_str() == m));
                server.refuses.extend(refuse.iter().map(ToString::to_string));
                Ok(Outcome::FenceSet { min_replicas: *min_replicas, refused: refuse.clone() })
            }
            ActionKind::Promote(asked) => self.promote(name, asked).map(Outcome::Promoted),
            ActionKind::Open { min_replicas } => {
                server.min_replicas = *min_replicas;
                Ok(Outcome::Opened)
            }
            ActionKind::Follow { primary, .. } => {
                server.min_replicas = 1_000_000;
                server.read_only = true;
                server.source = Some((primary.host.clone(), primary.port));
                server.link_up = false;
                Ok(Outcome::Following)
            }
        }
    }

    fn promote(&mut self, name: &str, asked: &Promotion) -> Result<Promoted, String> {
        let Promotion { expected, run_id, refuse, .. } = asked;
        let server = self.servers.get_mut(name).unwrap();
        if run_id.as_ref().is_some_and(|chosen| *chosen != server.run_id(name)) {
            return Err(format!("{name} was restarted"));
        }
        let again = server.is_primary() && server.replid2 == *expected;
        if expected.as_ref().is_some_and(|e| *e != server.replid) && !again {
            return Err(format!("{name} is of another history"));
        }
        server.min_replicas = 1_000_000;
        if !server.is_primary() {
            self.histories += 1;
            server.source = None;
            server.replid2 = Some(std::mem::replace(&mut server.replid, format!("h{}", self.histories)));
            server.second_offset = server.offset;
        }
        let start = Position { replid: server.replid.clone(), offset_bytes: server.offset };
        let lineage = Lineage { run_id: server.run_id(name), start, previous: server.replid2.clone() };
        server.refuses = refuse.iter().map(ToString::to_string).collect();
        Ok(Promoted { lineage, refused: refuse.clone() })
    }

    /// The candidate reads what the witness kept, or a copy of it: up to where, how much of it, and whether that is all.
    fn rescue(&mut self, name: &str, holder: NodeId, of: Epoch) -> Result<(Position, u64, bool), String> {
        if let Some(copy) = self.copies.get_mut(&holder).filter(|c| c.of.0 == of) {
            copy.sealed = true;
            let copy = copy.clone();
            let server = self.servers.get_mut(name).unwrap();
            let replid = copy.replid.filter(|id| server.replid == *id && server.offset >= copy.start);
            let replid = replid.ok_or("the copy does not join")?;
            let fetched_bytes = copy.end.saturating_sub(server.offset);
            server.offset = server.offset.max(copy.end);
            let end = Position { replid, offset_bytes: copy.end };
            return Ok((end, fetched_bytes, false));
        }
        let tail = self.witness.clone().filter(|w| w.of.0 == of && !self.down_nodes.contains(&w.node));
        let Some(tail) = tail else { return Err("the witness is gone".to_owned()) };
        let server = self.servers.get_mut(name).unwrap();
        let complete = tail.ended == Some(LinkEnd::Eof);
        let end = Position { replid: tail.replid.clone(), offset_bytes: tail.end };
        if server.is_primary()
            && server.replid2.as_ref() == Some(&tail.replid)
            && server.second_offset >= tail.end
        {
            return Ok((end, 0, complete));
        }
        if server.replid != tail.replid || server.offset < tail.start {
            return Err("the tail does not join".to_owned());
        }
        let fetched_bytes = tail.end.saturating_sub(server.offset);
        server.offset = server.offset.max(tail.end);
        Ok((end, fetched_bytes, complete))
    }

    /// Replicas whose source serves have what it has; the others' links are down.
    pub fn replicate(&mut self) {
        let before = self.servers.clone();
        let (isolated, sites) = (self.isolated.clone(), self.sites.clone());
        let apart = |a: &str, b: &str| {
            let (a, b) = (sites.get(a), sites.get(b));
            isolated.is_some() && a != b && (a == isolated.as_ref() || b == isolated.as_ref())
        };
        for (name, server) in self.servers.iter_mut().filter(|(_, s)| s.answers()) {
            let Some((host, port)) = &server.source else { continue };
            let source = before.iter().find(|(_, s)| s.address.host == *host && s.address.port == *port);
            let reached = source.filter(|(other, s)| !apart(name, other) && !s.refuses.contains(name));
            let source = source.map(|(_, s)| s).filter(|_| reached.is_some());
            let Some(source) = source.filter(|s| s.answers() && s.is_primary()) else {
                // A frozen source keeps its connections.
                server.link_up &= source.is_some_and(|s| s.alive && s.frozen);
                continue;
            };
            server.link_up = true;
            if !server.stuck {
                server.replid.clone_from(&source.replid);
                server.offset = source.offset;
                server.keys = source.keys;
            }
        }
    }

    /// Every node that runs looks at every member.
    pub fn observe(&mut self) {
        let nodes: Vec<NodeId> =
            self.view.nodes.keys().copied().filter(|n| !self.down_nodes.contains(n)).collect();
        let leader_site = self.view.nodes.get(&self.view.me).cloned();
        for node in nodes {
            if self.apart(self.site_of_node(node), leader_site.as_ref()) {
                continue;
            }
            self.view.heard.insert(node, self.now);
            for (name, server) in &self.servers {
                let key = (group(), MemberName::new(name).unwrap());
                let before = self.view.seen.get(&key).and_then(|known| known.get(&node)).cloned();
                let reach = self.look(node, name, server, before.as_ref());
                let last_up = match &reach {
                    Reach::Up(status) => Some((self.now, status.clone())),
                    Reach::Down { .. } => before.and_then(|b| b.last_up),
                };
                let observation = Observation { at: self.now, reach, last_up, rate_peak_bytes: server.rate };
                if let Some(group) = self.state.groups.get(&key.0) {
                    self.view.record(group, &key.1, node, observation);
                }
            }
        }
    }

    fn look(&self, node: NodeId, name: &str, server: &Server, before: Option<&Observation>) -> Reach {
        let apart = self.apart(self.site_of_node(node), self.sites.get(name));
        let cut = apart || self.cuts.contains(&(node, name.to_owned()));
        if server.answers() && !cut {
            return Reach::Up(server.status(name, &self.counted(name)));
        }
        let since = match before.map(|b| &b.reach) {
            Some(Reach::Down { since, .. }) => *since,
            _ => self.now,
        };
        if server.endpoint {
            let refused = !cut && !server.frozen;
            let ended = (!refused).then_some(LinkEnd::Unanswered);
            let connect = refused.then_some(ConnectFailure::Refused);
            return Reach::Down { since, ended, connect, exited_pid: None, detail: "down".to_owned() };
        }
        let (ended, connect) = match (cut || (server.alive && server.frozen), server.resets) {
            (true, _) => (Some(LinkEnd::Unanswered), None),
            (false, true) => (Some(LinkEnd::Reset), Some(ConnectFailure::Refused)),
            (false, false) => (Some(LinkEnd::Eof), Some(ConnectFailure::Refused)),
        };
        let watched = !server.alive && self.same_host.contains(&(node, name.to_owned()));
        let exited_pid = watched.then_some(server.pid);
        Reach::Down { since, ended, connect, exited_pid, detail: "down".to_owned() }
    }

    /// Another node leads, with nothing but the state.
    pub fn lead(&mut self, node: u64, term: u64) {
        self.lead_with(node, term, BTreeMap::new());
    }

    /// The same, and the nodes tell it what they saw last before it led.
    pub fn lead_told(&mut self, node: u64, term: u64) {
        let mut seen = std::mem::take(&mut self.view.seen);
        for by_node in seen.values_mut() {
            by_node.retain(|n, _| !self.down_nodes.contains(n));
        }
        self.lead_with(node, term, seen);
    }

    fn lead_with(
        &mut self,
        node: u64,
        term: u64,
        seen: BTreeMap<(GroupName, MemberName), BTreeMap<NodeId, Observation>>,
    ) {
        let nodes = self.view.nodes.clone();
        let since = self.now;
        self.view =
            View { me: NodeId(node), term: Term(term), leading_since: since, nodes, seen, ..View::default() };
        self.view.holder_since.insert(group(), since);
        self.observe();
        self.settle();
    }
}
