//! Why a request was refused, for programs.
//!
//! The problem: a status code alone does not tell "ask that node instead" from "a rule forbids it". The idea: every
//! refusal travels as a `google.rpc.ErrorInfo` of domain `primacy` beside the standard code, and comes back as the
//! same value. A status without it (a proxy, a broken connection) is none of ours and yields nothing.
//!
//! This module must not know who asks or how the answer is shown.

use crate::WireError;
use primacy_core::{Rejected, Term, apply::Compacted};
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of our errors.
pub const DOMAIN: &str = "primacy";

/// Longer texts are cut to so many bytes, because they travel in HTTP headers.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Who leads, as far as the refusing node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// Its node id.
    pub id: u64,
    /// Where to dial it, `HOST:PORT`.
    pub address: String,
    /// Its Raft term.
    pub term: u64,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another node leads, or none does at the moment. `UNAVAILABLE`.
    #[error("{}", not_leader(leader.as_ref()))]
    NotLeader {
        /// Who does.
        leader: Option<LeaderHint>,
    },
    /// A rule forbids it. `FAILED_PRECONDITION`.
    #[error("{message}")]
    Rule {
        /// The rule's name, such as `transition_in_progress`.
        code: String,
        /// Why, and what to do.
        message: String,
    },
    /// The request itself is wrong. `INVALID_ARGUMENT`.
    #[error("{field}: {reason}; {remedy}")]
    Invalid {
        /// The field or key.
        field: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// There is no such group, member or node. `NOT_FOUND`.
    #[error("{message}")]
    NotFound {
        /// Such as `unknown_group`.
        code: String,
        /// What is missing, and how to find what there is.
        message: String,
    },
    /// This node is out of touch with the leader for too long to answer. `UNAVAILABLE`.
    #[error("this node last heard from a leader {age_ms} ms ago, and answers only within {bound_ms} ms")]
    Stale {
        /// Milliseconds since it was in touch.
        age_ms: u64,
        /// The bound in milliseconds.
        bound_ms: u64,
    },
    /// The events that a watch asked for are gone. `OUT_OF_RANGE`.
    #[error("events are kept from revision {oldest}; list the groups, then watch from there")]
    Compacted {
        /// The oldest revision from which a watch can begin.
        oldest: u64,
    },
    /// The deadline passed and the request may or may not take effect. `DEADLINE_EXCEEDED`.
    #[error("{message}")]
    OutcomeUnknown {
        /// How to find out.
        message: String,
    },
    /// It cannot be done now; another try may work. `UNAVAILABLE`.
    #[error("{message}")]
    Unavailable {
        /// Why.
        message: String,
    },
}

fn not_leader(leader: Option<&LeaderHint>) -> String {
    match leader {
        Some(hint) => format!("n{} at {} leads (term {})", hint.id, hint.address, hint.term),
        None => "no leader is known at the moment".to_owned(),
    }
}

impl Refusal {
    /// The standard code it travels under.
    pub fn code(&self) -> Code {
        match self {
            Refusal::NotLeader { .. } | Refusal::Stale { .. } | Refusal::Unavailable { .. } => {
                Code::Unavailable
            }
            Refusal::Rule { .. } => Code::FailedPrecondition,
            Refusal::Invalid { .. } => Code::InvalidArgument,
            Refusal::NotFound { .. } => Code::NotFound,
            Refusal::Compacted { .. } => Code::OutOfRange,
            Refusal::OutcomeUnknown { .. } => Code::DeadlineExceeded,
        }
    }

