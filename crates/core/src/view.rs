//! What the leader sees: soft state, gathered from all nodes, never in the log.

mod cluster;
mod mirror;
mod news;

pub use cluster::{ClusterStatus, PartitionList};
pub use mirror::{MirrorItem, MirrorLag, MirrorMode, MirrorReport};

use crate::{
    ActionKey, Address, Epoch, Group, GroupKind, GroupName, Lineage, MemberName, Moment, NodeId, SiteName,
    Term,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A replica as the primary lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedReplica {
    /// The address that the replica announced.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the primary counts it as online.
    pub online: bool,
    /// The last offset it acknowledged.
    pub offset_bytes: u64,
}

/// The role a server reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// It is a primary by its own account.
    Primary {
        /// Who is attached.
        replicas: Vec<AttachedReplica>,
    },
    /// It replicates from somebody.
    Replica {
        /// The host it is pointed at.
        host: String,
        /// The port it is pointed at.
        port: u16,
        /// Whether the link is up.
        link_up: bool,
        /// How far it has read its source's stream, a command cut off in the middle included where the server says it.
        read_offset_bytes: u64,
        /// Whether it refuses writes of clients.
        read_only: bool,
    },
    /// It is an endpoint, which knows of no roles: it answers, and that is all.
    Endpoint,
    /// It is a Kafka cluster, whose role nobody but us knows.
    Cluster(Box<ClusterStatus>),
}

/// What becomes of a server when it restarts, by its configuration on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootFence {
    /// It refuses writes and is nobody's replica until it is told otherwise.
    Fenced,
    /// It may accept writes, or follow somebody by itself.
    Open {
        /// What its configuration says, or does not say.
        why: String,
    },
    /// That cannot be found out by the node that says so.
    Unproven {
        /// What is in the way.
        why: String,
    },
}

/// What a server said of itself in one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Changes with every start of the process.
    pub run_id: String,
    /// Process id on its host.
    pub pid: u32,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// Such as `7.0.15`.
    pub version: String,
    /// Role and what goes with it.
    pub role: MemberRole,
    /// The replication id of its history.
    pub replid: String,
    /// The history before the last promotion, where it has one, valid up to `second_offset_bytes`.
    pub replid2: Option<String>,
    /// Up to where `replid2` holds; 0 without one.
    pub second_offset_bytes: u64,
    /// Bytes of its replication stream.
    pub offset_bytes: u64,
    /// `min-replicas-to-write`: an open primary has a low one, a shut member 1000000.
    pub min_replicas: u64,
    /// Whether it notices silent replicas within the passive bound: `min-replicas-max-lag` is 1 and `repl-timeout` at
    /// most 2.
    pub notices_silence: bool,
    /// Whether it is still loading its data.
    pub loading: bool,
    /// Number of keys in all databases.
    pub keys: u64,
    /// Client connections.
    pub clients: u64,
    /// How many listen to what Redis Sentinels tell each other by it: each Sentinel that watches it does.
    pub sentinels: u64,
    /// What becomes of it when it restarts, as far as the node that asked it can tell.
    pub boot: BootFence,
    /// Round trip of the probe in microseconds.
    pub rtt_us: u64,
}

/// `min-replicas-to-write` of a member that is kept shut.
pub const SHUT_MIN_REPLICAS: u64 = 1_000_000;

impl MemberStatus {
    /// What is known of an endpoint that answered: nothing but that.
    pub fn endpoint(rtt_us: u64) -> MemberStatus {
        MemberStatus {
            run_id: String::new(),
            pid: 0,
            uptime_s: 0,
            version: String::new(),
            role: MemberRole::Endpoint,
            replid: String::new(),
            replid2: None,
            second_offset_bytes: 0,
            offset_bytes: 0,
            min_replicas: 0,
            notices_silence: true,
            loading: false,
            keys: 0,
            clients: 0,
            sentinels: 0,
            boot: BootFence::Fenced,
            rtt_us,
        }
    }

