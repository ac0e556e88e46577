//! What goes wrong, drawn per seed: each run has its own few kinds of fault, in any number.

use crate::dice::Dice;
use crate::message::{Payload, Who};
use crate::net::{ConnId, End, Kind};
use crate::redis::Source;
use crate::setup::{SITES, Setup};
use crate::world::World;
use primacy_core::{FencePolicy, GroupKind};

/// What an operator can want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Switchover(Option<usize>),
    Failback,
    Failover { to: Option<usize>, allow_data_loss: bool },
    Pause,
    Resume,
    Configure,
}

/// One kind of fault. Whom it hits may only be known when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    KillPrimary {
        child: bool,
        /// In the turn of its event loop that answers the next write.
        amid: bool,
    },
    /// The primary dies while its replicas do not hear it.
    KillBehind {
        after: u64,
    },
    KillServer {
        m: usize,
    },
    FreezePrimary,
    FreezeServer {
        m: usize,
    },
    CrashLeader,
    CrashNode {
        n: usize,
    },
    FreezeLeader,
    FreezeNode {
        n: usize,
    },
    CrashAllNodes,
    CutSite {
        site: usize,
    },
    CutPrimarySite,
    CutOneWay {
        from: usize,
        to: usize,
    },
    CutNodeServer {
        n: usize,
        m: usize,
    },
    FirewallResets {
        m: usize,
    },
    Slow {
        a: usize,
        b: usize,
        by: u64,
    },
    Lossy {
        a: usize,
        b: usize,
        percent: u64,
    },
    LoseSite {
        site: usize,
    },
    LosePrimarySite,
    WallStep {
        m: usize,
        by_ms: i64,
    },
    Stranger,
    DemoteByHand,
    /// The next candidate is started again at the moment when it is to be promoted.
    RestartCandidate,
    Operator(Wish),
}

pub(crate) const WORDS: &[&str] = &[
    "kill_primary",
    "kill_behind",
    "kill_server",
    "freeze_primary",
    "freeze_server",
    "crash_leader",
    "crash_node",
    "freeze_leader",
    "freeze_node",
    "crash_all_nodes",
    "cut_site",
    "cut_primary_site",
    "cut_one_way",
    "cut_node_server",
    "firewall_resets",
    "slow",
    "lossy",
    "lose_site",
    "lose_primary_site",
    "wall_step",
    "stranger",
    "demote_by_hand",
    "restart_candidate",
    "switchover",
    "failback",
    "failover",
    "pause",
    "configure",
];

impl Act {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Act::KillPrimary { .. } => "kill_primary",
            Act::KillBehind { .. } => "kill_behind",
            Act::KillServer { .. } => "kill_server",
            Act::FreezePrimary => "freeze_primary",
            Act::FreezeServer { .. } => "freeze_server",
            Act::CrashLeader => "crash_leader",
            Act::CrashNode { .. } => "crash_node",
            Act::FreezeLeader => "freeze_leader",
            Act::FreezeNode { .. } => "freeze_node",
            Act::CrashAllNodes => "crash_all_nodes",
            Act::CutSite { .. } => "cut_site",
            Act::CutPrimarySite => "cut_primary_site",
            Act::CutOneWay { .. } => "cut_one_way",
            Act::CutNodeServer { .. } => "cut_node_server",
            Act::FirewallResets { .. } => "firewall_resets",
            Act::Slow { .. } => "slow",
            Act::Lossy { .. } => "lossy",
            Act::LoseSite { .. } => "lose_site",
            Act::LosePrimarySite => "lose_primary_site",
            Act::WallStep { .. } => "wall_step",
            Act::Stranger => "stranger",
            Act::DemoteByHand => "demote_by_hand",
            Act::RestartCandidate => "restart_candidate",
            Act::Operator(Wish::Switchover(_)) => "switchover",
            Act::Operator(Wish::Failback) => "failback",
            Act::Operator(Wish::Failover { .. }) => "failover",
            Act::Operator(Wish::Pause | Wish::Resume) => "pause",
            Act::Operator(Wish::Configure) => "configure",
        }
    }
}

