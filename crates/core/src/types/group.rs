//! A group: what the operator asked for, who is primary, and what is under way.

use super::{
    Address, Epoch, FenceQuorum, GroupName, Lineage, Loss, LossBudget, MemberName, MirrorSpec, NodeId, Phase,
    Revision, SiteName, Transition, WallTime,
};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// What sort of members a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// Redis servers, or what speaks its protocol and replication.
    Redis,
    /// Plain network services without state of their own to carry over: gates lead to the primary one.
    Endpoint,
    /// Kafka clusters, of which a mirror makes one like the other.
    Kafka,
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupKind::Redis => f.pad("redis"),
            GroupKind::Endpoint => f.pad("endpoint"),
            GroupKind::Kafka => f.pad("kafka"),
        }
    }
}

/// Who starts a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverMode {
    /// The leader, as soon as it is proven safe.
    Automatic,
    /// An operator.
    Manual,
}

/// What must be proven before another member is promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FencePolicy {
    /// The old primary accepts no more writes, by one of the proofs.
    Witness,
    /// Nothing: a silent primary is replaced, as Sentinel would. Two writers are possible.
    None,
}

/// When a gate passes on the reply to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// At once.
    Async,
    /// When the witness at the primary's site holds the stream that covers it.
    Local,
    /// When a node at another site holds it too.
    Site,
}

impl Durability {
    /// As the contract spells it.
    pub fn word(self) -> &'static str {
        match self {
            Durability::Async => "async",
            Durability::Local => "local",
            Durability::Site => "site",
        }
    }
}

/// What a gate with `durability = "site"` does while no other site can hold the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNoSite {
    /// Replies wait, then the gate closes.
    Refuse,
    /// It goes on as with `durability = "local"`, and says so.
    Degrade,
}

/// How a member is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// By its own protocol: Redis.
    Native,
    /// It accepts a connection.
    Tcp,
    /// It answers a GET of this path with a status from 200 to 399.
    Http {
        /// Such as `/healthz`.
        path: String,
    },
    /// It is a Kafka cluster that one of its brokers leads to.
    Cluster {
        /// Where it is entered: the member's address and others.
        bootstrap: Vec<Address>,
    },
}

/// One member as the operator described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSpec {
    /// Unique in its group.
    pub name: MemberName,
    /// The failure domain it is in.
    pub site: SiteName,
    /// Where clients and nodes reach it.
    pub address: Address,
    /// Higher is preferred; 0 is never promoted.
    pub priority: u32,
    /// How it is probed.
    pub probe: Probe,
}

impl MemberSpec {
    /// Every address that it is entered by.
    pub fn addresses(&self) -> &[Address] {
        match &self.probe {
            Probe::Cluster { bootstrap } => bootstrap,
            Probe::Native | Probe::Tcp | Probe::Http { .. } => std::slice::from_ref(&self.address),
        }
    }
}

/// A group as the operator described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Unique in the cluster.
    pub name: GroupName,
    /// What its members are.
    pub kind: GroupKind,
    /// Who starts a failover.
    pub failover: FailoverMode,
    /// Milliseconds of silence, seen by a quorum of sites, after which a member counts as down.
    pub down_after_ms: u64,
    /// What an automatic failover may lose.
    pub max_loss: LossBudget,
    /// What must be proven before a promotion.
    pub fence: FencePolicy,
    /// How many bytes of the replication stream a witness keeps.
    pub tail_max_bytes: u64,
    /// Whether a node may kill a primary on its own host that does not answer.
    pub may_kill: bool,
    /// When gates pass on the replies to writes.
    pub durability: Durability,
    /// What gates do while no other site can hold the stream.
    pub on_no_site: OnNoSite,
    /// What is copied between its clusters: of a Kafka group alone.
    pub mirror: Option<MirrorSpec>,
    /// At least two, in the order of the file.
    pub members: Vec<MemberSpec>,
}

impl GroupSpec {
    /// The member of that name.
    pub fn member(&self, name: &MemberName) -> Option<&MemberSpec> {
        self.members.iter().find(|m| m.name == *name)
    }
}

/// Who is primary, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// The member.
    pub member: MemberName,
    /// Under which authority: the log index of the transition's intent.
    pub epoch: Epoch,
    /// The history that its promotion began.
    pub lineage: Lineage,
    /// When the promotion was committed.
    pub since: WallTime,
    /// Who keeps it open.
    pub fence: FenceQuorum,
    /// The node that is its witness, where one is appointed.
    pub witness: Option<NodeId>,
    /// The node at another site that holds the stream for `durability = "site"`, where one is appointed.
    pub holder: Option<NodeId>,
    /// Whether gates go on without a holder: `on_no_site = "degrade"`.
    pub degraded: bool,
}