    /// What a Kafka cluster answered. Its id stands for the process that a server is: nothing else tells one from another.
    pub fn cluster(cluster_id: String, version: String, status: ClusterStatus, rtt_us: u64) -> MemberStatus {
        MemberStatus {
            run_id: cluster_id,
            version,
            role: MemberRole::Cluster(Box::new(status)),
            ..MemberStatus::endpoint(rtt_us)
        }
    }

    /// What it says as a Kafka cluster.
    pub fn as_cluster(&self) -> Option<&ClusterStatus> {
        match &self.role {
            MemberRole::Cluster(status) => Some(status),
            MemberRole::Primary { .. } | MemberRole::Replica { .. } | MemberRole::Endpoint => None,
        }
    }

    /// Whether it would accept a client's write, by its own account.
    pub fn accepts_writes(&self) -> bool {
        match &self.role {
            MemberRole::Primary { replicas } => {
                let online = replicas.iter().filter(|r| r.online).count() as u64;
                self.min_replicas <= online
            }
            MemberRole::Replica { read_only, .. } => !read_only,
            MemberRole::Endpoint | MemberRole::Cluster(_) => false,
        }
    }

    /// Whether it counts the replica at that address, by its own list.
    pub fn counts(&self, address: &Address) -> bool {
        match &self.role {
            MemberRole::Primary { replicas } => {
                replicas.iter().any(|r| r.online && r.host == address.host && r.port == address.port)
            }
            MemberRole::Replica { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => false,
        }
    }

    /// How many replicas it counts.
    pub fn replicas_online(&self) -> u64 {
        match &self.role {
            MemberRole::Primary { replicas } => replicas.iter().filter(|r| r.online).count() as u64,
            MemberRole::Replica { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => 0,
        }
    }

    /// How far its own data reaches: what it would have as primary.
    pub fn reach_bytes(&self) -> u64 {
        match &self.role {
            MemberRole::Primary { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => self.offset_bytes,
            MemberRole::Replica { read_offset_bytes, .. } => (*read_offset_bytes).max(self.offset_bytes),
        }
    }

    /// Whether it is a primary by its own account.
    pub fn is_primary(&self) -> bool {
        matches!(self.role, MemberRole::Primary { .. })
    }
}

/// How an established connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// By EOF: the peer's kernel closed it.
    Eof,
    /// By a reset, or another socket error.
    Reset,
    /// We gave up waiting for an answer.
    Unanswered,
}

/// How the last attempt to connect went, since the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nobody listens.
    Refused,
    /// No answer to the attempt, or no route.
    Unreachable,
    /// The name does not resolve.
    NameUnknown,
    /// TCP works and the protocol does not: wrong password, TLS mismatch, not Redis.
    Protocol,
}

/// What a node knows of a member at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answered.
    Up(MemberStatus),
    /// It did not, at this moment.
    Down {
        /// Since when this node finds it down: when the connection ended, or the first probe that was not answered.
        since: Moment,
        /// How the last established connection ended; none when there never was one, or it is still open and silent.
        ended: Option<LinkEnd>,
        /// How the last attempt to connect since then failed; none when none was finished.
        connect: Option<ConnectFailure>,
        /// The process that is known to be gone: seen by a node on the same host.
        exited_pid: Option<u32>,
        /// The error in words, for status.
        detail: String,
    },
}

/// What one node saw of one member, in the leader's monotonic time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it was made, by the leader's clock, or before: what comes from another node is dated no later than it was sent.
    pub at: Moment,
    /// What was seen.
    pub reach: Reach,
    /// The last time it answered, and what it said; kept while it is down.
    pub last_up: Option<(Moment, MemberStatus)>,
    /// The highest rate at which its offset grew over the last ten seconds, bytes a second; none while it was not watched
    /// for long enough to say.
    pub rate_peak_bytes: Option<u64>,
}

impl Observation {
    /// What it said, if it answered.
    pub fn status(&self) -> Option<&MemberStatus> {
        match &self.reach {
            Reach::Up(status) => Some(status),
            Reach::Down { .. } => None,
        }
    }
}

/// An action that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How often in a row.
    pub count: u32,
    /// When last.
    pub at: Moment,
    /// What went wrong.
    pub message: String,
    /// Whether the same attempt can never work: the server is of another history, refuses our rights, ...
    pub permanent: bool,
}

