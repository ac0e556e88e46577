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
    /// Switchovers, for each side.
    pub(crate) switchover_rounds: usize,
    pub(crate) watch: WatchPlan,
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
            rate_rounds: 5,
            rate_bounds: Bounds {
                warm_up: Duration::from_secs(1),
                window: Duration::from_secs(5),
                calls_max: 1_000_000,
            },
            takeover_rounds: 9,
            failover_rounds: 9,
            switchover_rounds: 15,
            watch: WatchPlan {
                groups: 100,
                members: 3,
                windows: 4,
                window: Duration::from_secs(5),
                settle: Duration::from_secs(10),
            },
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
            switchover_rounds: 2,
            watch: WatchPlan {
                groups: 10,
                members: 3,
                windows: 2,
                window: Duration::from_secs(1),
                settle: Duration::from_secs(2),
            },
        }
    }
}
