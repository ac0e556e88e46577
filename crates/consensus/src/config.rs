//! What a node is told about itself and the cluster.

use primacy_core::{NodeId, SiteName};
use std::path::PathBuf;
use std::time::Duration;

/// How many entries a node may lack and still count as caught up.
pub(crate) const CAUGHT_UP_ENTRIES: u64 = 10;

/// What a node needs to take part.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Its site.
    pub site: SiteName,
    /// Where other nodes reach it, `host:port`.
    pub address: String,
    /// The cluster's name; nodes of another one are refused.
    pub cluster: String,
    /// The nodes that found the cluster, the same on each of them. A node that is not among them waits to be added.
    pub founding: Vec<Peer>,
    /// How fast a dead leader is noticed.
    pub timings: Timings,
    /// Where the log is kept.
    pub data_dir: PathBuf,
    /// A snapshot is taken, and the log before it dropped, after so many entries.
    pub snapshot_every: u64,
}

/// Another node, or this one, as the cluster is to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id, never used again for another data directory.
    pub id: NodeId,
    /// Its site.
    pub site: SiteName,
    /// Where it is reached, `host:port`.
    pub address: String,
}

/// The timings of elections. A dead leader is replaced after `election_max` plus a random time between
/// `election_min` and `election_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How often the leader is heard. Longer than the round trip to the farthest site; a third of `election_min` at
    /// most.
    pub heartbeat: Duration,
    /// The least patience with a silent leader.
    pub election_min: Duration,
    /// The most patience, and the length of the leader's lease.
    pub election_max: Duration,
}

impl Timings {
    /// How long after a quorum's answer the leader trusts it: the followers refuse other candidates for
    /// `election_max`, by their own clocks, which may run one percent faster.
    pub(crate) fn lease(&self) -> Duration {
        self.election_max * 99 / 100
    }

    /// How long an answer to a request on an open stream may take before the stream is given up.
    pub(crate) fn stall(&self) -> Duration {
        self.election_max.max(Duration::from_millis(500))
    }
}

fn ms(duration: Duration) -> u64 {
    (duration.as_millis() as u64).max(1)
}

impl Config {
    pub(crate) fn raft(&self) -> Result<openraft::Config, openraft::ConfigError> {
        let Timings { heartbeat, election_min, election_max } = self.timings;
        openraft::Config {
            cluster_name: self.cluster.clone(),
            heartbeat_interval: ms(heartbeat),
            election_timeout_min: ms(election_min),
            election_timeout_max: ms(election_max),
            install_snapshot_timeout: 60_000,
            // A follower that lags further than this takes a snapshot; it must be more than a snapshot leaves behind.
            replication_lag_threshold: self.snapshot_every.saturating_mul(2).max(5_000),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_every.max(1)),
            max_in_snapshot_log_to_keep: (self.snapshot_every / 2).min(1_000),
            purge_batch_size: 64,
            enable_pre_vote: Some(true),
            // Two voters that see each other, but not all of the leader's quorum, get the time to elect another.
            quorum_loss_probe_interval: Some(2 * ms(election_max)),
            // Long enough for the commit to reach the others before the removed leader hands over.
            removed_leader_step_down: openraft::StepDownPolicy::After(ms(heartbeat)),
            // A restarted leader has lost its lease with its memory: it asks for votes like everyone else.
            enable_leader_restore: Some(false),
            backoff: "20ms 50ms 100ms ...500ms".to_owned(),
            ..openraft::Config::default()
        }
        .validate()
    }

    pub(crate) fn founds(&self) -> bool {
        self.founding.iter().any(|peer| peer.id == self.node)
    }
}