/// What a node that guards a primary says of its witness connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessReport {
    /// When it was made, by the leader's clock.
    pub at: Moment,
    /// The primary's epoch that it is witness of.
    pub epoch: Epoch,
    /// Whether the primary streams to it and it acknowledges.
    pub attached: bool,
    /// How the last connection ended; none while it is open, or where there never was one.
    pub ended: Option<LinkEnd>,
    /// Whether it was closed by its node.
    pub closed: bool,
    /// The history of the tail; none before the first attachment.
    pub replid: Option<String>,
    /// The offset before the first byte that is kept.
    pub start_bytes: u64,
    /// The offset of the last byte that it received.
    pub end_bytes: u64,
    /// When that byte came, by the leader's clock.
    pub heard_at: Moment,
    /// How many full copies it was forced to take and threw away.
    pub copies: u64,
}

/// What a node at another site than the primary's says of the copy of the stream that it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderReport {
    /// When it was made, by the leader's clock.
    pub at: Moment,
    /// The primary's epoch whose stream it is.
    pub epoch: Epoch,
    /// The history of the copy; none before its first byte.
    pub replid: Option<String>,
    /// The offset before the first byte that is kept.
    pub start_bytes: u64,
    /// The offset of the last byte that it has.
    pub end_bytes: u64,
    /// Whether it takes nothing more.
    pub sealed: bool,
    /// Whether it acknowledges what it takes in: it hears the witness, and its copy joins what a candidate holds.
    pub covers: bool,
    /// Since when it does, or does not.
    pub since: Moment,
}

/// What a node says of its gates of a group that has no fence but them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateReport {
    /// When it was made, by the leader's clock.
    pub at: Moment,
    /// The last epoch that the node knows of in this group.
    pub epoch: Epoch,
    /// Whether anything may still pass through them. Once a node that knows of a transition's intent says that nothing
    /// does, nothing will before the transition is over.
    pub open: bool,
}

/// The times that the safety argument rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SafetyTimes {
    /// How long a lease holds after it was asked for.
    pub lease_ttl: Duration,
    /// What clocks and schedulers may add to it.
    pub lease_margin: Duration,
    /// After so long a primary has noticed that a replica is silent, whatever it had received from it.
    pub passive_bound: Duration,
}

impl SafetyTimes {
    /// `ttl` with its margin (1 % of drift, 100 ms of scheduling), and the passive bound of Redis with
    /// `min-replicas-max-lag` 1 and `repl-timeout` 2: both count whole seconds.
    pub fn of(lease_ttl: Duration) -> SafetyTimes {
        SafetyTimes {
            lease_ttl,
            lease_margin: lease_ttl / 100 + Duration::from_millis(100),
            passive_bound: Duration::from_millis(3_200),
        }
    }

    /// From when on nobody relies on a lease that was granted at `granted`.
    pub fn lease_over(&self, granted: Moment) -> Moment {
        granted.after(self.lease_ttl + self.lease_margin)
    }
}

impl Default for SafetyTimes {
    fn default() -> Self {
        SafetyTimes::of(Duration::from_secs(3))
    }
}

