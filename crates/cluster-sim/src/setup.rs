//! What a seed draws before anything runs: how many nodes, how far apart, how slow their disks are, how their clocks
//! drift, and how the executor takes its turns.

use crate::defect::Defect;
use crate::disk::{Lies, Speed};
use crate::executor::Pace;
use crate::net::Weather;
use primacy_consensus::{Config, Peer, Timings};
use primacy_core::{NodeId, SiteName};
use primacy_sim::Dice;
use std::path::PathBuf;
use std::time::Duration;

/// How far two clocks may differ in pace: the leases allow for one percent.
const DRIFT_PPM_MAX: u64 = 4_000;

/// The timings of all runs.
pub(crate) const TIMINGS: Timings = Timings {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(400),
    election_max: Duration::from_millis(800),
};

/// The world of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The seed.
    pub(crate) seed: u64,
    /// How many nodes found the cluster.
    pub(crate) nodes: u64,
    /// How the executor takes its turns.
    pub(crate) pace: Pace,
    /// The network at its best.
    pub(crate) weather: Weather,
    /// The disks at their best.
    pub(crate) speed: Speed,
    /// What disks lie about.
    pub(crate) lies: Lies,
    /// How many entries a snapshot is taken after.
    pub(crate) snapshot_every: u64,
    /// How many clients there are.
    pub(crate) clients: u64,
    /// A client's longest pause, in milliseconds.
    pub(crate) pause_max_ms: u64,
    /// When the faults are over, in microseconds.
    pub(crate) calm_us: u64,
}

impl Setup {
    /// The world of `seed`.
    pub(crate) fn new(seed: u64, defect: Option<Defect>) -> Self {
        let mut dice = Dice::new(seed, 100);
        let delay_min_us = dice.pick(&[50, 300, 2_000, 15_000]);
        let sync_min_us = dice.pick(&[20, 200, 2_000]);
        Self {
            seed,
            nodes: dice.pick(&[3, 3, 5]),
            pace: Pace { in_order: dice.chance(20), step_us: dice.pick(&[0, 0, 1, 7]) },
            weather: Weather {
                delay_min_us,
                delay_max_us: delay_min_us * dice.range(1, 3),
                loss_percent: dice.pick(&[0, 0, 1]),
            },
            speed: Speed { sync_min_us, sync_max_us: sync_min_us * dice.range(1, 10) },
            lies: Lies {
                about_votes: defect == Some(Defect::LostVote),
                about_entries: defect == Some(Defect::LostEntry),
            },
            snapshot_every: dice.pick(&[20, 60, 1_000]),
            clients: dice.range(1, 4),
            pause_max_ms: dice.pick(&[40, 150, 500]),
            calm_us: 1_000_000 * dice.range(12, 24),
        }
    }

    /// What `node` is told.
    pub(crate) fn config(&self, node: u64) -> Option<Config> {
        let founding = (1..=self.nodes).map(peer).collect::<Option<Vec<_>>>()?;
        let me = peer(node)?;
        Some(Config {
            node: me.id,
            site: me.site,
            address: me.address,
            cluster: "simulated".to_owned(),
            founding,
            timings: TIMINGS,
            data_dir: PathBuf::new(),
            snapshot_every: self.snapshot_every,
        })
    }

    /// How many millionths too fast the clock of `node` runs.
    pub(crate) fn drift_ppm(&self, node: u64, defect: Option<Defect>) -> i64 {
        if defect == Some(Defect::SlowClock) && node == 1 {
            return -100_000;
        }
        Dice::new(self.seed, 300 + node).below(2 * DRIFT_PPM_MAX + 1).cast_signed()
            - DRIFT_PPM_MAX.cast_signed()
    }
}

/// A node as the others know it.
pub(crate) fn peer(node: u64) -> Option<Peer> {
    let site = SiteName::new(format!("site-{node}")).ok()?;
    Some(Peer { id: NodeId(node), site, address: format!("node-{node}:7000") })
}
