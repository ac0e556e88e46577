//! What a run is made of, drawn from its seed: swarm testing (Groce et al., "Swarm Testing", 2012). Each run leaves out
//! most of what could be in it, so that what is left meets in ways that a mix of everything never shows.

use crate::dice::Dice;
use crate::fault::{self, Fault};
use primacy_core::{
    Address, Durability, FailoverMode, FencePolicy, GroupKind, GroupName, GroupSpec, LossBudget, MemberName,
    MemberSpec, NodeId, OnNoSite, Probe, SiteName,
};

/// Timings of a cluster, in microseconds: those of the two profiles that ship.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    pub(crate) heartbeat: u64,
    pub(crate) election_min: u64,
    pub(crate) election_max: u64,
    pub(crate) lease_ttl: u64,
    pub(crate) lease_renew: u64,
}

const LAN: Timings = Timings {
    heartbeat: 100_000,
    election_min: 300_000,
    election_max: 600_000,
    lease_ttl: 3_000_000,
    lease_renew: 900_000,
};
const WAN: Timings = Timings {
    heartbeat: 200_000,
    election_min: 600_000,
    election_max: 1_200_000,
    lease_ttl: 4_000_000,
    lease_renew: 1_000_000,
};

/// Everything about a run but what chance does on the way.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) timings: Timings,
    /// The site of each node, server and client.
    pub(crate) nodes: Vec<usize>,
    pub(crate) members: Vec<usize>,
    pub(crate) clients: Vec<ClientSetup>,
    /// One way, in microseconds.
    pub(crate) delay: Vec<Vec<u64>>,
    /// Of each node's clock, in millionths.
    pub(crate) drift_ppm: Vec<i64>,
    /// How long each node takes to apply what is committed, and its disk to keep it, in microseconds at most.
    pub(crate) apply_lag: Vec<u64>,
    pub(crate) disk: Vec<u64>,
    /// The server that runs on the host of each node.
    pub(crate) same_host: Vec<Option<usize>>,
    /// Whether a node has a gate.
    pub(crate) gates: Vec<bool>,
    pub(crate) spec: GroupSpec,
    /// How much of its stream a primary keeps for replicas that come back.
    pub(crate) backlog_bytes: u64,
    /// Members that hold data of their own before the group has its first primary.
    pub(crate) with_data: usize,
    pub(crate) faults: Vec<Fault>,
    /// When the last fault is over at the latest, and when the run is.
    pub(crate) calm_at: u64,
    pub(crate) end_at: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientSetup {
    pub(crate) site: usize,
    /// Through the gate of this node; else directly.
    pub(crate) gate: Option<usize>,
    pub(crate) every: u64,
}

/// Sites of a run.
pub(crate) const SITES: usize = 3;

thread_local! {
    /// Asked for with every plan and every report.
    static GROUP: GroupName = name(GroupName::new("g"));
}

pub(crate) fn group() -> GroupName {
    GROUP.with(GroupName::clone)
}

pub(crate) fn site(n: usize) -> SiteName {
    name(SiteName::new(["east", "north", "west"][n % SITES]))
}

pub(crate) fn member(n: usize) -> MemberName {
    name(MemberName::new(format!("m{n}")))
}

/// The number of a member that has one of our names.
pub(crate) fn member_number(name: &MemberName) -> usize {
    name.as_str().get(1..).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX)
}

pub(crate) fn node_id(n: usize) -> NodeId {
    NodeId(n as u64 + 1)
}

pub(crate) fn node_number(id: NodeId) -> usize {
    (id.0 as usize).saturating_sub(1)
}

fn name<T, E>(name: Result<T, E>) -> T {
    match name {
        Ok(name) => name,
        Err(_) => unreachable!("it is one of a few that are written here"),
    }
}

impl Setup {
    /// The run of a seed.
    pub(crate) fn draw(seed: u64) -> Setup {
        let dice = &mut Dice::new(seed, 1);
        let timings = if dice.chance(75) { LAN } else { WAN };
        let nodes = if dice.chance(75) { vec![0, 1, 2] } else { vec![0, 1, 2, 0, 1] };
        let members = match dice.below(10) {
            0..=4 => vec![0, 1, 2],
            5..=6 => vec![0, 1],
            7 => vec![0, 0, 1],
            8 => vec![0, 1, 1],
            _ => vec![0, 0, 1, 2],
        };
        let endpoint = dice.chance(12);
        let spec = spec(dice, &members, endpoint);
        let gates = nodes.iter().map(|_| dice.chance(if endpoint { 90 } else { 50 })).collect();
        let mut setup = Setup {
            seed,
            timings,
            clients: vec![],
            delay: delays(dice, timings),
            drift_ppm: nodes.iter().map(|_| dice.range(0, 8_000).cast_signed() - 4_000).collect(),
            apply_lag: nodes
                .iter()
                .map(|_| if dice.chance(15) { dice.range(1_000, 400_000) } else { 0 })
                .collect(),
            disk: nodes
                .iter()
                .map(|_| if dice.chance(15) { dice.range(5_000, 60_000) } else { 1_500 })
                .collect(),
            same_host: nodes.iter().map(|_| None).collect(),
            gates,
            spec,
            backlog_bytes: 1 << 20,
            with_data: 0,
            faults: vec![],
            calm_at: 0,
            end_at: 0,
            nodes,
            members,
        };
        setup.draw_hosts(dice);
        setup.draw_clients(dice);
        let (faults, calm_at) = fault::draw(&setup, &mut Dice::new(seed, 2));
        setup.calm_at = calm_at;
        setup.end_at = (calm_at + 22_000_000).max(60_000_000);
        setup.faults = faults;
        setup.draw_beginning(&mut Dice::new(seed, 5));
        setup
    }

