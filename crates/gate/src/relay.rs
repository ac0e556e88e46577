//! Bytes between two sockets, as they come.
//!
//! The problem: many connections, most of them idle, each of which must be fast when it is not. The idea: one task for
//! both directions, and one buffer for each thread, filled and emptied within one poll; only what a slow reader leaves is
//! kept, and nothing more is read until it is gone. Why no splice(2): ADR 0012.

use crate::opening::Opening;
use crate::queue::Replies;
use crate::stats::add;
use bytes::{Buf, Bytes};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

/// The most that is read at once, and so the most that is kept of each direction.
const READ_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice());
}

/// Relays until both directions are at their end, or one fails, or the opening has ended.
///
/// # Errors
/// The first of either side.
pub(crate) async fn run(client: TcpStream, target: TcpStream, opening: Arc<Opening>) -> io::Result<()> {
    let mut target = Target { stream: target, opening: opening.clone() };
    let mut client = Client::new(client, &opening);
    let mut requests = Pump::default();
    let counters = opening.counters();
    let (sent, received) = (&counters.sent_bytes, &counters.received_bytes);
    poll_fn(|cx| {
        let (mut from_target, mut to_target) = target.stream.split();
        let (forth, back) = match &mut client {
            Client::Plain { stream, replies } => {
                let (mut from, mut to) = stream.split();
                (
                    requests.poll(cx, &mut from, &mut to_target, &opening, sent)?,
                    replies.poll(cx, &mut from_target, &mut to, &opening, received)?,
                )
            }
            Client::Held { from, replies } => (
                requests.poll(cx, from, &mut to_target, &opening, sent)?,
                replies.poll(cx, &mut from_target)?,
            ),
        };
        if forth.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// The client's socket, the way back of which a hold shares.
enum Client {
    Plain { stream: TcpStream, replies: Pump },
    Held { from: OwnedReadHalf, replies: Replies },
}

impl Client {
    fn new(stream: TcpStream, opening: &Arc<Opening>) -> Client {
        let Some(hold) = opening.hold() else {
            return Client::Plain { stream, replies: Pump::default() };
        };
        let (from, to) = stream.into_split();
        Client::Held { from, replies: Replies::new(to, hold.clone(), opening.clone()) }
    }
}

/// The target's socket, which must not receive after the end what our kernel still holds for it.
struct Target {
    stream: TcpStream,
    opening: Arc<Opening>,
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.opening.is_open() {
            // The close that follows resets the connection and discards what was not sent. It fails only on a socket
            // that is gone already.
            let _ = self.stream.set_zero_linger();
        }
    }
}

/// Reads into the buffer of this thread, at most `bytes_max`, and hands what came to `take`; nothing at the end.
pub(crate) fn poll_read<T>(
    cx: &mut Context<'_>,
    from: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
    take: impl FnOnce(&mut Context<'_>, &[u8]) -> T,
) -> Poll<io::Result<T>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut into = ReadBuf::new(&mut scratch[..bytes_max.min(READ_BYTES_MAX)]);
        ready!(Pin::new(from).poll_read(cx, &mut into))?;
        Poll::Ready(Ok(take(cx, into.filled())))
    })
}

/// One direction.
#[derive(Default)]
struct Pump {
    /// What was read and not yet taken by the other side.
    rest: Bytes,
    at_end: bool,
    done: bool,
}

impl Pump {
    /// Moves what there is; ready when the end has been passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        opening: &Opening,
        counter: &AtomicU64,
    ) -> Poll<io::Result<()>> {
        while !self.done {
            ready!(self.poll_rest(cx, to, opening, counter))?;
            if self.at_end {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.done = true;
                break;
            }
            self.rest = ready!(poll_read(cx, from, READ_BYTES_MAX, |cx, read| {
                self.at_end = read.is_empty();
                write_now(cx, read, to, opening, counter)
            }))??;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        opening: &Opening,
        counter: &AtomicU64,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.rest.is_empty() {
            opening.check()?;
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest))?;
            add(counter, written);
            self.rest.advance(written);
        }
        // An emptied `Bytes` keeps its memory.
        self.rest = Bytes::new();
        Poll::Ready(Ok(()))
    }
}

/// Writes what the socket takes at once and returns a copy of the rest.
fn write_now(
    cx: &mut Context<'_>,
    bytes: &[u8],
    to: &mut (impl AsyncWrite + Unpin),
    opening: &Opening,
    counter: &AtomicU64,
) -> io::Result<Bytes> {
    if bytes.is_empty() {
        return Ok(Bytes::new());
    }
    opening.check()?;
    let written = match Pin::new(to).poll_write(cx, bytes) {
        Poll::Ready(written) => written?,
        Poll::Pending => 0,
    };
    add(counter, written);
    Ok(Bytes::copy_from_slice(&bytes[written..]))
}
