//! Settings of a client.

use crate::cache::Cache;
use crate::pool::Pool;
use crate::{Client, ClientError, v1};
use primacy_core::Address;
use std::sync::Arc;
use std::time::Duration;

/// How long things may take.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// One call, with all its attempts.
    pub(crate) deadline: Duration,
    /// One attempt of a call that changes nothing. What changes something is given the whole deadline, because giving
    /// it up leaves its outcome unknown.
    pub(crate) attempt_max: Duration,
    /// A node that has not answered such a call for so long is not the only one that is asked any more.
    pub(crate) hedge_after: Duration,
    /// Opening a connection.
    pub(crate) connect_max: Duration,
    /// The first pause after all nodes were tried; the next ones double, up to `backoff_max`.
    pub(crate) backoff_min: Duration,
    /// The longest pause.
    pub(crate) backoff_max: Duration,
    /// How long a node that failed three times in a row is left alone; longer while it goes on failing.
    pub(crate) open_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            attempt_max: Duration::from_secs(2),
            hedge_after: Duration::from_millis(200),
            connect_max: Duration::from_secs(1),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(500),
            open_wait: Duration::from_millis(250),
        }
    }
}

/// Describes a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    endpoints: Vec<String>,
    settings: Settings,
}

impl Builder {
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        Self { endpoints, settings: Settings::default() }
    }

    /// How long a call may take, all attempts included; 10 s unless told otherwise.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long one attempt of a call that changes nothing may take before another node is asked; 2 s unless told
    /// otherwise.
    pub fn attempt_max(mut self, attempt_max: Duration) -> Self {
        self.settings.attempt_max = attempt_max;
        self
    }

    /// After how long without an answer to a call that changes nothing the next node is asked beside the first; 200 ms
    /// unless told otherwise. Longer than a round trip between the farthest sites.
    pub fn hedge_after(mut self, hedge_after: Duration) -> Self {
        self.settings.hedge_after = hedge_after;
        self
    }

    /// How long opening a connection may take; 1 s unless told otherwise.
    pub fn connect_max(mut self, connect_max: Duration) -> Self {
        self.settings.connect_max = connect_max;
        self
    }

    /// A client that connects with its first call.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when no address is given, or one that is not `HOST:PORT`.
    pub fn build(self) -> Result<Client, ClientError> {
        if self.endpoints.is_empty() {
            return Err(invalid("no node is given"));
        }
        for endpoint in &self.endpoints {
            let address: Address = endpoint.parse().map_err(|error| invalid(format!("{error}")))?;
            if address.to_string() != *endpoint || address.tls {
                return Err(invalid(format!("{endpoint:?} is not HOST:PORT")));
            }
        }
        let pool = Arc::new(Pool::new(&self.endpoints, self.settings));
        Ok(Client { cache: Arc::new(Cache::new(Arc::clone(&pool))), pool })
    }

    /// A client, once a node has answered.
    ///
    /// # Errors
    /// As [`Builder::build`], and [`ClientError::Unreachable`] or [`ClientError::TimedOut`] when no node answers within
    /// the deadline. A cluster without a leader is no error here.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let client = self.build()?;
        match client.list_groups(v1::Consistency::Local).await {
            Err(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => Err(error),
            Ok(_) | Err(_) => Ok(client),
        }
    }
}

fn invalid(reason: impl Into<String>) -> ClientError {
    ClientError::Invalid {
        field: "endpoints".to_owned(),
        reason: reason.into(),
        remedy: "name the nodes as HOST:PORT,HOST:PORT,...".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_is_dialled() {
        for good in ["127.0.0.1:7101", "node-1.east:7101", "[::1]:7101"] {
            assert!(Client::builder([good]).build().is_ok(), "{good}");
        }
        for bad in ["", "host", "host:0", "http://host:1", "rediss://host:1", "redis://host:1", "a b:1"] {
            let error = Client::builder([bad]).build().err();
            assert!(matches!(error, Some(ClientError::Invalid { .. })), "{bad}");
        }
        assert!(matches!(Client::builder([""; 0]).build(), Err(ClientError::Invalid { .. })));
    }
}
