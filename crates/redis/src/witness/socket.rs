//! The witness's connection, which can be taken away in one step.
//!
//! The problem: a witness whose lease ended must not acknowledge once more, and what it received counts up to the last
//! byte; but the task that reads and acknowledges runs on a thread of its own. The idea: the connection and the tail it
//! fills lie behind one lock, held for one read or one write at a time. Whoever takes the connection out knows that
//! nothing is sent after, and that all that was read is in the tail. Each write looks at the clock first: timers of a
//! process that was frozen may come late.

use super::tail::Tail;
use crate::link::Ending;
use primacy_core::Moment;
use primacy_core::view::LinkEnd;
use primacy_runtime::{Stream, now};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads of what had arrived when the connection is taken away: at most this many.
const DRAIN_READS_MAX: u32 = 64;

/// The connection, its present one if any, and the tail. A cheap handle.
#[derive(Clone)]
pub(super) struct Socket(Arc<Mutex<Slot>>);

struct Slot {
    /// Nothing is sent from then on.
    until: Moment,
    stream: Option<Box<dyn Stream>>,
    /// How the last connection ended.
    ending: Arc<Ending>,
    tail: Option<Tail>,
    /// What arrives belongs to the tail.
    pouring: bool,
    shut: bool,
}

impl Socket {
    /// Without a connection yet; one may be used until then.
    pub(super) fn open_until(until: Moment) -> Self {
        Socket(Arc::new(Mutex::new(Slot {
            until,
            stream: None,
            ending: Arc::default(),
            tail: None,
            pouring: false,
            shut: false,
        })))
    }

    /// It may be used until then, if that is later; false when its time is over.
    pub(super) fn keep_until(&self, until: Moment) -> bool {
        let mut slot = self.slot();
        let over = slot.is_over();
        if !over {
            slot.until = slot.until.max(until);
        }
        !over
    }

    /// When its time is over.
    pub(super) fn until(&self) -> Moment {
        self.slot().until
    }

    /// Makes `stream` the connection; false once the socket was shut.
    pub(super) fn install(&self, stream: Box<dyn Stream>, ending: Arc<Ending>) -> bool {
        let mut slot = self.slot();
        if !slot.shut {
            slot.pouring = false;
            slot.ending = ending;
            slot.stream = Some(stream);
        }
        !slot.shut
    }

    /// What arrives from here on belongs to `tail`, which is the present one; false once the socket was shut.
    pub(super) fn pour_into(&self, tail: Tail) -> bool {
        let mut slot = self.slot();
        if !slot.shut {
            slot.pouring = true;
            slot.tail = Some(tail);
        }
        !slot.shut
    }

    /// The tail of the present history.
    pub(super) fn tail(&self) -> Option<Tail> {
        self.slot().tail.clone()
    }

    /// Reads once into the tail; 0 is the end.
    pub(super) fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.slot().poll_fill(cx)
    }

    /// How the last connection ended, once it has.
    pub(super) fn ended(&self) -> Option<LinkEnd> {
        self.slot().ending.get()
    }

    /// Drops the connection. The next may be installed.
    pub(super) fn hang_up(&self) {
        let gone = self.slot().stream.take();
        drop(gone);
    }

    /// Takes the connection away for good: when this returns it is closed, nothing will be sent, and what had arrived
    /// is in the tail. Returns how the connection had ended, if it had.
    pub(super) fn shut(&self) -> Option<LinkEnd> {
        let mut slot = self.slot();
        slot.shut = true;
        // While it is still open: an end that we cause would look like the primary's.
        for _ in 0..DRAIN_READS_MAX {
            if !matches!(slot.poll_fill(&mut nobody()), Poll::Ready(Ok(1..))) {
                break;
            }
        }
        let ended = slot.ending.get();
        slot.stream = None;
        slot.pouring = false;
        ended
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn is_over(&self) -> bool {
        self.shut || now() >= self.until
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match (&mut self.stream, &self.tail) {
            (Some(stream), Some(tail)) if self.pouring => tail.poll_fill(cx, stream),
            _ => Poll::Ready(Err(gone())),
        }
    }
}

/// There is nobody to wake: what is not ready is not waited for.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was given up")
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.slot().stream {
            Some(stream) => Pin::new(stream).poll_read(cx, buffer),
            None => Poll::Ready(Err(gone())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut slot = self.slot();
        let over = slot.is_over();
        match &mut slot.stream {
            Some(stream) if !over => Pin::new(stream).poll_write(cx, bytes),
            _ => Poll::Ready(Err(gone())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.slot().stream {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.slot().stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Err(gone())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn whoever_wakes_up_after_its_time_sends_nothing() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut socket = Socket::open_until(now().after(Duration::from_millis(20)));
        assert!(socket.install(Box::new(ours), Arc::default()));
        socket.write_all(b"in time").await.unwrap();
        // No timer runs meanwhile, as in a process that is stopped.
        while now() < socket.until() {
            std::thread::yield_now();
        }
        socket.write_all(b"late").await.unwrap_err();
        assert!(!socket.keep_until(now().after(Duration::from_mins(1))));
        socket.write_all(b"still late").await.unwrap_err();
        socket.shut();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"in time");
    }

    #[tokio::test]
    async fn what_had_arrived_is_kept_when_it_is_shut() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let socket = Socket::open_until(now().after(Duration::from_mins(1)));
        let tail = Tail::new("a".into(), 0, 1000);
        assert!(socket.install(Box::new(ours), Arc::default()) && socket.pour_into(tail.clone()));
        theirs.write_all(b"last words").await.unwrap();
        assert_eq!((socket.shut(), tail.end()), (None, 10));
        assert!(!socket.pour_into(tail));
        let (ours, _theirs) = tokio::io::duplex(64);
        assert!(!socket.install(Box::new(ours), Arc::default()));
    }
}
