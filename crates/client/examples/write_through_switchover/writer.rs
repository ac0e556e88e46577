//! A Redis connection that follows the primary of its group.
//!
//! A write that was sent and not answered is sent again, so it must mean the same when it is done twice.

use primacy_client::{Client, v1};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisError};
use std::error::Error;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A primary that does not answer for so long is doubted.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Between two attempts, unless news of the group arrive before.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Writes to the primary of a group, whoever that is.
pub(crate) struct Writer {
    client: Client,
    group: String,
    /// The primary that was written to last, and the connection to it.
    target: Option<(v1::Primary, MultiplexedConnection)>,
}

impl Writer {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self { client, group, target: None }
    }

    /// Where the last write went.
    pub(crate) fn address(&self) -> Option<&str> {
        self.target.as_ref().and_then(|(primary, _)| primary.address.as_deref())
    }

    /// Sends the command until a primary has done it, or `within` is over.
    pub(crate) async fn write(
        &mut self,
        command: &Cmd,
        within: Duration,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let deadline = Instant::now() + within;
        loop {
            let primary = self.client.primary(&self.group).await?;
            let failure = match self.attempt(&primary, command).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if Instant::now() >= deadline {
                return Err(failure.into());
            }
            self.client.report_failure(&self.group, primary.epoch);
            self.client.primary_after(&primary, RETRY_PAUSE).await?;
        }
    }

    async fn attempt(&mut self, primary: &v1::Primary, command: &Cmd) -> Result<(), RedisError> {
        let mut connection = match self.target.take() {
            Some((at, connection)) if at.epoch == primary.epoch && at.address == primary.address => {
                connection
            }
            Some(_) | None => connect(primary).await?,
        };
        // A refusal (NOREPLICAS, READONLY, LOADING) leaves the connection good; anything else gives it up.
        let answer = timeout(ANSWER_MAX, command.query_async::<()>(&mut connection)).await;
        let Ok(result) = answer else { return Err(silent()) };
        if result.as_ref().err().is_none_or(|e| e.code().is_some()) {
            self.target = Some((primary.clone(), connection));
        }
        result
    }
}

async fn connect(primary: &v1::Primary) -> Result<MultiplexedConnection, RedisError> {
    let address = primary.address.as_deref().unwrap_or_default();
    let url = if address.contains("://") { address.to_owned() } else { format!("redis://{address}") };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_MAX))
        .set_response_timeout(Some(ANSWER_MAX));
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

fn silent() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