/// Automatic action is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Who asked.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// When.
    pub at: WallTime,
}

/// Why a group cannot be helped automatically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockReason {
    /// The primary does not answer, and nothing proves that it accepts no writes.
    FenceUnproven {
        /// The primary.
        member: MemberName,
    },
    /// The failover would lose more than `max_loss`, or an unknown amount.
    LossOverBudget {
        /// What it would lose.
        loss: Loss,
        /// What it may lose.
        budget: LossBudget,
    },
    /// No member can be promoted.
    NoCandidate {
        /// Why each is not eligible, in one line.
        detail: String,
    },
    /// The group says `failover = "manual"` and its primary is down.
    ManualFailover {
        /// The primary.
        member: MemberName,
    },
    /// There is no primary yet, and the members do not say which it should be.
    NoFirstPrimary {
        /// What speaks against each, in one line.
        detail: String,
    },
    /// The active Kafka cluster does not answer, and this version makes no other one active.
    ClusterDown {
        /// The active cluster.
        member: MemberName,
        /// What its standbys lacked when it was last heard.
        standbys: Vec<StandbyLag>,
    },
}

/// What a mirrored standby lacked, by the last sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyLag {
    /// The standby.
    pub member: MemberName,
    /// What it lacked.
    pub records: u64,
    /// How old the sample was when this was written down.
    pub sample_age_ms: u64,
}

impl fmt::Display for StandbyLag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.sample_age_ms as f64 / 1e3;
        write!(f, "{} lacks {} records by a sample {seconds:.1} s old", self.member, self.records)
    }
}

impl BlockReason {
    /// One word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            BlockReason::FenceUnproven { .. } => "fence_unproven",
            BlockReason::LossOverBudget { .. } => "loss_over_budget",
            BlockReason::NoCandidate { .. } => "no_candidate",
            BlockReason::ManualFailover { .. } => "manual_failover",
            BlockReason::NoFirstPrimary { .. } => "no_first_primary",
            BlockReason::ClusterDown { .. } => "cluster_down",
        }
    }

    /// What the operator can do about it.
    pub fn remedy(&self, group: &GroupName) -> String {
        match self {
            BlockReason::FenceUnproven { member } => format!(
                "make sure that {member} is stopped for good (kill -9 its process, or power off its host); once its death \
                 is seen the failover starts by itself, or start it by hand: primacy failover {group}"
            ),
            BlockReason::LossOverBudget { .. } => {
                format!(
                    "bring the old primary back, or accept the loss: primacy failover {group} --allow-data-loss"
                )
            }
            BlockReason::NoCandidate { .. } => format!(
                "bring a standby back whose replication was complete, or the old primary itself; or take what a member holds: \
                 primacy failover {group} --to MEMBER --allow-data-loss"
            ),
            BlockReason::ManualFailover { .. } => format!("primacy failover {group}"),
            BlockReason::NoFirstPrimary { .. } => {
                format!(
                    "name it, and discard what the others hold: primacy failover {group} --to MEMBER --allow-data-loss"
                )
            }
            BlockReason::ClusterDown { member, .. } => {
                format!("bring {member} back; `primacy status {group}` says what its standbys lack")
            }
        }
    }
}

impl fmt::Display for BlockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockReason::FenceUnproven { member } => {
                write!(f, "{member} does not answer, and nothing proves that it accepts no writes")
            }
            BlockReason::LossOverBudget { loss: Loss::Unknown, budget } => {
                write!(f, "failover would lose an unknown amount (budget {budget})")
            }
            BlockReason::LossOverBudget { loss, budget } => {
                let bytes = loss.bytes().unwrap_or_default();
                write!(f, "failover would lose up to {bytes} bytes (budget {budget})")
            }
            BlockReason::NoCandidate { detail } => write!(f, "no member can be promoted: {detail}"),
            BlockReason::ManualFailover { member } => {
                write!(f, "{member} is down and the group says failover = \"manual\"")
            }
            BlockReason::NoFirstPrimary { detail } => write!(f, "no member is primary yet: {detail}"),
            BlockReason::ClusterDown { member, standbys } => {
                write!(
                    f,
                    "the active cluster {member} does not answer, and this version makes no other Kafka cluster active"
                )?;
                standbys.iter().try_for_each(|standby| write!(f, "; {standby}"))
            }
        }
    }
}

