//! Outgoing connections.

use crate::{backend, timeout};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to `authority` (`host:port`) with TCP_NODELAY.
///
/// # Errors
/// Those of the system, and [`io::ErrorKind::TimedOut`] after `within`.
pub async fn connect(authority: &str, within: Duration) -> io::Result<Box<dyn Stream>> {
    let installed = backend::with(|installed| installed.map(|backend| backend.connect(authority)));
    let connected = match installed {
        Some(opening) => timeout(within, opening).await,
        None => timeout(within, connect_tcp(authority)).await,
    };
    connected.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("{authority} did not answer within {within:?}")))
    })
}

async fn connect_tcp(authority: &str) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}
