//! What went wrong below, as the refusal that a client can act on.

use crate::serve::Shared;
use primacy_consensus::{ChangeError, LeaderHint, ProposeError, ReadError};
use primacy_core::GroupName;
use primacy_wire::refusal::LeaderHint as WireHint;
use primacy_wire::{Refusal, WireError};
use std::time::Duration;
use tonic::Status;
use tonic::metadata::MetadataMap;

pub(crate) fn not_leader(leader: Option<&LeaderHint>) -> Refusal {
    Refusal::NotLeader { leader: leader.map(|l| WireHint::new(l.id, &l.address, l.term)) }
}

pub(crate) fn propose(error: ProposeError) -> Refusal {
    match error {
        ProposeError::NotLeader { leader } => not_leader(leader.as_ref()),
        ProposeError::Rejected(rejected) => Refusal::from(&rejected),
        ProposeError::OutcomeUnknown { reason } => Refusal::OutcomeUnknown {
            message: format!("not known to be committed ({reason}); `primacy status` shows what is true"),
        },
        ProposeError::Unavailable { reason } => Refusal::Unavailable { message: reason },
    }
}

pub(crate) fn read(error: ReadError) -> Refusal {
    match error {
        ReadError::NotLeader { leader } => not_leader(leader.as_ref()),
        ReadError::Unavailable { reason } => Refusal::Unavailable { message: reason },
    }
}

pub(crate) fn change(error: ChangeError) -> Refusal {
    match error {
        ChangeError::NotLeader { leader } => not_leader(leader.as_ref()),
        ChangeError::Refused { code, message } => Refusal::Rule { code: code.to_owned(), message },
        ChangeError::Unavailable { reason } => Refusal::Unavailable { message: reason },
        ChangeError::OutcomeUnknown { reason } => Refusal::OutcomeUnknown {
            message: format!("not known to be done ({reason}); `primacy cluster status` shows what is true"),
        },
    }
}

pub(crate) fn unknown_group(group: &GroupName) -> Refusal {
    let message = format!("there is no group {group}; `primacy groups` lists them");
    Refusal::NotFound { code: "unknown_group".to_owned(), message }
}

/// A name out of a request.
pub(crate) fn name<T>(value: &str, field: &str) -> Result<T, Status>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|e: T::Err| WireError::new(field, e.to_string()).into())
}

impl Shared {
    /// Who leads, as the refusal that names it.
    pub(crate) fn refuse_as_follower(&self) -> Refusal {
        let leadership = self.consensus.leadership();
        let view = leadership.borrow();
        not_leader(view.leader.as_ref().filter(|l| l.id != self.me))
    }
}

/// The deadline that a client gave (`grpc-timeout`), or `default`; never longer than a minute.
pub(crate) fn deadline(metadata: &MetadataMap, default: Duration) -> Duration {
    let given = metadata.get("grpc-timeout").and_then(|v| v.to_str().ok()).and_then(timeout_of);
    given.unwrap_or(default).min(Duration::from_mins(1))
}

/// `8S`, `250m`: at most eight digits and a unit, as gRPC over HTTP/2 defines it.
fn timeout_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(timeout_of("8S"), Some(Duration::from_secs(8)));
        assert_eq!(timeout_of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout_of("99999999H"), Some(Duration::from_hours(99_999_999)));
        for bad in ["", "S", "8", "8s", "123456789S", "ä"] {
            assert_eq!(timeout_of(bad), None, "{bad}");
        }
    }
}
