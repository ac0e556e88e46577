//! Why something was not done, so that callers can tell "no" from "not now" from "nobody knows".

use primacy_core::{NodeId, Rejected, SiteName, Term};
use primacy_storage::StorageError;

/// Who leads, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader.
    pub id: NodeId,
    /// Its site.
    pub site: SiteName,
    /// Where it is reached.
    pub address: String,
    /// Its term.
    pub term: Term,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory was refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The timings contradict each other.
    #[error("cluster.timings: {reason}")]
    Timings {
        /// How.
        reason: String,
    },
    /// The cluster knows better.
    #[error(transparent)]
    Halted(#[from] Halted),
    /// Consensus could not begin.
    #[error("consensus cannot start: {reason}")]
    Fatal {
        /// Why.
        reason: String,
    },
}

/// Why a running node stopped taking part. It answers nothing any more; the process should end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halted {
    /// The data directory was emptied or exchanged. What this node once voted is forgotten.
    #[error("node {node} is known under another data directory; join under a new id")]
    KnownElsewhere {
        /// This node.
        node: NodeId,
    },
    /// The disk failed, or openraft did.
    #[error("consensus stopped: {reason}")]
    Fatal {
        /// Why.
        reason: String,
    },
}

/// Why a command was not committed, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed: another node leads.
    #[error("this node does not lead{}", hint(leader.as_ref()))]
    NotLeader {
        /// Who does, where known.
        leader: Option<LeaderHint>,
    },
    /// Committed, and refused by the rules; nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// It may be committed or not, now or later. Proposing it again is safe: commands are idempotent.
    #[error("not known to be committed: {reason}; look before trying again")]
    OutcomeUnknown {
        /// Why.
        reason: String,
    },
    /// Not proposed.
    #[error("not proposed: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Why this node cannot vouch for what it holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another node leads.
    #[error("this node does not lead{}", hint(leader.as_ref()))]
    NotLeader {
        /// Who does, where known.
        leader: Option<LeaderHint>,
    },
    /// It leads, or did, but has no quorum's word for it.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Why the cluster itself was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another node leads.
    #[error("this node does not lead{}", hint(leader.as_ref()))]
    NotLeader {
        /// Who does, where known.
        leader: Option<LeaderHint>,
    },
    /// Refused; asking again changes nothing.
    #[error("{message}")]
    Refused {
        /// The rule, for programs.
        code: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// Not now.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// Begun, and not known to have ended.
    #[error("not known to be done: {reason}; `primacy cluster status` shows what is true")]
    OutcomeUnknown {
        /// Why.
        reason: String,
    },
}

fn hint(leader: Option<&LeaderHint>) -> String {
    match leader {
        Some(l) => format!("; node {} at {} does (term {})", l.id, l.address, l.term),
        None => "; no leader is known".to_owned(),
    }
}

impl From<ReadError> for ChangeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotLeader { leader } => Self::NotLeader { leader },
            ReadError::Unavailable { reason } => Self::Unavailable { reason },
        }
    }
}