/// A reason, since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Why.
    pub reason: BlockReason,
    /// When the leader first found it so.
    pub since: WallTime,
}

/// The one word that says how a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// No primary yet.
    Unassigned,
    /// The primary is open.
    Serving,
    /// A transition is under way and the primary is not open yet.
    Switching,
    /// Needs an operator.
    Blocked,
    /// Automatic action is stopped; a healthy primary goes on serving.
    Paused,
}

impl GroupState {
    /// As the contract spells it.
    pub fn word(self) -> &'static str {
        match self {
            GroupState::Unassigned => "unassigned",
            GroupState::Serving => "serving",
            GroupState::Switching => "switching",
            GroupState::Blocked => "blocked",
            GroupState::Paused => "paused",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// On whose word a group's gates let replies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepliesOn {
    /// That of the witness at the primary's site.
    Witness,
    /// That of the node which holds the stream at another site.
    Holder(NodeId),
    /// Nobody's: they wait.
    Nobody,
}

impl RepliesOn {
    /// So long replies wait for nobody; then the gates close.
    pub const NOBODY_MAX: Duration = Duration::from_secs(5);

    /// A primary that does not say within this time how far its stream is has not answered.
    pub const OFFSET_WITHIN: Duration = Duration::from_secs(2);
}

/// A group as replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What the operator asked for.
    pub spec: GroupSpec,
    /// Who is primary, once somebody is.
    pub primary: Option<Primary>,
    /// What is under way.
    pub transition: Option<Transition>,
    /// Set while automatic action is stopped.
    pub paused: Option<Pause>,
    /// Set while the group needs an operator.
    pub blocked: Option<Blocked>,
    /// Finished transitions, oldest first, at most [`Group::HISTORY_MAX`].
    pub history: VecDeque<Transition>,
    /// When the group last changed.
    pub revision: Revision,
}

impl Group {
    /// How many finished transitions a group keeps.
    pub const HISTORY_MAX: usize = 100;

    /// The one word that says how it is.
    pub fn state(&self) -> GroupState {
        match (&self.transition, &self.primary) {
            (Some(t), _) if t.phase.closes_the_door() && self.blocked.is_none() => GroupState::Switching,
            _ if self.paused.is_some() => GroupState::Paused,
            _ if self.blocked.is_some() => GroupState::Blocked,
            (_, Some(_)) => GroupState::Serving,
            (_, None) => GroupState::Unassigned,
        }
    }

    /// Whether an action under `epoch` may be done to a member now. While a transition closes the door nothing may be
    /// done for the primary that it closes: what opens a door after the fence was proven would make a second writer.
    pub fn authorises(&self, epoch: Epoch) -> bool {
        let of_primary = self.primary.as_ref().is_some_and(|p| p.epoch == epoch);
        match &self.transition {
            Some(t) => t.epoch == epoch || (of_primary && !t.phase.closes_the_door()),
            None => of_primary,
        }
    }

    /// Whether what is under way has come to a halt because it would lose more than the budget: an operator may begin
    /// another transition in its place that accepts that.
    pub fn waits_for_consent(&self) -> bool {
        let over = |b: &Blocked| matches!(b.reason, BlockReason::LossOverBudget { .. });
        let halts = |t: &Transition| matches!(t.phase, Phase::Fence | Phase::Rescue | Phase::Promote);
        self.transition.as_ref().is_some_and(halts) && self.blocked.as_ref().is_some_and(over)
    }

    /// On whose word its gates let replies go.
    pub fn replies_on(&self) -> RepliesOn {
        let site = self.spec.durability == Durability::Site;
        match self.primary.as_ref().filter(|p| site && !p.degraded).map(|p| p.holder) {
            None => RepliesOn::Witness,
            Some(Some(node)) => RepliesOn::Holder(node),
            Some(None) => RepliesOn::Nobody,
        }
    }

    /// The highest epoch that was ever authorised in this group.
    pub fn epoch_last(&self) -> Epoch {
        let of_primary = self.primary.as_ref().map(|p| p.epoch);
        let under_way = self.transition.as_ref().map(|t| t.epoch);
        let finished = self.history.back().map(|t| t.epoch);
        of_primary.max(under_way).max(finished).unwrap_or_default()
    }
}