/// All that the leader sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// Its term as leader.
    pub term: Term,
    /// Since when it leads.
    pub leading_since: Moment,
    /// The voting nodes and their sites.
    pub nodes: BTreeMap<NodeId, SiteName>,
    /// The nodes that do not vote. They may hold leases like all others.
    pub learners: BTreeSet<NodeId>,
    /// When the leader last heard from a node, itself included.
    pub heard: BTreeMap<NodeId, Moment>,
    /// What each node saw of each member.
    pub seen: BTreeMap<(GroupName, MemberName), BTreeMap<NodeId, Observation>>,
    /// The furthest answer of a group's primary in its own lineage. A process that was restarted speaks of another
    /// history, and must not make us forget this one.
    pub last_of_primary: BTreeMap<GroupName, (Moment, MemberStatus)>,
    /// How fast each node saw the stream of which process grow, when that was the group's primary: bytes a second at the
    /// peak of the ten seconds before its last answer. Whatever answers in its place later has a rate of its own.
    pub rates: BTreeMap<(GroupName, NodeId), (String, u64)>,
    /// Actions that run at the moment.
    pub running: BTreeSet<ActionKey>,
    /// How actions failed, until they work or their epoch is over.
    pub failures: BTreeMap<ActionKey, Failure>,
    /// The times that the safety argument rests on.
    pub times: SafetyTimes,
    /// When a lease on a group's primary was last granted to a node by this leader.
    pub granted: BTreeMap<(GroupName, NodeId), Moment>,
    /// Of these, when it was last one to be the witness: a gate beside a former witness goes on holding leases.
    pub witness_granted: BTreeMap<(GroupName, NodeId), (Epoch, Moment)>,
    /// What the nodes that guard say of their witness connections.
    pub witnesses: BTreeMap<(GroupName, NodeId), WitnessReport>,
    /// What the nodes say of the copies of a stream that they keep for another site. They are no witnesses: no primary
    /// counts them.
    pub holders: BTreeMap<(GroupName, NodeId), HolderReport>,
    /// What the nodes say of the mirrors into members that they run.
    pub mirrors: BTreeMap<(GroupName, MemberName), BTreeMap<NodeId, MirrorReport>>,
    /// To whom, and when, a lease to run the mirror into a member was last granted by this leader.
    pub mirror_granted: BTreeMap<(GroupName, MemberName), (NodeId, Moment)>,
    /// Since when the present holder of a group, none included, and its being degraded are known here.
    pub holder_since: BTreeMap<GroupName, Moment>,
    /// What the nodes say of their gates, with or without one, of groups that have no fence but them.
    pub gates: BTreeMap<(GroupName, NodeId), GateReport>,
    /// Since when a member of the fence quorum is not attached to the primary, by the primary's own list.
    pub unattached: BTreeMap<(GroupName, MemberName), Moment>,
    /// When actions last worked: what was observed before is out of date.
    pub done: BTreeMap<ActionKey, Moment>,
    /// Since when the present primary of a group is known here.
    pub primary_since: BTreeMap<GroupName, Moment>,
    /// Since when the present phase of a group's transition is known here.
    pub phase_since: BTreeMap<GroupName, Moment>,
}

impl View {
    /// Takes in what a node saw of a member of `group`.
    pub fn record(&mut self, group: &Group, member: &MemberName, node: NodeId, observation: Observation) {
        let name = &group.spec.name;
        if let Some(primary) = group.primary.as_ref().filter(|p| p.member == *member) {
            let answer = match &observation.reach {
                Reach::Up(status) => Some((observation.at, status)),
                Reach::Down { .. } => observation.last_up.as_ref().map(|(at, status)| (*at, status)),
            };
            let ours = |s: &MemberStatus| is_the_one(s, &primary.lineage);
            if let (Some((_, status)), Some(rate)) =
                (answer.filter(|(_, s)| ours(s)), observation.rate_peak_bytes)
            {
                match self.rates.get_mut(&(name.clone(), node)) {
                    Some((run_id, known)) if *run_id == status.run_id => *known = rate,
                    Some(_) | None => {
                        self.rates.insert((name.clone(), node), (status.run_id.clone(), rate));
                    }
                }
            }
            let known = self.last_of_primary.get(name);
            let known = known.filter(|(_, s)| ours(s)).map(|(at, s)| (s.offset_bytes, *at));
            match answer.filter(|(_, s)| ours(s)) {
                Some((at, status)) if known.is_none_or(|k| k < (status.offset_bytes, at)) => {
                    self.last_of_primary.insert(name.clone(), (at, status.clone()));
                }
                Some(_) | None => {}
            }
        }
        let counts = group.spec.kind == GroupKind::Redis;
        if counts && group.primary.as_ref().is_some_and(|p| p.member == *member) {
            self.note_attached(group, &observation);
        }
        self.seen.entry((name.clone(), member.clone())).or_default().insert(node, observation);
    }

