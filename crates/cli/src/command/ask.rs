//! Asking the cluster: the client of one command, and what its errors mean for the exit code.

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::screen::Screen;
use primacy_client::{Client, ClientError};
use primacy_wire::{WireError, v1};
use std::time::Duration;

/// The client of one command, and where its answer goes.
pub(crate) struct Ask {
    pub(crate) client: Client,
    pub(crate) screen: Screen,
    /// How long the command may wait for an answer.
    pub(crate) timeout: Duration,
}

impl Ask {
    /// Connects to nobody yet.
    pub(crate) fn new(global: &Global, screen: Screen) -> Result<Self, Failure> {
        let client = Client::builder(global.endpoints.clone())
            .deadline(global.timeout)
            .build()
            .map_err(|error| failure_of(&error))?;
        Ok(Ask { client, screen, timeout: global.timeout })
    }

    /// The site of the primary, if somebody knows it.
    pub(crate) async fn site_of_primary(&self, group: &str) -> Option<String> {
        let primary = self.client.get_primary(group, v1::Consistency::Linearizable).await;
        primary.ok().and_then(|primary| primary.site)
    }
}

/// A part of an answer in words of ours.
pub(crate) fn understood<T>(converted: Result<T, WireError>) -> Result<T, Failure> {
    converted.map_err(|error| {
        Failure::failed(format!("the answer has a part that this version does not understand: {error}"))
            .remedy(format!("use the version of the nodes; this is {}", env!("CARGO_PKG_VERSION")))
    })
}

/// What an error of the client means for whoever runs the command.
pub(crate) fn failure_of(error: &ClientError) -> Failure {
    let message = error.to_string();
    match error {
        ClientError::Refused { rule, message } => Failure::refused(rule, message),
        ClientError::Invalid { field, reason, remedy } => {
            Failure::usage(format!("{field}: {reason}")).remedy(remedy)
        }
        // Their message says what to do.
        ClientError::NotFound { .. } => Failure::usage(message),
        ClientError::Compacted { .. } | ClientError::Other(_) => Failure::failed(message),
        ClientError::NoLeader { .. } | ClientError::Stale { .. } => Failure::new(Exit::NoLeader, message)
            .remedy(
                "a majority of the nodes must run and see each other; primacy cluster status tells who does",
            ),
        ClientError::Unreachable { .. } => Failure::new(Exit::NoLeader, message).remedy(
            "is a node running there? name others with --endpoints HOST:PORT,... or PRIMACY_ENDPOINTS",
        ),
        // The head of the message says already that the outcome is unknown.
        ClientError::TimedOut { outcome_unknown: true, detail } => Failure::new(Exit::Unknown, detail)
            .remedy("it may have happened or may yet happen; primacy status shows what is"),
        ClientError::TimedOut { outcome_unknown: false, .. } => Failure::new(Exit::NoLeader, message)
            .remedy("nothing was changed; wait longer with --timeout, or ask other nodes with --endpoints"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_client_has_an_exit_code_and_a_remedy() {
        let text = || "something".to_owned();
        let timed_out = |outcome_unknown| ClientError::TimedOut { outcome_unknown, detail: text() };
        let invalid = ClientError::Invalid { field: text(), reason: text(), remedy: text() };
        for (error, code) in [
            (ClientError::Other(tonic::Status::internal("no")), 1),
            (ClientError::Compacted { oldest: 5 }, 1),
            (invalid, 2),
            (ClientError::NotFound { code: text(), message: text() }, 2),
            (ClientError::Refused { rule: text(), message: text() }, 3),
            (ClientError::NoLeader { detail: text() }, 4),
            (ClientError::Stale { age_ms: 1, bound_ms: 1 }, 4),
            (ClientError::Unreachable { detail: text() }, 4),
            (timed_out(false), 4),
            (timed_out(true), 5),
        ] {
            let failure = failure_of(&error);
            assert_eq!(failure.exit.code(), code, "{error}");
            assert!(failure.remedy.is_some() || matches!(code, 1..=3), "{error}");
        }
    }
}
