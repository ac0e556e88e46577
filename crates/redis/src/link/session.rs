//! One established connection, and the quiet one beside it.

use super::dial::{self, DialError};
use super::record::Ending;
use crate::Access;
use futures::future::BoxFuture;
use primacy_core::view::LinkEnd;
use primacy_core::{Address, Moment};
use primacy_runtime::Task;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A connection that was greeted and answered. Requests of several callers share it.
#[derive(Debug)]
pub(crate) struct Session {
    connection: MultiplexedConnection,
    ending: Arc<Ending>,
    driver: Task<()>,
}

/// Why a request has no answer. Whether it was carried out is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection ended before the answer ({0})")]
    Ended(String),
}

impl Session {
    /// Connects, logs in, and waits for the first answer.
    pub(crate) async fn open(
        address: &Address,
        access: &Access,
        name: &str,
        within: Duration,
    ) -> Result<Self, DialError> {
        let opening = Self::open_unbounded(address, access, name, within);
        let silence =
            || DialError::Unreachable(format!("it accepts connections and answered nothing for {within:?}"));
        primacy_runtime::timeout(within, opening).await.unwrap_or_else(|_| Err(silence()))
    }

    async fn open_unbounded(
        address: &Address,
        access: &Access,
        name: &str,
        within: Duration,
    ) -> Result<Self, DialError> {
        let ending = Arc::new(Ending::default());
        let stream = dial::open_stream(address, access, &ending, within).await?;
        // Time limits are ours, on the seam's clock; the library sends nothing of its own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (connection, driver) = MultiplexedConnection::new_with_config(&settings, stream, config)
            .await
            .map_err(|e| dial::of_greeting(&e))?;
        let session = Session { connection, ending, driver: primacy_runtime::spawn(driver) };
        let replies = session.send(&dial::greeting(access, name)).await.map_err(|e| dial::of_greeting(&e))?;
        dial::accept_greeting(&replies)?;
        Ok(session)
    }

    /// Sends the commands in one write and waits for all answers; refusals are among them.
    pub(crate) async fn ask(&self, pipeline: &redis::Pipeline) -> Result<Vec<Value>, AskError> {
        self.send(pipeline).await.map_err(|e| AskError::Ended(e.to_string()))
    }

    /// [`Session::ask`] until `deadline`. What was not written by then never is.
    pub(crate) async fn ask_until(
        &self,
        pipeline: &redis::Pipeline,
        deadline: Moment,
    ) -> Result<Vec<Value>, AskError> {
        let asked = primacy_runtime::timeout_at(deadline, self.ask(pipeline)).await;
        asked.unwrap_or(Err(AskError::TimedOut))
    }

    async fn send(&self, pipeline: &redis::Pipeline) -> Result<Vec<Value>, RedisError> {
        let mut connection = self.connection.clone();
        connection.send_packed_commands(pipeline, 0, pipeline.len()).await
    }

    /// How it ended; none while it is open.
    pub(crate) fn ended(&self) -> Option<LinkEnd> {
        self.ending.get()
    }

    /// Waits for the end.
    pub(crate) fn wait_end(&self) -> BoxFuture<'static, LinkEnd> {
        self.ending.wait_owned()
    }

    /// Gives it up: what still lies in our buffers is not sent.
    pub(crate) fn abandon(&self) {
        self.driver.abort();
    }
}

/// A connection that has asked for a full resync. Dropping it hangs up.
pub(crate) struct Resync {
    stream: Box<dyn primacy_runtime::Stream>,
}

impl Resync {
    /// Connects and asks.
    pub(crate) async fn ask(address: &Address, access: &Access, within: Duration) -> Result<Self, DialError> {
        let asking = async {
            let ending = Arc::new(Ending::default());
            let mut resync = Resync { stream: dial::open_stream(address, access, &ending, within).await? };
            let unreachable = |e: std::io::Error| DialError::Unreachable(e.to_string());
            let mut commands = dial::replica_greeting(access).into_iter().peekable();
            while let Some(command) = commands.next() {
                resync.stream.write_all(&command).await.map_err(unreachable)?;
                resync.stream.flush().await.map_err(unreachable)?;
                // One after the other: PSYNC is refused while answers to other commands wait to be sent.
                if commands.peek().is_some() {
                    resync.line().await.map_err(unreachable)?;
                }
            }
            Ok(resync)
        };
        let late = || DialError::Unreachable(format!("a resync could not be asked for within {within:?}"));
        primacy_runtime::timeout(within, asking).await.unwrap_or_else(|_| Err(late()))
    }

    /// The next line that is not empty: empty ones keep a replica's connection alive while it waits.
    pub(crate) async fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        loop {
            match self.stream.read_u8().await? {
                b'\n' if line.iter().any(|b: &u8| !b.is_ascii_whitespace()) => break,
                byte => line.push(byte),
            }
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }
}

/// A connection on which nothing is ever sent once it is introduced.
///
/// The kernel of a killed process resets every connection with unread requests and closes the others by EOF. Probes
/// are often unread at that moment, always when the process was frozen before; here nothing is, so that its end says
/// EOF whenever that is the truth.
#[derive(Debug)]
pub(crate) struct Quiet {
    ending: Arc<Ending>,
    _reader: Task<()>,
}

impl Quiet {
    /// Connects in the background; a failure ends it.
    pub(crate) fn open(address: Address, access: Access, name: &'static str, within: Duration) -> Self {
        let ending = Arc::new(Ending::default());
        let recorded = ending.clone();
        let reader = primacy_runtime::spawn(async move {
            // The answers are of no interest: logged in or not, it ends when the process does.
            let hello = dial::greeting(&access, name).get_packed_pipeline();
            match dial::open_stream(&address, &access, &recorded, within).await {
                Ok(mut stream) => {
                    let mut bytes = [0; 64];
                    if stream.write_all(&hello).await.is_ok() && stream.flush().await.is_ok() {
                        while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
                    }
                }
                Err(_) => recorded.record(LinkEnd::Unanswered),
            }
        });
        Quiet { ending, _reader: reader }
    }

    /// How it ended; none while it is open.
    pub(crate) fn ended(&self) -> Option<LinkEnd> {
        self.ending.get()
    }

    /// Waits for the end.
    pub(crate) fn wait_end(&self) -> BoxFuture<'static, LinkEnd> {
        self.ending.wait_owned()
    }
}
