//! What a caller is told, by what the caller can do about it.

use primacy_wire::Refusal;
use primacy_wire::refusal::LeaderHint;
use tonic::{Code, ConnectError, Status};

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A rule of the cluster forbids it; nothing was changed.
    #[error("{message}")]
    Refused {
        /// The rule's name, such as `transition_in_progress`.
        rule: String,
        /// Why, and what to do.
        message: String,
    },
    /// The request is wrong; nothing was changed.
    #[error("{field}: {reason}; {remedy}")]
    Invalid {
        /// The field or key.
        field: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// There is no such group, member or node.
    #[error("{message}")]
    NotFound {
        /// Such as `unknown_group`.
        code: String,
        /// What is missing.
        message: String,
    },
    /// The events after the revision that a watch asked for are gone.
    #[error(
        "events are kept from revision {oldest}; list the groups, then watch from the revision of the list"
    )]
    Compacted {
        /// The oldest revision from which a watch can begin.
        oldest: u64,
    },
    /// Every node that answers is out of touch with the leader for too long to answer a local read.
    #[error(
        "no node is in touch with a leader: {age_ms} ms ago, and local reads are answered within {bound_ms} ms"
    )]
    Stale {
        /// Milliseconds since the node that was asked last was in touch.
        age_ms: u64,
        /// Up to how many milliseconds it answers.
        bound_ms: u64,
    },
    /// Nodes answer, and none of them leads or knows who does.
    #[error("no leader within the deadline: {detail}")]
    NoLeader {
        /// What was tried last.
        detail: String,
    },
    /// No node answers.
    #[error("no node answers: {detail}")]
    Unreachable {
        /// Which nodes were tried, and how the last one failed.
        detail: String,
    },
    /// Time ran out.
    #[error("{}{detail}", if *.outcome_unknown { "the outcome is unknown: " } else { "no answer in time: " })]
    TimedOut {
        /// Whether it may have happened or may yet happen. Never set for reads.
        outcome_unknown: bool,
        /// What was waited for, or how to find out.
        detail: String,
    },
    /// Anything else that a node answered.
    #[error("{}: {}", .0.code(), .0.message())]
    Other(Status),
}

/// Why one attempt failed, by what the next one may do.
#[derive(Debug)]
pub(crate) enum Failed {
    /// No other attempt can do better.
    Final(ClientError),
    /// The node does not lead. Nothing was done.
    Elsewhere(Option<LeaderHint>),
    /// The node is too far behind for a local read.
    Stale { age_ms: u64, bound_ms: u64 },
    /// Nothing was done; the node says that another attempt may work.
    Later(String),
    /// The node could not be reached. Nothing was done.
    Unreached(String),
    /// The answer was lost: it may have been done.
    Lost(String),
    /// The node itself does not know whether it was done.
    Unknown(String),
}

impl Failed {
    /// Whether it speaks against the node, and not only against the request or the moment.
    pub(crate) fn speaks_against_the_node(&self) -> bool {
        match self {
            Failed::Unreached(_) | Failed::Lost(_) => true,
            Failed::Final(_)
            | Failed::Elsewhere(_)
            | Failed::Stale { .. }
            | Failed::Later(_)
            | Failed::Unknown(_) => false,
        }
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        match Refusal::from_status(&status) {
            Some(refusal) => refusal.into(),
            None => of_transport(status),
        }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotLeader { leader } => Failed::Elsewhere(leader),
            Refusal::Stale { age_ms, bound_ms } => Failed::Stale { age_ms, bound_ms },
            Refusal::Unavailable { message } => Failed::Later(message),
            Refusal::OutcomeUnknown { message } => Failed::Unknown(message),
            Refusal::Rule { code, message } => Failed::Final(ClientError::Refused { rule: code, message }),
            Refusal::Invalid { field, reason, remedy } => {
                Failed::Final(ClientError::Invalid { field, reason, remedy })
            }
            Refusal::NotFound { code, message } => Failed::Final(ClientError::NotFound { code, message }),
            Refusal::Compacted { oldest } => Failed::Final(ClientError::Compacted { oldest }),
        }
    }
}

/// A status that a node sent has no source; one that our own transport made has.
fn of_transport(status: Status) -> Failed {
    let mut source = std::error::Error::source(&status);
    let mut deepest = None;
    while let Some(cause) = source {
        if cause.is::<ConnectError>() {
            return Failed::Unreached(root(cause));
        }
        deepest = Some(cause.to_string());
        source = cause.source();
    }
    match (deepest, status.code()) {
        (Some(cause), _) => Failed::Lost(cause),
        (None, Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded) => {
            Failed::Lost(status.message().to_owned())
        }
        (None, _) => Failed::Final(ClientError::Other(status)),
    }
}

fn root(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(deeper) = root.source() {
        root = deeper;
    }
    root.to_string()
}

/// An error in the middle of a stream, where no other attempt is made.
impl From<Failed> for ClientError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Final(error) => error,
            Failed::Elsewhere(Some(hint)) => ClientError::NoLeader {
                detail: format!("the node no longer leads, n{} at {} does", hint.id, hint.address),
            },
            Failed::Elsewhere(None) => {
                ClientError::NoLeader { detail: "the node no longer leads".to_owned() }
            }
            Failed::Stale { age_ms, bound_ms } => ClientError::Stale { age_ms, bound_ms },
            Failed::Later(detail) => ClientError::NoLeader { detail },
            Failed::Unreached(detail) => ClientError::Unreachable { detail },
            Failed::Lost(detail) | Failed::Unknown(detail) => {
                ClientError::TimedOut { outcome_unknown: true, detail }
            }
        }
    }
}
