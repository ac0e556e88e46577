//! One node: its lazily opened channel, and the breaker that leaves it alone while it fails.

use crate::builder::Settings;
use crate::error::Failed;
use recloser::{AsyncRecloser, Recloser};
use std::fmt;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;
use tonic::transport::Channel;

/// A ping goes out when nothing was heard for so long, and as much later the connection is given up.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// While a node goes on failing, it is left alone for at most so many times `open_wait`.
const OPEN_WAITS_MAX: u32 = 8;

pub(crate) struct Endpoint {
    address: String,
    connect_max: Duration,
    channel: OnceLock<Channel>,
    breaker: AsyncRecloser,
}

/// An attempt at one node.
pub(crate) enum Attempt<T> {
    Done(T),
    Failed(Failed),
    /// The breaker is open: nothing was sent.
    LeftAlone,
}

impl Endpoint {
    pub(crate) fn new(address: String, settings: &Settings) -> Self {
        // The last two results decide, once a third is there: three failures in a row open it.
        let breaker = Recloser::custom()
            .error_rate(0.9)
            .closed_len(2)
            .half_open_len(1)
            .open_wait(settings.open_wait)
            .open_wait_strategy(|failures: u32, wait: Duration| {
                wait * 2u32.saturating_pow(failures).min(OPEN_WAITS_MAX)
            })
            .build();
        Self { address, connect_max: settings.connect_max, channel: OnceLock::new(), breaker: breaker.into() }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The connection; opened with the first request on it, and again after it broke.
    pub(crate) fn channel(&self) -> Result<Channel, Failed> {
        if let Some(channel) = self.channel.get() {
            return Ok(channel.clone());
        }
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address))
            .map_err(|error| Failed::Unreached(error.to_string()))?
            .connect_timeout(self.connect_max)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEPALIVE))
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        Ok(self.channel.get_or_init(|| endpoint.connect_lazy()).clone())
    }

    /// Runs `attempt` unless this node is being left alone, and remembers how it went.
    pub(crate) async fn attempt<T>(&self, attempt: impl Future<Output = Result<T, Failed>>) -> Attempt<T> {
        match self.breaker.call_with(Failed::speaks_against_the_node, attempt).await {
            Ok(done) => Attempt::Done(done),
            Err(recloser::Error::Inner(failed)) => Attempt::Failed(failed),
            Err(recloser::Error::Rejected) => Attempt::LeftAlone,
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    async fn attempt(endpoint: &Endpoint, result: Result<(), Failed>) -> &'static str {
        match endpoint.attempt(async { result }).await {
            Attempt::Done(()) => "done",
            Attempt::Failed(_) => "failed",
            Attempt::LeftAlone => "left alone",
        }
    }

    #[tokio::test]
    async fn three_failures_in_a_row_leave_a_node_alone_for_a_while() {
        let settings = Settings { open_wait: Duration::from_millis(50), ..Settings::default() };
        let node = Endpoint::new("a:1".to_owned(), &settings);
        let dead = || Err(Failed::Unreached("refused".to_owned()));
        let busy = || Err(Failed::Later("no quorum".to_owned()));
        for _ in 0..10 {
            assert_eq!(attempt(&node, busy()).await, "failed", "what a node says does not speak against it");
        }
        for _ in 0..2 {
            assert_eq!(attempt(&node, dead()).await, "failed");
            assert_eq!(attempt(&node, Ok(())).await, "done", "one success is enough");
        }
        while attempt(&node, dead()).await == "failed" {}
        let opened = Instant::now();
        while attempt(&node, Ok(())).await == "left alone" {
            assert!(opened.elapsed() < Duration::from_secs(10), "it is asked again");
            sleep(Duration::from_millis(5)).await;
        }
        assert!(opened.elapsed() >= Duration::from_millis(40), "{:?}", opened.elapsed());
    }
}
