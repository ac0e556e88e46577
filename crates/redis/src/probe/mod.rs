//! What a member says of itself, ten times a second, and how it stops saying it.
//!
//! The problem: a dead primary must be known to be dead within milliseconds, a silent one must never be taken for a
//! dead one, and a node that watches hundreds of members must not notice the cost. The idea: one request in flight a
//! member, on a connection whose end is reported at once; a refused reconnect a moment later makes death certain. A
//! silent member keeps its connection while another is tried beside it.
//!
//! This must not know what the sightings mean for the group.

mod ask;
mod exit;
mod rate;
mod watcher;

pub(crate) use exit::{Claim, runs_here};
pub use exit::{ServerProcess, end_process};

use crate::Links;
use primacy_core::view::{MemberStatus, Reach};
use primacy_core::{Address, GroupName, MemberName, Moment};
use primacy_runtime::Task;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// What this node saw of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// In which group.
    pub group: GroupName,
    /// Which member.
    pub member: MemberName,
    /// When, by this node's monotonic clock.
    pub at: Moment,
    /// What was seen.
    pub reach: Reach,
    /// While it does not answer: the last time it did, and what it said.
    pub last_up: Option<(Moment, MemberStatus)>,
    /// The highest rate at which its offset grew over the last ten seconds, bytes a second; none while the process was
    /// watched for less than a second of them.
    pub rate_peak_bytes: Option<u64>,
}

/// Watches one member.
#[derive(Debug)]
pub struct Prober;

impl Prober {
    /// Starts to watch: a probe each `every` (at least 1 ms), a sighting for each answer, at once for each change, and
    /// each `every` while there is no answer. A probe that is unanswered for three intervals, at least 300 ms, is
    /// silence. Sightings that find `sink` full are replaced by newer ones; a closed sink ends the prober.
    pub fn spawn(
        links: &Links,
        group: GroupName,
        member: MemberName,
        address: &Address,
        every: Duration,
        sink: mpsc::Sender<Sighting>,
    ) -> ProberHandle {
        let nudge = Arc::new(Notify::new());
        let link = links.link(&group, &member, address);
        let every = every.max(Duration::from_millis(1));
        let watcher = watcher::Watcher::new(link, group, member, every, sink, nudge.clone());
        ProberHandle { nudge, _task: primacy_runtime::spawn(watcher.run()) }
    }
}

/// Dropping it stops the prober and, unless an action uses it, closes the connection.
#[derive(Debug)]
pub struct ProberHandle {
    nudge: Arc<Notify>,
    _task: Task<()>,
}

impl ProberHandle {
    /// Asks the member now instead of at the next interval.
    pub fn probe_now(&self) {
        self.nudge.notify_one();
    }
}
