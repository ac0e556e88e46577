//! Asking Redis Sentinel for the primary, as its clients do.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::FutureExt;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use super::{Locate, Target};
use crate::redis_address::RedisAddress;

const PATIENCE: Duration = Duration::from_millis(300);

/// Asks the first Sentinel that answers; keeps the connection for the next question.
#[derive(Debug)]
pub struct SentinelLocate {
    group: String,
    sentinels: Vec<RedisAddress>,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl SentinelLocate {
    /// `sentinels` are `host:port`; `group` is the name that they monitor. Members are called by their address.
    pub fn new(group: impl Into<String>, sentinels: impl IntoIterator<Item = String>) -> Self {
        Self {
            group: group.into(),
            sentinels: sentinels.into_iter().map(RedisAddress::new).collect(),
            connection: Mutex::new(None),
        }
    }

    async fn ask(&self) -> Result<Target> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_mut()
            && let Ok(target) = self.ask_one(connection).await
        {
            return Ok(target);
        }
        *kept = None;
        let mut last = anyhow!("no Sentinel is known");
        for sentinel in &self.sentinels {
            let asked = async {
                let mut connection = sentinel.connect_within(PATIENCE, PATIENCE).await?;
                let target = self.ask_one(&mut connection).await?;
                Ok::<_, anyhow::Error>((connection, target))
            };
            match asked.await.with_context(|| format!("Sentinel {} does not say", sentinel.address)) {
                Ok((connection, target)) => {
                    *kept = Some(connection);
                    return Ok(target);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_one(&self, connection: &mut MultiplexedConnection) -> Result<Target> {
        let answer: Option<(String, u16)> = redis::cmd("SENTINEL")
            .arg("get-master-addr-by-name")
            .arg(&self.group)
            .query_async(connection)
            .await?;
        let (host, port) = answer.ok_or_else(|| anyhow!("the Sentinel does not know {}", self.group))?;
        let address = format!("{host}:{port}");
        Ok(Target::new(address.clone(), address))
    }
}

impl Locate for SentinelLocate {
    fn locate<'a>(&'a self, _failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>> {
        self.ask().boxed()
    }
}