    /// The `reason` of its `ErrorInfo`.
    fn word(&self) -> &'static str {
        match self {
            Refusal::NotLeader { .. } => "NOT_LEADER",
            Refusal::Rule { .. } => "RULE",
            Refusal::Invalid { .. } => "INVALID",
            Refusal::NotFound { .. } => "NOT_FOUND",
            Refusal::Stale { .. } => "STALE",
            Refusal::Compacted { .. } => "COMPACTED",
            Refusal::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
            Refusal::Unavailable { .. } => "UNAVAILABLE",
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Refusal::NotLeader { leader: Some(hint) } => vec![
                ("leader_id", hint.id.to_string()),
                ("leader_address", clip(&hint.address)),
                ("leader_term", hint.term.to_string()),
            ],
            Refusal::NotLeader { leader: None } => vec![],
            Refusal::Rule { code, message } | Refusal::NotFound { code, message } => {
                vec![("code", clip(code)), ("message", clip(message))]
            }
            Refusal::Invalid { field, reason, remedy } => {
                vec![("field", clip(field)), ("reason", clip(reason)), ("remedy", clip(remedy))]
            }
            Refusal::Stale { age_ms, bound_ms } => {
                vec![("age_ms", age_ms.to_string()), ("bound_ms", bound_ms.to_string())]
            }
            Refusal::Compacted { oldest } => vec![("oldest", oldest.to_string())],
            Refusal::OutcomeUnknown { message } | Refusal::Unavailable { message } => {
                vec![("message", clip(message))]
            }
        }
    }

    /// The refusal that a status carries; nothing when it carries none of ours, or a damaged one.
    pub fn from_status(status: &Status) -> Option<Refusal> {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
        let text = |key: &str| info.metadata.get(key).cloned();
        let number = |key: &str| info.metadata.get(key).and_then(|v| v.parse::<u64>().ok());
        Some(match info.reason.as_str() {
            "NOT_LEADER" => Refusal::NotLeader { leader: hint(&text, &number) },
            "RULE" => Refusal::Rule { code: text("code")?, message: text("message")? },
            "INVALID" => {
                Refusal::Invalid { field: text("field")?, reason: text("reason")?, remedy: text("remedy")? }
            }
            "NOT_FOUND" => Refusal::NotFound { code: text("code")?, message: text("message")? },
            "STALE" => Refusal::Stale { age_ms: number("age_ms")?, bound_ms: number("bound_ms")? },
            "COMPACTED" => Refusal::Compacted { oldest: number("oldest")? },
            "OUTCOME_UNKNOWN" => Refusal::OutcomeUnknown { message: text("message")? },
            "UNAVAILABLE" => Refusal::Unavailable { message: text("message")? },
            _ => return None,
        })
    }
}

fn hint(text: &impl Fn(&str) -> Option<String>, number: &impl Fn(&str) -> Option<u64>) -> Option<LeaderHint> {
    Some(LeaderHint {
        id: number("leader_id")?,
        address: text("leader_address")?,
        term: number("leader_term")?,
    })
}

fn clip(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(TEXT_BYTES_MAX - 3)])
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let metadata: HashMap<String, String> =
            refusal.metadata().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::new();
        details.set_error_info(refusal.word(), DOMAIN, metadata);
        if let Refusal::Invalid { field, reason, remedy } = &refusal {
            details.add_bad_request_violation(clip(field), clip(&format!("{reason}; {remedy}")));
        }
        Status::with_error_details(refusal.code(), clip(&refusal.to_string()), details)
    }
}

impl From<&Rejected> for Refusal {
    fn from(rejected: &Rejected) -> Refusal {
        let (code, message) = (rejected.code().to_owned(), rejected.to_string());
        match rejected {
            Rejected::UnknownGroup { .. } | Rejected::UnknownMember { .. } => {
                Refusal::NotFound { code, message }
            }
            Rejected::InvalidGroup { key, reason, remedy } => {
                Refusal::Invalid { field: key.clone(), reason: reason.clone(), remedy: remedy.clone() }
            }
            Rejected::StaleEpoch { .. }
            | Rejected::StaleTerm { .. }
            | Rejected::TransitionInProgress { .. }
            | Rejected::WrongPhase { .. }
            | Rejected::Paused { .. }
            | Rejected::AlreadyPrimary { .. }
            | Rejected::NeverPromoted { .. } => Refusal::Rule { code, message },
        }
    }
}

/// A check refused an operator's wish: `unknown_group` and `unknown_member` are not found, the rest are rules.
impl From<primacy_core::check::Refusal> for Refusal {
    fn from(refusal: primacy_core::check::Refusal) -> Refusal {
        let (code, message) = (refusal.code.to_owned(), refusal.message);
        match refusal.code {
            "unknown_group" | "unknown_member" => Refusal::NotFound { code, message },
            _ => Refusal::Rule { code, message },
        }
    }
}

impl From<Compacted> for Refusal {
    fn from(compacted: Compacted) -> Refusal {
        Refusal::Compacted { oldest: compacted.oldest.0 }
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Refusal {
        Refusal::Invalid {
            field: error.field,
            reason: error.reason,
            remedy: "send the field as primacy/v1 documents it".to_owned(),
        }
    }
}

impl LeaderHint {
    /// A hint of these.
    pub fn new(id: primacy_core::NodeId, address: impl Into<String>, term: Term) -> Self {
        Self { id: id.0, address: address.into(), term: term.0 }
    }
}
