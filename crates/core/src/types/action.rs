//! Effects as values: what the leader does to members. Each is derived from committed state and carries its epoch.

use super::{Address, Epoch, GroupName, Lineage, MemberName, Position};
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
    Lift,
    /// Makes it primary, still shut, and verifies it.
    Promote {
        /// The history that it must hold: its own replication id before the promotion.
        expected: Option<String>,
    },
    /// Opens the door of the new primary, and reads it back.
    Open,
    /// Shuts it, points it at the primary, and undoes what a fence left behind.
    Follow {
        /// Where the primary is.
        primary: Address,
        /// Whether its clients are disconnected, so that they look for the new primary.
        evict: bool,
    },
}

impl ActionKind {
    /// One word for logs and counters.
    pub fn word(&self) -> &'static str {
        match self {
            ActionKind::Fence { .. } => "fence",
            ActionKind::Lift => "lift",
            ActionKind::Promote { .. } => "promote",
            ActionKind::Open => "open",
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
        /// Where its stream ended.
        end: Position,
        /// With `drain`: how long it took the candidate to read up to the end, in microseconds; none when the time
        /// was over before.
        drained_us: Option<u64>,
    },
    /// It accepts writes again.
    Lifted,
    /// It is primary, and shut.
    Promoted {
        /// The history that began.
        lineage: Lineage,
    },
    /// It accepts writes.
    Opened,
    /// It is shut and follows.
    Following,
}