    /// Remembers since when members of the fence quorum are missing from the primary's list.
    fn note_attached(&mut self, group: &Group, observation: &Observation) {
        let Reach::Up(status) = &observation.reach else { return };
        for spec in &group.spec.members {
            let key = (group.spec.name.clone(), spec.name.clone());
            if status.counts(&spec.address) {
                self.unattached.remove(&key);
            } else {
                self.unattached.entry(key).or_insert(observation.at);
            }
        }
    }

    /// What the witness of a group's present primary says, while it is of this epoch.
    pub fn witness(&self, group: &Group) -> Option<(NodeId, &WitnessReport)> {
        let primary = group.primary.as_ref()?;
        let node = primary.witness?;
        let report = self.witnesses.get(&(group.spec.name.clone(), node))?;
        (report.epoch == primary.epoch).then_some((node, report))
    }

    /// What the holder of a group's present primary says, while it is of this epoch.
    pub fn holder(&self, group: &Group) -> Option<(NodeId, &HolderReport)> {
        let primary = group.primary.as_ref()?;
        let node = primary.holder?;
        let report = self.holders.get(&(group.spec.name.clone(), node))?;
        (report.epoch == primary.epoch).then_some((node, report))
    }

    /// The copies of the present primary's stream, former holders' included: what they acknowledged they still have.
    pub fn copies<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = (NodeId, &'a HolderReport)> + 'a {
        let primary = group.primary.as_ref();
        let of_group = self.holders.iter().filter(|((name, _), _)| *name == group.spec.name);
        of_group.map(|((_, node), report)| (*node, report)).filter(move |(_, report)| {
            primary.is_some_and(|p| {
                report.epoch == p.epoch && report.replid.as_ref() == Some(&p.lineage.start.replid)
            })
        })
    }

    /// The furthest answer of the group's present primary in its lineage, if it is known.
    pub fn last_of_primary(&self, group: &Group) -> Option<(Moment, &MemberStatus)> {
        let lineage = &group.primary.as_ref()?.lineage;
        let (at, status) = self.last_of_primary.get(&group.spec.name)?;
        is_the_one(status, lineage).then_some((*at, status))
    }

    /// The highest rate at which any node saw the present primary's stream grow, bytes a second; none where no node
    /// watched it for long enough to say.
    pub fn rate_of_primary(&self, group: &Group) -> Option<u64> {
        let primary = group.primary.as_ref()?;
        let of_group = self.rates.iter().filter(|((name, _), _)| *name == group.spec.name);
        let of_it = of_group.filter(|(_, (run_id, _))| *run_id == primary.lineage.run_id);
        of_it.map(|(_, (_, rate))| *rate).max()
    }

    /// The sites that have a voting node.
    pub fn sites(&self) -> BTreeSet<&SiteName> {
        self.nodes.values().collect()
    }

    /// How many sites make a quorum.
    pub fn site_quorum(&self) -> usize {
        self.sites().len() / 2 + 1
    }

    /// What each node saw of a member.
    pub fn of<'a>(
        &'a self,
        group: &GroupName,
        member: &MemberName,
    ) -> impl Iterator<Item = (NodeId, &'a SiteName, &'a Observation)> + 'a {
        let seen = self.seen.get(&(group.clone(), member.clone()));
        seen.into_iter().flatten().filter_map(|(id, o)| self.nodes.get(id).map(|site| (*id, site, o)))
    }

    /// The freshest answer of a member, from whichever node has it.
    pub fn freshest(&self, group: &GroupName, member: &MemberName) -> Option<(Moment, &MemberStatus)> {
        self.of(group, member).filter_map(|(_, _, o)| o.status().map(|s| (o.at, s))).max_by_key(|(at, _)| *at)
    }
}

/// Whether it is the process that was promoted, of its history. One that was restarted from a dump may give its history
/// the same name again, and says nothing of where its stream had ended.
fn is_the_one(status: &MemberStatus, lineage: &Lineage) -> bool {
    let ours = status.replid == lineage.start.replid || lineage.previous.as_ref() == Some(&status.replid);
    ours && status.run_id == lineage.run_id
}
