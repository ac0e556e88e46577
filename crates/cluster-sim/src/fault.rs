//! What goes wrong, drawn from the seed before the run: each kind may be left out of a seed altogether, so that the
//! others meet in ever other company.

use crate::cluster::Cluster;
use crate::disk::Speed;
use crate::net::Weather;
use crate::operator;
use crate::setup::Setup;
use primacy_sim::Dice;
use std::fmt;
use std::time::Duration;

/// Whom a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Who leads at that moment, or the first node.
    Leader,
    /// This founding node.
    Node(u64),
}

/// A fault, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins, in microseconds.
    pub(crate) at_us: u64,
    /// How long it lasts, in microseconds.
    pub(crate) lasts_us: u64,
    /// Whom it strikes.
    pub(crate) whom: Whom,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Cut off from all others, both ways, alone or with another.
    Isolate {
        /// With the node after it.
        with_next: bool,
    },
    /// Nobody hears it, or it hears nobody.
    OneWay {
        /// Whether it is the one that is not heard.
        mute: bool,
    },
    /// Cut and mended all the time.
    Flap {
        /// Half a turn, in milliseconds.
        half_ms: u64,
    },
    /// All its messages take so long.
    Slow {
        /// Milliseconds, at most.
        ms: u64,
    },
    /// So many of a hundred messages of all are sent again.
    Loss {
        /// Of a hundred.
        percent: u64,
    },
    /// Its process is killed, and started again at the end.
    Kill,
    /// Its host loses its power.
    PowerLoss,
    /// All hosts do.
    Blackout,
    /// It stands still.
    Freeze,
    /// Each sync of its disk takes so long; of all disks, where `all`.
    SlowDisk {
        /// Milliseconds, at most.
        ms: u64,
        /// Every disk.
        all: bool,
    },
    /// Something in between ends all silent lines in order.
    EndLines,
    /// Leadership is handed over.
    Transfer {
        /// To the node struck, instead of whoever is closest.
        named: bool,
    },
    /// Everyone takes a snapshot.
    Snapshot,
    /// A new node takes its place.
    Replace,
    /// Its disk is emptied, and a new node takes its place.
    Empty,
    /// It and one other hear each other no more; the rest hears both.
    Pair {
        /// Instead, only the other hears it no more.
        one_way: bool,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at_us as f64 / 1e6, self.lasts_us as f64 / 1e6);
        write!(f, "{at:.3} s for {lasts:.3} s, {:?}: {:?}", self.whom, self.kind)
    }
}

/// How many kinds there are.
const KINDS: u64 = 16;

impl Kind {
    fn draw(dice: &mut Dice, number: u64) -> Kind {
        match number {
            0 => Kind::Isolate { with_next: dice.chance(30) },
            1 => Kind::OneWay { mute: dice.chance(50) },
            2 => Kind::Flap { half_ms: dice.pick(&[50, 300, 900]) },
            3 => Kind::Slow { ms: dice.pick(&[60, 300, 1_500]) },
            4 => Kind::Loss { percent: dice.pick(&[5, 30]) },
            5 => Kind::Kill,
            6 => Kind::PowerLoss,
            7 => Kind::Blackout,
            8 => Kind::Freeze,
            9 => Kind::SlowDisk { ms: dice.pick(&[50, 400, 2_000]), all: dice.chance(50) },
            10 => Kind::EndLines,
            11 => Kind::Transfer { named: dice.chance(50) },
            12 => Kind::Snapshot,
            13 => Kind::Replace,
            14 => Kind::Empty,
            _ => Kind::Pair { one_way: dice.chance(40) },
        }
    }

    /// The name under which it is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Isolate { .. } => "isolate",
            Kind::OneWay { .. } => "one_way",
            Kind::Flap { .. } => "flap",
            Kind::Slow { .. } => "slow",
            Kind::Loss { .. } => "loss",
            Kind::Kill => "kill",
            Kind::PowerLoss => "power_loss",
            Kind::Blackout => "blackout",
            Kind::Freeze => "freeze",
            Kind::SlowDisk { .. } => "slow_disk",
            Kind::EndLines => "end_lines",
            Kind::Transfer { .. } => "transfer",
            Kind::Snapshot => "snapshot",
            Kind::Replace => "replace",
            Kind::Empty => "empty",
            Kind::Pair { .. } => "pair",
        }
    }
}

/// When nothing has begun to go wrong yet, in microseconds.
const QUIET_US: u64 = 2_000_000;

/// The faults of a seed.
pub(crate) fn plan(setup: &Setup) -> Vec<Fault> {
    let mut dice = Dice::new(setup.seed, 105);
    let allowed: Vec<u64> = (0..KINDS).filter(|_| dice.chance(55)).collect();
    let count = if allowed.is_empty() { 0 } else { dice.range(3, 12) };
    let mut faults: Vec<Fault> = (0..count)
        .map(|_| {
            let at_us = dice.range(QUIET_US, setup.calm_us);
            let lasts_us = dice.pick(&[30_000, 500_000, 1_500_000, 4_000_000]) * dice.range(50, 150) / 100;
            let whom = if dice.chance(50) { Whom::Leader } else { Whom::Node(1 + dice.below(setup.nodes)) };
            let number = dice.pick(&allowed);
            let kind = Kind::draw(&mut dice, number);
            Fault { at_us, lasts_us: lasts_us.min(setup.calm_us - at_us), whom, kind }
        })
        .collect();
    faults.sort_by_key(|fault| fault.at_us);
    faults
}

