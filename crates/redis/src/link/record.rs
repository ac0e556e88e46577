//! A stream that remembers how it ended.
//!
//! The problem: the client library above says "closed" for everything, and a dead process, a firewall and a lost
//! route are different news. The idea: wrap the stream below it. The library always has a read pending, so the end
//! is seen here the moment the kernel knows it, also on an idle connection.

use futures::future::BoxFuture;
use primacy_core::view::LinkEnd;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// How a connection ended, once it has.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    end: OnceLock<LinkEnd>,
    told: Notify,
    /// What arrived before a failed write is still wanted: it is left to the reader, who then finds the end.
    reads_on: bool,
}

impl Ending {
    /// For a connection whose every received byte counts.
    pub(super) fn of_reader() -> Self {
        Ending { reads_on: true, ..Self::default() }
    }

    /// How it ended; none while it is open.
    pub(crate) fn get(&self) -> Option<LinkEnd> {
        self.end.get().copied()
    }

    /// The first end that is recorded stays.
    pub(crate) fn record(&self, end: LinkEnd) {
        if self.end.set(end).is_ok() {
            self.told.notify_waiters();
        }
    }

    /// Waits for the end. To be kept: the prober waits for it all the time.
    pub(crate) fn wait_owned(self: &Arc<Self>) -> BoxFuture<'static, LinkEnd> {
        let ending = self.clone();
        Box::pin(async move { ending.wait().await })
    }

    /// Waits for the end.
    pub(crate) async fn wait(&self) -> LinkEnd {
        loop {
            let told = self.told.notified();
            if let Some(end) = self.get() {
                return end;
            }
            told.await;
        }
    }
}

/// Passes everything through and records the end.
#[derive(Debug)]
pub(crate) struct Recording<S> {
    stream: S,
    ending: Arc<Ending>,
}

impl<S> Recording<S> {
    pub(crate) fn new(stream: S, ending: Arc<Ending>) -> Self {
        Self { stream, ending }
    }
}

/// Whoever drops the stream before it ended gave it up.
impl<S> Drop for Recording<S> {
    fn drop(&mut self) {
        self.ending.record(LinkEnd::Unanswered);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recording<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let room = buffer.remaining() > 0;
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match &polled {
            Poll::Ready(Ok(())) if room && buffer.filled().len() == before => {
                self.ending.record(LinkEnd::Eof);
            }
            Poll::Ready(Err(_)) => self.ending.record(LinkEnd::Reset),
            _ => {}
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Recording<S> {
    /// A write fails on a connection that the peer closed as well as on one that was reset. What it was, the read
    /// side knows: the kernel keeps an EOF that came first.
    fn ask_the_read_side(&mut self, cx: &mut Context<'_>) {
        let mut bytes = [0; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                // Answers that still lie there are of no use: nothing can be sent any more.
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Ok(())) => return self.ending.record(LinkEnd::Eof),
                Poll::Ready(Err(_)) | Poll::Pending => return self.ending.record(LinkEnd::Reset),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Recording<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Err(error)) = &polled {
            if !self.ending.reads_on {
                self.ask_the_read_side(cx);
            } else if error.kind() == io::ErrorKind::ConnectionReset {
                // The kernel says so once, and EOF to whoever reads after that; a reset after an EOF is another error.
                self.ending.record(LinkEnd::Reset);
            }
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_closed_peer_is_an_eof() {
        let (ours, theirs) = tokio::io::duplex(64);
        let ending = Arc::new(Ending::default());
        let mut recording = Recording::new(ours, ending.clone());
        recording.write_all(b"x").await.unwrap();
        assert_eq!(ending.get(), None);
        drop(theirs);
        assert_eq!(recording.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(ending.wait().await, LinkEnd::Eof);
    }

    #[tokio::test]
    async fn a_failed_write_leaves_what_arrived_to_the_reader() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let ending = Arc::new(Ending::of_reader());
        let mut recording = Recording::new(ours, ending.clone());
        theirs.write_all(b"last words").await.unwrap();
        drop(theirs);
        recording.write_all(b"x").await.unwrap_err();
        assert_eq!(ending.get(), None);
        let mut bytes = Vec::new();
        recording.read_to_end(&mut bytes).await.unwrap();
        assert_eq!((&bytes[..], ending.get()), (&b"last words"[..], Some(LinkEnd::Eof)));
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_was_given_up() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let ending = Arc::new(Ending::default());
        drop(Recording::new(ours, ending.clone()));
        assert_eq!(ending.get(), Some(LinkEnd::Unanswered));
    }
}
