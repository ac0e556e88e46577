//! A client's connections to the members, and what a failed write says about a member.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};

use super::Target;
use crate::redis_address::{Credentials, RedisAddress};
use crate::redis_server::info_fields;

/// Why a write was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The member answered with an error, refused the connection or ended it.
    Refused,
    /// Nothing came: the member may be frozen, cut off or slow, and may still execute the write.
    Silent,
}

/// When a write was sent and acknowledged, and the run id of the process that did.
pub(super) struct Written<'a> {
    pub(super) sent: Instant,
    pub(super) at: Instant,
    pub(super) run_id: &'a str,
}

struct Open {
    connection: MultiplexedConnection,
    run_id: String,
}

/// The connections of one client, kept while they work.
pub(super) struct Links {
    open: BTreeMap<String, Open>,
    credentials: Option<Credentials>,
    connect_timeout: Duration,
    response_timeout: Duration,
}

impl Links {
    pub(super) fn new(
        credentials: Option<Credentials>,
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> Self {
        Self { open: BTreeMap::new(), credentials, connect_timeout, response_timeout }
    }

    /// Sends one command and waits for the answer.
    pub(super) async fn write(
        &mut self,
        target: &Target,
        command: &Cmd,
    ) -> Result<Written<'_>, (Failure, String)> {
        match self.try_write(target, command).await {
            Ok((sent, at)) => {
                let run_id = self.open.get(&target.address).map_or("", |open| &open.run_id);
                Ok(Written { sent, at, run_id })
            }
            Err(error) => {
                // An error in an answer leaves the connection as good as it was.
                if error.code().is_none() {
                    self.open.remove(&target.address);
                }
                Err((failure_of(&error), format!("{}: {error}", target.member)))
            }
        }
    }

    async fn try_write(&mut self, target: &Target, command: &Cmd) -> Result<(Instant, Instant), RedisError> {
        if !self.open.contains_key(&target.address) {
            let open = self.open(&target.address).await?;
            self.open.insert(target.address.clone(), open);
        }
        let Some(open) = self.open.get_mut(&target.address) else {
            return Err(std::io::Error::from(std::io::ErrorKind::NotConnected).into());
        };
        let sent = Instant::now();
        command.query_async::<()>(&mut open.connection).await?;
        Ok((sent, Instant::now()))
    }

    async fn open(&self, address: &str) -> Result<Open, RedisError> {
        let address = RedisAddress { address: address.to_owned(), credentials: self.credentials.clone() };
        let mut connection = address.connect_within(self.connect_timeout, self.response_timeout).await?;
        let info = redis::cmd("INFO").arg("server").query_async::<String>(&mut connection).await;
        let run_id = match info {
            Ok(info) => info_fields(&info).remove("run_id").unwrap_or_default(),
            // A user without the right to ask may write all the same.
            Err(error) if error.code().is_some() => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Open { connection, run_id })
    }
}

fn failure_of(error: &RedisError) -> Failure {
    // A connection that could not be set up in time is an I/O error like one that was dropped: the order matters.
    if error.is_timeout() {
        Failure::Silent
    } else if error.code().is_some() || error.is_connection_refusal() || error.is_connection_dropped() {
        Failure::Refused
    } else {
        Failure::Silent
    }
}
