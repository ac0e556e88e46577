//! How often and how long: for figures that count, and for a look whether everything still runs.

use std::time::Duration;

use crate::closed_loop::Bounds;

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of commits and of reads, for each side.
    pub(crate) rate_rounds: usize,
    pub(crate) rate_bounds: Bounds,
    /// Killed leaders, for each side.
    pub(crate) takeover_rounds: usize,
    /// Killed primaries, for each side.
    pub(crate) failover_rounds: usize,
    /// The same, of sites that are far apart; of the peer, half as many.
    pub(crate) wan_failover_rounds: usize,
    /// Frozen primaries, for each side and setting.
    pub(crate) freeze_rounds: usize,
    /// Primaries that are cut off, for each number of members.
    pub(crate) cut_rounds: usize,
    /// The same together with the leader.
    pub(crate) cut_leader_rounds: usize,
    /// Switchovers, for each side.
    pub(crate) switchover_rounds: usize,
    pub(crate) watch: WatchPlan,
    pub(crate) benchmark: BenchmarkPlan,
    pub(crate) kafka: KafkaPlan,
}

/// How much is mirrored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KafkaPlan {
    /// Copies, for each side and kind.
    pub(crate) rounds: usize,
    /// Of 100 bytes each; of larger ones, a fifth.
    pub(crate) records: u64,
    /// For how long lag is sampled.
    pub(crate) lag_seconds: u64,
}

/// How much `redis-benchmark` does, each time for each side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BenchmarkPlan {
    pub(crate) rounds: usize,
    /// Requests of many clients with a pipeline.
    pub(crate) pipelined: u32,
    /// Requests of one client, one by one.
    pub(crate) single: u32,
    /// Round trips over a WAN of each of the clients there.
    pub(crate) far: u32,
}

/// How much a node watches, and how long it is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchPlan {
    pub(crate) groups: usize,
    /// One at each of so many sites.
    pub(crate) members: usize,
    pub(crate) windows: usize,
    pub(crate) window: Duration,
    /// Before the first window.
    pub(crate) settle: Duration,
}

impl Plan {
    /// For figures that count.
    pub(crate) fn full() -> Self {
        Self {
            rate_rounds: 3,
            rate_bounds: Bounds {
                warm_up: Duration::from_secs(1),
                window: Duration::from_secs(4),
                calls_max: 1_000_000,
            },
            takeover_rounds: 5,
            failover_rounds: 4,
            wan_failover_rounds: 6,
            freeze_rounds: 3,
            cut_rounds: 3,
            cut_leader_rounds: 3,
            switchover_rounds: 9,
            watch: WatchPlan {
                groups: 100,
                members: 3,
                windows: 4,
                window: Duration::from_secs(5),
                settle: Duration::from_secs(10),
            },
            benchmark: BenchmarkPlan { rounds: 4, pipelined: 400_000, single: 20_000, far: 40 },
            kafka: KafkaPlan { rounds: 3, records: 1_000_000, lag_seconds: 8 },
        }
    }

    /// Whether everything still runs; its figures mean little.
    pub(crate) fn quick() -> Self {
        Self {
            rate_rounds: 1,
            rate_bounds: Bounds {
                warm_up: Duration::from_millis(200),
                window: Duration::from_secs(1),
                calls_max: 1_000_000,
            },
            takeover_rounds: 1,
            failover_rounds: 1,
            wan_failover_rounds: 1,
            freeze_rounds: 1,
            cut_rounds: 1,
            cut_leader_rounds: 0,
            switchover_rounds: 2,
            watch: WatchPlan {
                groups: 10,
                members: 3,
                windows: 2,
                window: Duration::from_secs(1),
                settle: Duration::from_secs(2),
            },
            benchmark: BenchmarkPlan { rounds: 1, pipelined: 100_000, single: 5_000, far: 20 },
            kafka: KafkaPlan { rounds: 1, records: 200_000, lag_seconds: 3 },
        }
    }
}