/// A fault with its time. What it hit is filled in when it begins.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) lasts: u64,
    pub(crate) act: Act,
    hit: Vec<usize>,
    ends: Vec<(End, End)>,
    conn: Option<ConnId>,
    pub(crate) begun: bool,
}

const FIRST_AT_US: u64 = 6_000_000;
/// The kinds, by number.
const KINDS: usize = 27;

/// The faults of a run, and when the last of them is over.
pub(crate) fn draw(setup: &Setup, dice: &mut Dice) -> (Vec<Fault>, u64) {
    // A run has a few kinds, so that they meet each other and themselves.
    let kinds: Vec<usize> = (0..dice.range(2, 6)).map(|_| dice.index(KINDS)).collect();
    let count = dice.range(5, 12);
    let span = dice.pick(&[15_000_000, 30_000_000, 45_000_000]);
    let mut faults = Vec::new();
    let mut calm_at = 0;
    for _ in 0..count {
        let kind = if dice.chance(85) { kinds[dice.index(kinds.len())] } else { dice.index(KINDS) };
        let Some(act) = act(kind, setup, dice) else { continue };
        let lasts = match dice.below(4) {
            0 => dice.range(20_000, 500_000),
            1 => dice.range(500_000, 3_000_000),
            2 => dice.range(3_000_000, 8_000_000),
            _ => dice.range(8_000_000, 15_000_000),
        };
        let lasts = match act {
            Act::KillBehind { after } => lasts.max(after + 300_000),
            _ => lasts,
        };
        let at = FIRST_AT_US + dice.below(span);
        calm_at = calm_at.max(at + lasts);
        faults.push(Fault::new(at, lasts, act));
    }
    faults.sort_by_key(|f| f.at);
    (faults, calm_at.max(30_000_000) + 1_000)
}

impl Fault {
    fn new(at: u64, lasts: u64, act: Act) -> Fault {
        Fault { at, lasts, act, hit: vec![], ends: vec![], conn: None, begun: false }
    }
}

/// A member that is not there yet when everything else begins.
pub(crate) fn late(m: usize, lasts: u64) -> Fault {
    Fault::new(1_000_001, lasts, Act::KillServer { m })
}

/// From some moment on the next candidate is in for it.
pub(crate) fn restart_candidate(dice: &mut Dice) -> Fault {
    Fault::new(FIRST_AT_US + dice.below(10_000_000), 15_000_000, Act::RestartCandidate)
}

fn act(kind: usize, setup: &Setup, dice: &mut Dice) -> Option<Act> {
    let redis = setup.spec.kind == GroupKind::Redis;
    let m = dice.index(setup.members.len());
    let n = dice.index(setup.nodes.len());
    let (a, b) = (dice.index(SITES), dice.index(SITES));
    let other = (a + 1 + dice.index(SITES - 1)) % SITES;
    Some(match kind {
        0 => Act::KillPrimary { child: dice.chance(15), amid: dice.chance(50) },
        1 => Act::KillServer { m },
        2 => Act::FreezePrimary,
        3 => Act::FreezeServer { m },
        4 => Act::CrashLeader,
        5 => Act::CrashNode { n },
        6 => Act::FreezeLeader,
        7 => Act::FreezeNode { n },
        8 => Act::CrashAllNodes,
        9 => Act::CutSite { site: a },
        10 => Act::CutPrimarySite,
        11 => Act::CutOneWay { from: a, to: other },
        12 => Act::CutNodeServer { n, m },
        13 => Act::FirewallResets { m },
        14 => Act::Slow { a, b, by: dice.range(10_000, 400_000) },
        15 => Act::Lossy { a, b, percent: dice.range(5, 40) },
        16 => Act::LoseSite { site: a },
        17 => Act::LosePrimarySite,
        18 if redis => Act::WallStep { m, by_ms: dice.range(100, 5_000).cast_signed() },
        19 if redis => Act::Stranger,
        20 if redis => Act::DemoteByHand,
        21 => Act::Operator(Wish::Switchover(if dice.chance(50) { Some(m) } else { None })),
        22 => Act::Operator(Wish::Failback),
        23 => Act::Operator(Wish::Failover {
            to: if dice.chance(50) { Some(m) } else { None },
            allow_data_loss: dice.chance(30),
        }),
        24 => Act::Operator(Wish::Pause),
        25 => Act::Operator(Wish::Configure),
        26 if redis => Act::KillBehind { after: dice.range(50_000, 1_500_000) },
        _ => return None,
    })
}

