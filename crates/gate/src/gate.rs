//! One gate: its tasks, and their end.

use crate::accept::Entrance;
use crate::door::{Door, Doorway};
use crate::stats::{Counters, GateStats};
use primacy_runtime::{Task, spawn, watch};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How a gate is set up.
#[derive(Clone, Debug)]
pub struct GateOptions {
    /// What the log calls it.
    pub name: String,
    /// Whether the target is told the client's address, by a PROXY protocol v2 header before the first byte.
    pub proxy_protocol: bool,
    /// More connections at a time are refused.
    pub connections_max: usize,
    /// How long connecting to the target may take, name resolution included.
    pub connect_within: Duration,
}

/// A gate that is open as long as its door says so. Dropping it closes the listener and every connection.
pub struct Gate {
    doorway: Arc<Doorway>,
    counters: Arc<Counters>,
    tasks: [Task<()>; 2],
}

impl Gate {
    /// Takes in what comes to `listener` and leads it where `door` says at the time. While `door` is `None`, over, or has
    /// no sender any more, a new connection is closed at once.
    pub fn spawn(
        listener: TcpListener,
        mut door: watch::Receiver<Option<Door>>,
        options: GateOptions,
    ) -> Gate {
        let counters = Arc::new(Counters::default());
        let doorway = Arc::new(Doorway::new(options.name.clone(), counters.clone()));
        // At once, so that whoever waits in the listener's queue is not refused.
        doorway.follow(&mut door);
        let entrance = Entrance::new(options, doorway.clone(), counters.clone());
        let keeping = spawn(doorway.clone().keep(door));
        let accepting = spawn(entrance.accept(listener));
        Gate { doorway, counters, tasks: [keeping, accepting] }
    }

    /// What it has done so far.
    pub fn stats(&self) -> GateStats {
        self.counters.snapshot()
    }

    /// Whether nothing passes and every connection is closed. Asked after its door was made `None`, it stays so until
    /// there is another door.
    pub fn is_shut(&self) -> bool {
        self.doorway.is_shut() && self.counters.open() == 0
    }

    /// The connections that are open now.
    pub fn connections(&self) -> usize {
        self.counters.open()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.tasks.iter().for_each(Task::abort);
        self.doorway.close();
    }
}
