//! The held replies of one connection.
//!
//! The problem: a reply is read by the connection's task and released by the gate's, and a thousand connections must not be
//! woken for each release. The idea: a queue under a lock, into which the connection's task reads and from which the
//! gate's task writes straight to the client; the connection's own task is woken only where there is something left for
//! it to do: a slow client, an end to pass on, room to read again.

use crate::hold::Hold;
use crate::opening::Opening;
use crate::relay::poll_read;
use crate::stats::add;
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::AsyncRead;
use tokio::net::tcp::OwnedWriteHalf;

/// What the gate's task sees of a connection.
pub(crate) struct Queue {
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    /// `None` once nothing more goes to the client.
    to: Option<OwnedWriteHalf>,
    bytes: BytesMut,
    /// How many bytes at the front of `bytes` may go.
    released: usize,
    /// What follows them, in order.
    parts: VecDeque<Part>,
    /// The last generation in which the gate's task was told of this queue.
    enlisted: Option<u64>,
    /// Why the client can be written to no more.
    broken: Option<io::Error>,
    /// The connection's task, and whether it waits for a word from the gate's.
    waker: Option<Waker>,
    parked: bool,
}

/// Bytes that were read in one generation.
struct Part {
    generation: u64,
    bytes: usize,
}

impl Queue {
    /// Releases what was read up to `generation` and writes what the client takes at once.
    pub(crate) fn release(&self, generation: u64, hold: &Hold, opening: &Opening) {
        let mut content = self.content();
        while let Some(part) = content.parts.pop_front_if(|part| part.generation <= generation) {
            content.released += part.bytes;
        }
        content.write(hold, opening);
        if (content.parked || content.released > 0 || content.broken.is_some())
            && let Some(waker) = content.waker.clone()
        {
            drop(content);
            waker.wake();
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Writes what is released until the client takes no more. The door is asked before each write.
    fn write(&mut self, hold: &Hold, opening: &Opening) {
        while self.released > 0
            && self.broken.is_none()
            && let Some(to) = &self.to
        {
            let outcome = opening.check().and_then(|()| to.try_write(&self.bytes[..self.released]));
            match outcome {
                Ok(written) => {
                    self.bytes.advance(written);
                    self.released -= written;
                    add(&opening.counters().received_bytes, written);
                    hold.forget(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => self.broken = Some(error),
            }
        }
        if self.bytes.is_empty() {
            // Memory is for connections that have something to say.
            self.bytes = BytesMut::new();
        }
    }
}

/// The connection's own end of its queue. Dropping it drops what is held.
pub(crate) struct Replies {
    queue: Arc<Queue>,
    hold: Arc<Hold>,
    opening: Arc<Opening>,
    /// What ended the way from the target: `Ok` where it said so itself.
    target_end: Option<io::Result<()>>,
}

impl Replies {
    pub(crate) fn new(to: OwnedWriteHalf, hold: Arc<Hold>, opening: Arc<Opening>) -> Self {
        let content = Content { to: Some(to), ..Content::default() };
        Self { queue: Arc::new(Queue { content: Mutex::new(content) }), hold, opening, target_end: None }
    }

    /// Reads what there is into the queue, while there is room; ready when the target's end has been passed on.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<()>> {
        loop {
            let room = ready!(self.poll_room(cx))?;
            if room == 0 {
                return Poll::Ready(Ok(()));
            }
            let queue = &self.queue;
            let hold = &self.hold;
            let read = ready!(poll_read(cx, from, room, |_, read| {
                if !read.is_empty() {
                    append(queue, hold, read);
                }
                read.len()
            }));
            match read {
                Ok(0) => self.target_end = Some(Ok(())),
                Ok(_) => {}
                // What was answered before may still be covered.
                Err(error) => self.target_end = Some(Err(error)),
            }
        }
    }

    /// Serves a slow client, then says how much may be read; 0 when the end has been passed on.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut content = self.queue.content();
        if !content.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            content.waker = Some(cx.waker().clone());
        }
        content.parked = false;
        while content.released > 0
            && content.broken.is_none()
            && let Some(to) = &content.to
        {
            ready!(to.as_ref().poll_write_ready(cx))?;
            content.write(&self.hold, &self.opening);
        }
        if let Some(error) = content.broken.take() {
            return Poll::Ready(Err(error));
        }
        if self.target_end.is_some() {
            if content.bytes.is_empty() {
                // Dropping this half says so to the client.
                content.to = None;
                return Poll::Ready(self.target_end.replace(Ok(())).unwrap_or(Ok(())).map(|()| 0));
            }
        } else {
            let room = self.hold.room(content.bytes.len());
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
        }
        content.parked = true;
        Poll::Pending
    }
}

fn append(queue: &Arc<Queue>, hold: &Hold, read: &[u8]) {
    let mut content = queue.content();
    // After the read: a barrier for this generation is sent after it ends, so it covers what was read in it.
    let generation = hold.enlist(queue, content.enlisted);
    content.enlisted = Some(generation);
    content.bytes.extend_from_slice(read);
    hold.remember(read.len());
    match content.parts.back_mut() {
        Some(part) if part.generation == generation => part.bytes += read.len(),
        _ => content.parts.push_back(Part { generation, bytes: read.len() }),
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        let left = std::mem::take(&mut *self.queue.content());
        self.hold.forget(left.bytes.len());
        if let Some(to) = left.to {
            // The other half closes the socket, and thousands may be closed at once: not each twice.
            to.forget();
        }
    }
}