impl World {
    pub(crate) fn begin_fault(&mut self, i: usize) {
        let act = self.fault(i).act;
        self.coverage.count("fault", act.word());
        self.setup.faults[i].begun = true;
        self.say(None, || format!("{act:?}"));
        self.truth.faults_now += 1;
        let primary = self.truth.primary();
        let leader = (0..self.nodes.len()).find(|n| self.nodes[*n].alive && self.nodes[*n].raft.leads());
        match act {
            Act::KillPrimary { amid: true, .. } => {
                self.hit_server(i, primary, |w, m| w.servers[m].doomed = true);
            }
            Act::KillPrimary { child, .. } => self.hit_server(i, primary, |w, m| w.kill_seen(m, child)),
            Act::KillBehind { after } => self.deafen(i, primary, after),
            Act::KillServer { m } => self.hit_server(i, Some(m), |w, m| w.kill_seen(m, false)),
            Act::FreezePrimary => self.hit_server(i, primary, World::freeze_server),
            Act::FreezeServer { m } => self.hit_server(i, Some(m), World::freeze_server),
            Act::CrashLeader => self.hit_node(i, leader, |w, n| w.crash_node(n, false)),
            Act::CrashNode { n } => self.hit_node(i, Some(n), |w, n| w.crash_node(n, false)),
            Act::FreezeLeader => self.hit_node(i, leader, |w, n| w.nodes[n].frozen = w.nodes[n].alive),
            Act::FreezeNode { n } => self.hit_node(i, Some(n), |w, n| w.nodes[n].frozen = w.nodes[n].alive),
            Act::CrashAllNodes => {
                for n in 0..self.nodes.len() {
                    self.hit_node(i, Some(n), |w, n| w.crash_node(n, false));
                }
            }
            Act::CutSite { site } => self.cut_site(site, true),
            Act::CutPrimarySite => {
                if let Some(m) = primary {
                    self.setup.faults[i].hit = vec![self.servers[m].site];
                    self.cut_site(self.servers[m].site, true);
                }
            }
            Act::CutOneWay { from, to } => self.net.cut_sites(from, to, true),
            Act::CutNodeServer { n, m } => self.cut_pair(i, End::Node(n), End::Server(m)),
            Act::FirewallResets { m } => self.firewall(i, m),
            Act::Slow { a, b, by } => {
                *self.net.slow.entry((a, b)).or_insert(0) += by;
            }
            Act::Lossy { a, b, percent } => {
                self.net.loss.insert((a, b), percent);
                self.net.loss.insert((b, a), percent);
            }
            Act::LoseSite { site } => self.lose_site(i, site),
            Act::LosePrimarySite => {
                if let Some(m) = primary {
                    self.lose_site(i, self.servers[m].site);
                }
            }
            Act::WallStep { m, by_ms } => self.servers[m].wall_offset += by_ms * 1_000,
            Act::Stranger => self.attach_stranger(i, primary),
            Act::DemoteByHand => {
                if let Some(m) = primary.filter(|m| self.servers[*m].runs()) {
                    self.replicate_from(m, Source::Foreign);
                    self.server_changed(m);
                }
            }
            Act::RestartCandidate => self.truth.candidate_is_doomed = true,
            Act::Operator(wish) => {
                self.wish(wish);
            }
        }
    }

    /// A candidate is to be promoted: now or never.
    pub(crate) fn strike_candidate(&mut self, m: usize) {
        self.truth.candidate_is_doomed = false;
        let at = self.now + self.dice.below(60_000);
        // Some are back before anybody's next connection is refused.
        let lasts =
            if self.dice.chance(40) { self.dice.range(50, 300) } else { self.dice.range(10_000, 100_000) };
        let fault = Fault::new(at, lasts, Act::KillServer { m });
        let number = self.setup.faults.len();
        self.schedule(at, crate::world::Event::Begin { fault: number });
        self.schedule(at + fault.lasts, crate::world::Event::End { fault: number });
        self.setup.faults.push(fault);
    }