/// Lets `fault` happen, and puts right what it did.
pub(crate) async fn strike(cluster: Cluster, fault: Fault) {
    let executor = cluster.executor().clone();
    executor.sleep_until_us(fault.at_us).await;
    let node = match fault.whom {
        Whom::Node(node) => node,
        Whom::Leader => cluster.leading().map_or(1, |leader| leader.0),
    };
    cluster.checker().count(fault.kind.name());
    cluster.tell(|| format!("-- node {node}: {:?}", fault.kind));
    let over = executor.sleep_until_us(fault.at_us + fault.lasts_us);
    let others: Vec<u64> = cluster.known().into_iter().filter(|other| *other != node).collect();
    match fault.kind {
        Kind::Isolate { with_next } => {
            let next = if with_next { others.iter().find(|other| **other > node).copied() } else { None };
            let far: Vec<u64> = others.into_iter().filter(|other| Some(*other) != next).collect();
            let ways: Vec<(u64, u64)> = far
                .iter()
                .flat_map(|other| [Some(node), next].into_iter().flatten().map(|near| (near, *other)))
                .flat_map(|(near, other)| [(near, other), (other, near)])
                .collect();
            cut(&cluster, &ways);
            over.await;
            mend(&cluster, &ways);
        }
        Kind::Pair { one_way } => {
            let Some(other) = others.iter().find(|other| **other > node).or(others.first()) else { return };
            let there = (node, *other);
            let ways = if one_way { vec![there] } else { vec![there, (*other, node)] };
            cut(&cluster, &ways);
            over.await;
            mend(&cluster, &ways);
        }
        Kind::OneWay { mute } => {
            let ways: Vec<(u64, u64)> =
                others.iter().map(|other| if mute { (node, *other) } else { (*other, node) }).collect();
            cut(&cluster, &ways);
            over.await;
            mend(&cluster, &ways);
        }
        Kind::Flap { half_ms } => {
            let ways: Vec<(u64, u64)> =
                others.iter().flat_map(|other| [(node, *other), (*other, node)]).collect();
            while executor.now_us() < fault.at_us + fault.lasts_us {
                cut(&cluster, &ways);
                primacy_runtime::sleep(Duration::from_millis(half_ms)).await;
                mend(&cluster, &ways);
                primacy_runtime::sleep(Duration::from_millis(half_ms)).await;
            }
        }
        Kind::Slow { ms } => {
            let weather = Weather { delay_max_us: ms * 1_000, ..cluster.setup().weather };
            weathered(&cluster, node, &others, weather, over).await;
        }
        Kind::Loss { percent } => {
            let weather = Weather { loss_percent: percent, ..cluster.setup().weather };
            weathered(&cluster, node, &others, weather, over).await;
        }
        Kind::Kill | Kind::PowerLoss => {
            cluster.kill(node, fault.kind == Kind::PowerLoss);
            over.await;
            cluster.start(node);
        }
        Kind::Blackout => {
            let all = cluster.known();
            for node in &all {
                cluster.kill(*node, true);
            }
            over.await;
            for node in &all {
                cluster.start(*node);
            }
        }
        Kind::Freeze => {
            cluster.freeze(node);
            over.await;
            cluster.thaw(node);
        }
        Kind::SlowDisk { ms, all } => {
            let struck = if all { cluster.known() } else { vec![node] };
            let slow = Speed { sync_max_us: ms * 1_000, ..cluster.setup().speed };
            for node in &struck {
                cluster.disk(*node).set_speed(slow);
            }
            over.await;
            for node in &struck {
                cluster.disk(*node).set_speed(cluster.setup().speed);
            }
        }
        Kind::EndLines => cluster.net().end_lines(),
        Kind::Transfer { named } => operator::transfer(&cluster, named.then_some(node)).await,
        Kind::Snapshot => {
            for living in cluster.living() {
                let taking = cluster.clone();
                cluster.beside(async move { operator::snapshot(&taking, &living).await });
            }
        }
        Kind::Replace => operator::replace(&cluster, node).await,
        Kind::Empty => empty(&cluster, node).await,
    }
}

fn cut(cluster: &Cluster, ways: &[(u64, u64)]) {
    for (from, to) in ways {
        cluster.net().cut(*from, *to);
    }
}

fn mend(cluster: &Cluster, ways: &[(u64, u64)]) {
    for (from, to) in ways {
        cluster.net().mend(*from, *to);
    }
}

async fn weathered(
    cluster: &Cluster,
    node: u64,
    others: &[u64],
    weather: Weather,
    over: impl Future<Output = ()>,
) {
    let ways = || others.iter().flat_map(|other| [(node, *other), (*other, node)]);
    ways().for_each(|(from, to)| cluster.net().set_weather(from, to, Some(weather)));
    over.await;
    ways().for_each(|(from, to)| cluster.net().set_weather(from, to, None));
}

/// Only one in a run, and only one whom the cluster knows: before that nobody could tell.
async fn empty(cluster: &Cluster, node: u64) {
    if cluster.any_emptied() || !operator::is_registered(cluster, node).await {
        return;
    }
    cluster.kill(node, false);
    cluster.empty(node);
    cluster.checker().count("emptied");
    cluster.start(node);
    operator::replace(cluster, node).await;
}
