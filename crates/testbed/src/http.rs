//! One HTTP request, for health endpoints: enough for `GET` on loopback and no more.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, at most 4 MiB of it.
    pub body: String,
}

/// `GET path` from `address` (`host:port`).
///
/// # Errors
/// When nothing answers within `deadline`, or what answers is not HTTP.
pub async fn get(address: &str, path: &str, deadline: Duration) -> Result<Response> {
    timeout(deadline, exchange(address, path))
        .await
        .with_context(|| format!("http://{address}{path} did not answer within {deadline:?}"))?
        .with_context(|| format!("GET http://{address}{path} failed"))
}

async fn exchange(address: &str, path: &str) -> Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    // 1.0: the server closes the connection and sends no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(BODY_BYTES_MAX).read_to_end(&mut bytes).await?;
    parse(&String::from_utf8_lossy(&bytes)).context("the answer is not HTTP")
}

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split(' ');
    let version = words.next()?;
    let status = words.next()?.parse().ok()?;
    version.starts_with("HTTP/1.").then(|| Response { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let text = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(parse(text), Some(Response { status: 503, body: "no".to_owned() }));
        assert_eq!(parse("+PONG\r\n"), None);
    }
}