    fn hit_server(&mut self, i: usize, m: Option<usize>, strike: impl Fn(&mut World, usize)) {
        if let Some(m) = m.filter(|m| self.servers[*m].up && !self.servers[*m].frozen) {
            self.setup.faults[i].hit.push(m);
            strike(self, m);
        }
    }

    fn hit_node(&mut self, i: usize, n: Option<usize>, strike: impl Fn(&mut World, usize)) {
        if let Some(n) = n.filter(|n| self.nodes[*n].alive && !self.nodes[*n].frozen) {
            self.setup.faults[i].hit.push(n);
            strike(self, n);
        }
    }

    /// A process dies, and a node on its host sees it.
    pub(crate) fn kill_seen(&mut self, m: usize, child: bool) {
        self.kill_server(m, child);
        for n in 0..self.nodes.len() {
            if self.setup.same_host[n] == Some(m) && self.nodes[n].alive && !self.nodes[n].frozen {
                self.exit_seen(n, m);
            }
        }
    }

    /// Its replicas hear it no more, and a moment later it is killed.
    fn deafen(&mut self, i: usize, primary: Option<usize>, after: u64) {
        let Some(p) = primary.filter(|m| self.servers[*m].runs()) else { return };
        for m in (0..self.servers.len()).filter(|m| *m != p) {
            self.net.cut_ends(End::Server(p), End::Server(m), true);
            self.setup.faults[i].ends.push((End::Server(p), End::Server(m)));
        }
        self.setup.faults[i].hit = vec![p];
        self.schedule(self.now + after, crate::world::Event::Strike { server: p });
    }

    fn cut_site(&mut self, site: usize, add: bool) {
        for other in (0..SITES).filter(|s| *s != site) {
            self.net.cut_sites(site, other, add);
            self.net.cut_sites(other, site, add);
        }
    }

    fn cut_pair(&mut self, i: usize, a: End, b: End) {
        self.net.cut_ends(a, b, true);
        self.net.cut_ends(b, a, true);
        self.setup.faults[i].ends = vec![(a, b), (b, a)];
    }

    /// Something between a server and everybody else resets what passes and drops what comes.
    fn firewall(&mut self, i: usize, m: usize) {
        for conn in self.net.held_by(End::Server(m)) {
            let side = self.net.side(conn, End::Server(m));
            let other = self.net.conns[conn as usize].ends[1 - side];
            if matches!(other, End::Node(_) | End::Server(_)) {
                self.close(conn, End::Server(m), Payload::Rst);
                // The server itself hears nothing of it.
                self.net.conns[conn as usize].open[side] = true;
            }
        }
        let others: Vec<End> = (0..self.nodes.len())
            .map(End::Node)
            .chain((0..self.servers.len()).filter(|s| *s != m).map(End::Server))
            .collect();
        for other in others {
            self.net.cut_ends(other, End::Server(m), true);
            self.net.cut_ends(End::Server(m), other, true);
            self.setup.faults[i].ends.extend([(other, End::Server(m)), (End::Server(m), other)]);
        }
    }

    fn lose_site(&mut self, i: usize, site: usize) {
        self.setup.faults[i].hit = vec![site];
        for n in 0..self.nodes.len() {
            if self.setup.nodes[n] == site {
                self.crash_node(n, true);
            }
        }
        for m in 0..self.servers.len() {
            if self.servers[m].site == site {
                self.lose_host(m);
            }
        }
    }

    fn attach_stranger(&mut self, i: usize, primary: Option<usize>) {
        if let Some(m) = primary.filter(|m| self.servers[*m].runs()) {
            let conn = self.dial(End::Stranger, End::Server(m), Kind::Replication);
            self.setup.faults[i].conn = Some(conn);
        }
    }

