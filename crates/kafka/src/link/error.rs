//! What can go wrong between us and a broker, named so that an operator knows what to do.

use kafka_protocol::error::ResponseError;
use std::io;

/// Why a broker did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nobody listens.
    #[error("{0} refuses connections")]
    Refused(String),
    /// No answer, or no route.
    #[error("{address} is unreachable: {reason}")]
    Unreachable {
        /// Who was dialled.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The encryption could not be agreed on.
    #[error("TLS with {address} failed: {reason}")]
    Tls {
        /// Who was dialled.
        address: String,
        /// What rustls says.
        reason: String,
    },
    /// The login was refused.
    #[error("{address} does not accept our login: {reason}")]
    Authentication {
        /// Who was dialled.
        address: String,
        /// What the broker says.
        reason: String,
    },
    /// It did not answer in time.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// The connection ended while an answer was due: whether the request was carried out is unknown.
    #[error("{address} closed the connection: {reason}")]
    Closed {
        /// Who was dialled.
        address: String,
        /// How it ended.
        reason: String,
    },
    /// What came back is not Kafka's protocol.
    #[error("{address} does not answer as Kafka does: {reason}")]
    Protocol {
        /// Who was dialled.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker is too old or too new for a request.
    #[error("{address} does not support {request}")]
    Unsupported {
        /// Who was dialled.
        address: String,
        /// Which request.
        request: String,
    },
    /// The broker answered with an error of the protocol.
    #[error("{doing}: {error}", error = ResponseError::try_from_code(*.code).map_or_else(|| "no error".to_owned(), |e| e.to_string()))]
    Api {
        /// The protocol's number for it.
        code: i16,
        /// What was being done.
        doing: String,
    },
    /// The configuration cannot work.
    #[error("{0}")]
    Configuration(String),
}

impl LinkError {
    /// The error that a code in an answer stands for; zero is none.
    pub fn check(code: i16, doing: impl Into<String>) -> Result<(), LinkError> {
        if code == 0 { Ok(()) } else { Err(LinkError::Api { code, doing: doing.into() }) }
    }

    /// The same, where a right may be what is missing: then it is named.
    pub fn check_right(code: i16, doing: impl Into<String>, right: &str) -> Result<(), LinkError> {
        let refused = LinkError::check(code, doing);
        refused.map_err(|error| match error {
            LinkError::Api { code, doing } if error_is_refused_right(code) => {
                LinkError::Api { code, doing: format!("{doing}: {right} is needed") }
            }
            error => error,
        })
    }

    /// The protocol's error, if the broker answered with one.
    pub fn api(&self) -> Option<ResponseError> {
        match self {
            LinkError::Api { code, .. } => ResponseError::try_from_code(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            LinkError::Refused(_)
            | LinkError::Unreachable { .. }
            | LinkError::Timeout(_)
            | LinkError::Closed { .. } => true,
            LinkError::Api { .. } => self.api().is_some_and(|e| e.is_retriable()),
            LinkError::Tls { .. }
            | LinkError::Authentication { .. }
            | LinkError::Protocol { .. }
            | LinkError::Unsupported { .. }
            | LinkError::Configuration(_) => false,
        }
    }

    /// What the operator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            LinkError::Refused(_) => "start the broker, or correct the bootstrap address",
            LinkError::Unreachable { .. } => {
                "check the address, the network, and whether the broker is frozen"
            }
            LinkError::Tls { .. } => "set TLS exactly where the listener speaks it, and trust its authority",
            LinkError::Authentication { .. } => "correct mechanism, user and password for this cluster",
            LinkError::Timeout(_) => "check the network and the load of the broker",
            LinkError::Closed { .. } => {
                "look into the broker's log; a listener that speaks TLS or wants a login closes like this too"
            }
            LinkError::Protocol { .. } => {
                "correct the address: it must be a Kafka listener, without TLS unless set"
            }
            LinkError::Unsupported { .. } => "run Kafka 2.8 or later",
            LinkError::Api { .. } if self.is_refused_right() => {
                "give our user the ACL that the message names"
            }
            LinkError::Api { .. } => "look into the broker's log",
            LinkError::Configuration(_) => "correct the configuration",
        }
    }

    /// Whether a right is missing.
    pub fn is_refused_right(&self) -> bool {
        matches!(self, LinkError::Api { code, .. } if error_is_refused_right(*code))
    }

    pub(crate) fn of_connect(address: &str, error: &io::Error) -> LinkError {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => LinkError::Refused(address.to_owned()),
            _ => LinkError::Unreachable { address: address.to_owned(), reason: error.to_string() },
        }
    }

    pub(crate) fn closed(address: &str, reason: impl Into<String>) -> LinkError {
        LinkError::Closed { address: address.to_owned(), reason: reason.into() }
    }

    pub(crate) fn protocol(address: &str, reason: impl Into<String>) -> LinkError {
        LinkError::Protocol { address: address.to_owned(), reason: reason.into() }
    }
}

fn error_is_refused_right(code: i16) -> bool {
    matches!(
        ResponseError::try_from_code(code),
        Some(
            ResponseError::TopicAuthorizationFailed
                | ResponseError::GroupAuthorizationFailed
                | ResponseError::ClusterAuthorizationFailed
                | ResponseError::TransactionalIdAuthorizationFailed
        )
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_code_becomes_words() {
        let error = LinkError::check(6, "producing to orders-0").unwrap_err();
        assert_eq!(error.to_string(), "producing to orders-0: NotLeaderOrFollower");
        assert!(error.is_transient());
        assert_eq!(LinkError::check(0, "x"), Ok(()));
    }

    #[test]
    fn a_missing_right_is_told_from_a_fault() {
        let error = LinkError::check_right(29, "reading orders", "Read on topic orders").unwrap_err();
        assert!(error.is_refused_right() && !error.is_transient());
        assert!(error.to_string().contains("Read on topic orders is needed"), "{error}");
        let error = LinkError::check_right(14, "reading orders", "Read on topic orders").unwrap_err();
        assert!(!error.is_refused_right() && !error.to_string().contains("is needed"), "{error}");
    }
}
