//! Effects as values: what the leader does to members. Each is derived from committed state and carries its epoch.

use super::{Address, Epoch, GroupName, Lineage, Loss, MemberName, NodeId, Position, SiteName};
use std::time::Duration;

/// What to do to which member, under which authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// In which group.
    pub group: GroupName,
    /// The transition, or the primary, that authorises it.
    pub epoch: Epoch,
    /// The member it is done to.
    pub member: MemberName,
    /// Where that member is.
    pub address: Address,
    /// What is done.
    pub kind: ActionKind,
}

/// What is done to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// Makes it refuse writes, reads that back from a refused write of ours, and, with `drain`, waits until that
    /// standby has read up to where it stopped.
    Fence {
        /// The candidate and where it is, in a switchover.
        drain: Option<(MemberName, Address)>,
        /// How long the whole may take.
        within: Duration,
    },
    /// Lifts the fence of a primary that stays primary.
    Lift {
        /// The `min-replicas-to-write` that it gets back.
        min_replicas: u64,
    },
    /// Takes a standby away from its primary, for as long as nobody points it anywhere again.
    Detach,
    /// Ends its process, where a node on its host may.
    Kill {
        /// The process that is meant.
        run_id: String,
        /// Its process id.
        pid: u32,
    },
    /// Has it read the tail that a witness kept.
    Rescue {
        /// The witness: the node that holds the tail.
        holder: NodeId,
        /// The site of the candidate, whose node serves the tail to it.
        site: SiteName,
        /// The epoch whose stream it is.
        of: Epoch,
        /// How long it may take.
        within: Duration,
        /// What is lost even when everything is read.
        residue: Loss,
        /// What is lost when what is read is not known to be everything, as far as that is known before.
        lost: Loss,
        /// Once it has read all that the old primary sent: the promotion, at once and in the same place, because a
        /// question and a commit between the two would each cost the way between sites and back.
        then: Option<Promotion>,
    },
    /// Changes who keeps the primary open, and reads it back.
    SetFence {
        /// The `min-replicas-to-write` to set.
        min_replicas: u64,
        /// Whose replication it admits.
        admit: Vec<MemberName>,
        /// Whose replication it refuses.
        refuse: Vec<MemberName>,
    },
    /// Makes it primary, still shut, and verifies it.
    Promote(Promotion),
    /// Opens the door of the new primary, and reads it back.
    Open {
        /// The `min-replicas-to-write` that it gets.
        min_replicas: u64,
    },
    /// Shuts it, points it at the primary, and undoes what a fence left behind.
    Follow {
        /// Where the primary is.
        primary: Address,
        /// Whether its clients are disconnected, so that they look for the new primary.
        evict: bool,
    },
}

/// How a member becomes primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The history that it must hold: its own replication id before the promotion.
    pub expected: Option<String>,
    /// The process that it must be.
    pub run_id: Option<String>,
    /// Whose replication it admits.
    pub admit: Vec<MemberName>,
    /// Whose replication it refuses, where it can.
    pub refuse: Vec<MemberName>,
    /// The node that will be its witness.
    pub witness: Option<NodeId>,
}

/// A member that has become primary, and is shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The history that began.
    pub lineage: Lineage,
    /// Those whose replication it refuses, read back.
    pub refused: Vec<MemberName>,
}

impl ActionKind {
    /// One word for logs and counters.
    pub fn word(&self) -> &'static str {
        match self {
            ActionKind::Fence { .. } => "fence",
            ActionKind::Lift { .. } => "lift",
            ActionKind::Detach => "detach",
            ActionKind::Kill { .. } => "kill",
            ActionKind::Rescue { .. } => "rescue",
            ActionKind::SetFence { .. } => "set_fence",
            ActionKind::Promote(_) => "promote",
            ActionKind::Open { .. } => "open",
            ActionKind::Follow { .. } => "follow",
        }
    }
}

/// What makes two actions the same attempt: used to run each once at a time and to remember how it failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActionKey {
    /// In which group.
    pub group: GroupName,
    /// Under which authority.
    pub epoch: Epoch,
    /// Done to whom.
    pub member: MemberName,
    /// [`ActionKind::word`].
    pub word: &'static str,
}

impl Action {
    /// What makes it the same attempt as another.
    pub fn key(&self) -> ActionKey {
        ActionKey {
            group: self.group.clone(),
            epoch: self.epoch,
            member: self.member.clone(),
            word: self.kind.word(),
        }
    }
}

/// What came of an action that worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It refuses writes.
    Fenced {
        /// The error code of the refused write.
        code: String,
        /// The process that refused it.
        run_id: String,
        /// Where its stream ended.
        end: Position,
        /// With `drain`: how long it took the candidate to read up to the end, in microseconds; none when the time
        /// was over before.
        drained_us: Option<u64>,
    },
    /// It accepts writes again.
    Lifted,
    /// It is primary, and shut.
    Promoted(Promoted),
    /// It does not replicate from its former primary any more.
    Detached,
    /// Its process was sent the signal that ends it.
    Killed,
    /// It has read what could be had of the tail.
    Rescued {
        /// Where the tail ended.
        end: Position,
        /// What it got from the tail.
        fetched_bytes: u64,
        /// Whether the tail is all that the old primary sent: its stream ended by EOF, and nothing of it was dropped.
        complete: bool,
        /// With `then`, where the tail was complete and the promotion worked: what became of it, and how long that
        /// took.
        promoted: Option<(Promoted, Duration)>,
    },
    /// The fence is as asked, read back.
    FenceSet {
        /// The number in force.
        min_replicas: u64,
        /// Those whose replication it refuses.
        refused: Vec<MemberName>,
    },
    /// It accepts writes.
    Opened,
    /// It is shut and follows.
    Following,
}