    pub(crate) fn stranger_hears(&mut self, conn: ConnId, payload: &Payload) {
        match payload {
            Payload::Accepted => {
                let psync = Payload::Psync { who: Who::Stranger, replid: "?".to_owned(), from: 0 };
                self.send(conn, End::Stranger, psync);
            }
            Payload::Copy { .. } | Payload::Continue { .. } | Payload::Stream { .. } => {
                self.send(conn, End::Stranger, Payload::Ack { offset: 0 });
            }
            _ => {}
        }
    }

    pub(crate) fn end_fault(&mut self, i: usize) {
        if !self.fault(i).begun {
            return;
        }
        let Fault { act, hit, ends, conn, .. } = self.fault(i).clone();
        self.truth.faults_now -= 1;
        self.say(None, || format!("{} is over", act.word()));
        match act {
            Act::KillPrimary { .. } | Act::KillServer { .. } => {
                self.each(&hit, |w, m| w.servers[m].doomed = false);
                self.each(&hit, World::start_server);
            }
            Act::KillBehind { .. } => {
                for (a, b) in ends {
                    self.net.cut_ends(a, b, false);
                }
                self.each(&hit, World::start_server);
            }
            Act::FreezePrimary | Act::FreezeServer { .. } => self.each(&hit, World::thaw_server),
            Act::CrashLeader | Act::CrashNode { .. } | Act::CrashAllNodes => {
                self.each(&hit, World::start_node);
            }
            Act::FreezeLeader | Act::FreezeNode { .. } => self.each(&hit, World::thaw_node),
            Act::CutSite { site } => self.cut_site(site, false),
            Act::CutPrimarySite => self.each(&hit, |w, s| w.cut_site(s, false)),
            Act::CutOneWay { from, to } => self.net.cut_sites(from, to, false),
            Act::CutNodeServer { .. } | Act::FirewallResets { .. } => {
                for (a, b) in ends {
                    self.net.cut_ends(a, b, false);
                }
            }
            Act::Slow { a, b, by } => {
                if let Some(extra) = self.net.slow.get_mut(&(a, b)) {
                    *extra = extra.saturating_sub(by);
                }
            }
            Act::Lossy { a, b, .. } => {
                self.net.loss.remove(&(a, b));
                self.net.loss.remove(&(b, a));
            }
            Act::LoseSite { .. } | Act::LosePrimarySite => self.each(&hit, World::site_returns),
            Act::Stranger => {
                if let Some(conn) = conn {
                    self.close(conn, End::Stranger, Payload::Fin);
                }
            }
            Act::Operator(Wish::Pause) => {
                self.wish(Wish::Resume);
            }
            Act::RestartCandidate => self.truth.candidate_is_doomed = false,
            Act::WallStep { .. } | Act::DemoteByHand | Act::Operator(_) => {}
        }
        self.release_stalled();
    }

    fn each(&mut self, hit: &[usize], undo: impl Fn(&mut World, usize)) {
        for one in hit {
            undo(self, *one);
        }
    }

    fn site_returns(&mut self, site: usize) {
        for m in 0..self.servers.len() {
            if self.servers[m].site == site {
                self.servers[m].host_up = true;
                self.start_server(m);
            }
        }
        for n in 0..self.nodes.len() {
            if self.setup.nodes[n] == site {
                self.start_node(n);
            }
        }
    }

    /// The last fault is over: whatever was left lying is picked up.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.say(None, || "all faults are over".to_owned());
        for m in 0..self.servers.len() {
            self.servers[m].host_up = true;
            self.start_server(m);
            self.thaw_server(m);
        }
        for n in 0..self.nodes.len() {
            self.start_node(n);
            self.thaw_node(n);
        }
        self.truth.calm_since = self.now;
    }

    /// An operator who looks after the group: founds it, accepts losses once faults are over, resumes what was paused.
    pub(crate) fn operator_helps(&mut self) {
        self.schedule(self.now + 500_000, crate::world::Event::Operator);
        if self.truth.group().is_none() {
            self.found();
            return;
        }
        if !self.calm {
            return;
        }
        crate::invariant::converge::help(self);
    }
}

/// Whether two writers are what the operator asked for.
pub(crate) fn unfenced(setup: &Setup) -> bool {
    setup.spec.fence == FencePolicy::None
}