    /// What is seldom and would hardly ever be met by itself.
    fn draw_beginning(&mut self, dice: &mut Dice) {
        if dice.chance(20) {
            self.backlog_bytes = dice.pick(&[4 << 10, 16 << 10, 64 << 10]);
        }
        let (late, with_data) = (dice.chance(4), dice.chance(3));
        if self.spec.kind == GroupKind::Redis && late {
            let m = dice.index(self.members.len());
            self.faults.insert(0, fault::late(m, dice.range(7_000_000, 12_000_000)));
        } else if self.spec.kind == GroupKind::Redis && with_data {
            self.with_data = 2;
        }
        if self.spec.kind == GroupKind::Redis && dice.chance(12) {
            self.faults.push(fault::restart_candidate(dice));
            self.faults.sort_by_key(|f| f.at);
        }
    }

    fn draw_hosts(&mut self, dice: &mut Dice) {
        for node in 0..self.nodes.len() {
            let beside: Vec<usize> =
                (0..self.members.len()).filter(|m| self.members[*m] == self.nodes[node]).collect();
            if !beside.is_empty() && dice.chance(40) {
                self.same_host[node] = Some(beside[dice.index(beside.len())]);
            }
        }
    }

    fn draw_clients(&mut self, dice: &mut Dice) {
        if self.spec.kind == GroupKind::Redis {
            for _ in 0..dice.range(1, 2) {
                let every = dice.range(40_000, 200_000);
                self.clients.push(ClientSetup { site: dice.index(SITES), gate: None, every });
            }
        }
        let gates: Vec<usize> = (0..self.nodes.len()).filter(|n| self.gates[*n]).collect();
        for _ in 0..if gates.is_empty() { 0 } else { dice.range(1, 3) } {
            let gate = gates[dice.index(gates.len())];
            let every = dice.range(40_000, 200_000);
            self.clients.push(ClientSetup { site: self.nodes[gate], gate: Some(gate), every });
        }
    }
}

fn spec(dice: &mut Dice, members: &[usize], endpoint: bool) -> GroupSpec {
    let specs = members.iter().enumerate().map(|(n, at)| {
        let (host, port) = crate::redis::member_address(n);
        MemberSpec {
            name: member(n),
            site: site(*at),
            address: Address { host, port, tls: false },
            priority: if n == 0 { 100 } else { 100 - 10 * dice.below(4) as u32 },
            probe: if endpoint { Probe::Tcp } else { Probe::Native },
        }
    });
    let members = specs.collect();
    let fence = if !endpoint && dice.chance(3) { FencePolicy::None } else { FencePolicy::Witness };
    let durability = match dice.below(10) {
        _ if endpoint || fence == FencePolicy::None => Durability::Async,
        0..=1 => Durability::Async,
        2..=5 => Durability::Local,
        _ => Durability::Site,
    };
    GroupSpec {
        name: group(),
        kind: if endpoint { GroupKind::Endpoint } else { GroupKind::Redis },
        failover: if dice.chance(94) { FailoverMode::Automatic } else { FailoverMode::Manual },
        down_after_ms: dice.pick(&[500, 1_000, 1_000, 2_000]),
        max_loss: match dice.below(4) {
            0 => LossBudget::Any,
            1 => LossBudget::Bytes(0),
            _ => LossBudget::Bytes(1 << 20),
        },
        fence,
        tail_max_bytes: 64 << 20,
        may_kill: !endpoint && dice.chance(20),
        durability,
        on_no_site: if dice.chance(50) { OnNoSite::Refuse } else { OnNoSite::Degrade },
        mirror: None,
        members,
    }
}

fn delays(dice: &mut Dice, timings: Timings) -> Vec<Vec<u64>> {
    let far = if timings.heartbeat == LAN.heartbeat {
        dice.pick(&[300, 1_000, 5_000])
    } else {
        dice.pick(&[5_000, 25_000, 45_000])
    };
    let mut delay = vec![vec![100; SITES]; SITES];
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        let one_way = dice.range(far / 2, far);
        delay[a][b] = one_way;
        delay[b][a] = one_way;
    }
    delay
}
