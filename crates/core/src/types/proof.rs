//! Why the old primary can no longer accept a write, and what was seen that says so.

use super::{MemberName, NodeId, SiteName};
use std::fmt;

/// One finding about one member, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The node that saw it and its site; none where the finding is of the group as a whole.
    pub observer: Option<(NodeId, SiteName)>,
    /// The member that it is about.
    pub member: MemberName,
    /// What was seen.
    pub finding: Finding,
}

/// What was seen of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The established connection ended by EOF: the peer's kernel closed it.
    EndedByEof,
    /// The established connection was reset. A firewall can do that, so it is no proof of death.
    EndedByReset,
    /// A new connection was refused: nobody listens.
    ConnectRefused,
    /// The process with this id has exited; the node on the same host saw it.
    ProcessExited {
        /// Operating system process id.
        pid: u32,
    },
    /// No answer for so long.
    Silent {
        /// Milliseconds since the last answer.
        ms: u64,
    },
    /// This standby's replication link to the primary is down.
    ReplicaLinkDown,
    /// It answers, but as another process than the one that was made primary.
    Restarted {
        /// The run id it has now.
        run_id: String,
    },
    /// It answers, but is a replica now.
    NotPrimary,
    /// This standby was taken away from the primary so long ago.
    TakenAway {
        /// Milliseconds since.
        ms: u64,
    },
    /// The last lease that any leader could have granted, and that its holder did not give up, has been over for so long.
    LeaseOver {
        /// Milliseconds since.
        ms: u64,
    },
    /// It refused a write of ours, with this error code.
    WriteRefused {
        /// The error code, such as `NOREPLICAS`.
        code: String,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((node, site)) = &self.observer {
            write!(f, "n{node} ({site}): ")?;
        }
        let m = &self.member;
        match &self.finding {
            Finding::EndedByEof => write!(f, "connection to {m} ended by EOF"),
            Finding::EndedByReset => write!(f, "connection to {m} was reset"),
            Finding::ConnectRefused => write!(f, "{m} refuses connections"),
            Finding::ProcessExited { pid } => write!(f, "process {pid} of {m} has exited"),
            Finding::Silent { ms } => write!(f, "{m} silent for {ms} ms"),
            Finding::ReplicaLinkDown => write!(f, "replication link of {m} is down"),
            Finding::Restarted { run_id } => {
                write!(f, "{m} is another process now (run id {})", run_id.get(..8).unwrap_or(run_id))
            }
            Finding::NotPrimary => write!(f, "{m} answers as a replica"),
            Finding::TakenAway { ms } => write!(f, "{m} was taken away from it {ms} ms ago"),
            Finding::LeaseOver { ms } => {
                write!(f, "every lease of {m} that was not given up has been over for {ms} ms")
            }
            Finding::WriteRefused { code } => write!(f, "{m} refused a write ({code})"),
        }
    }
}

/// Proof that the old primary of a transition accepts no more writes. `apply` promotes nobody without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The member refused a write after the fence was set; this is the error code it gave.
    Acknowledged {
        /// Such as `NOREPLICAS` or `READONLY`.
        code: String,
    },
    /// Its process is gone, beyond what a firewall or a slow network could imitate: every connection that kept it
    /// open has ended, and it knows.
    Detached {
        /// The findings that together are certain.
        evidence: Vec<Evidence>,
    },
    /// It was waited out: every lease is over, and fewer than `min_replicas` of those that keep it open can still be
    /// attached, for longer than it takes a primary to notice.
    Expired {
        /// What was seen of it, and of those that were taken away from it.
        evidence: Vec<Evidence>,
        /// The `min-replicas-to-write` in force, at least.
        min_replicas: u64,
        /// How many may still be attached.
        undetached: u64,
    },
    /// There was no primary before.
    Vacant,
    /// The group says `fence = "none"`: the operator asked for Sentinel's kind of safety.
    Waived,
}

impl Proof {
    /// One word for tables and records.
    pub fn word(&self) -> &'static str {
        match self {
            Proof::Acknowledged { .. } => "acknowledged",
            Proof::Detached { .. } => "detached",
            Proof::Expired { .. } => "expired",
            Proof::Vacant => "vacant",
            Proof::Waived => "waived",
        }
    }
}
