//! Where a Redis server is reached, as whom, and the connection to it.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisConnectionInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Patient enough for a server that is busy; nothing here may hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// An ACL user and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: String,
}

/// A Redis server as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    /// `host:port`.
    pub address: String,
    /// As whom to connect; `None` is the default user without a password.
    pub credentials: Option<Credentials>,
}

impl RedisAddress {
    /// The default user at `host:port`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), credentials: None }
    }

    /// A connection with 5 s for each answer.
    pub async fn connect(&self) -> Result<MultiplexedConnection> {
        self.connect_within(PATIENCE, PATIENCE)
            .await
            .with_context(|| format!("cannot connect to Redis at {}", self.address))
    }

    /// A connection that gives up connecting after `connect`, and each command after `response`.
    pub(crate) async fn connect_within(
        &self,
        connect: Duration,
        response: Duration,
    ) -> redis::RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect))
            .set_response_timeout(Some(response));
        self.client()?.get_multiplexed_async_connection_with_config(&config).await
    }

    fn client(&self) -> redis::RedisResult<Client> {
        let (host, port) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
        let port: u16 = port.parse().map_err(|_| {
            redis::RedisError::from((
                redis::ErrorKind::InvalidClientConfig,
                "an address is host:port",
                self.address.clone(),
            ))
        })?;
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(credentials) = &self.credentials {
            settings = settings.set_username(&credentials.username).set_password(&credentials.password);
        }
        Client::open((host, port).into_connection_info()?.set_redis_settings(settings))
    }
}

/// Whether a server at `address` answers at all; a refusal (`-NOAUTH`, `-LOADING`) is an answer too.
pub(crate) async fn answers(address: &str) -> Result<()> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("no connection to {address}"))?;
    stream.write_all(b"PING\r\n").await?;
    match stream
        .read_u8()
        .await
        .with_context(|| format!("{address} accepts connections and answers nothing"))?
    {
        b'+' | b'-' => Ok(()),
        _ => Err(anyhow!("what answers at {address} is not Redis")),
    }
}
