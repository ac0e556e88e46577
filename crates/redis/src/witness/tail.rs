//! The bytes of a replication stream, as they came.
//!
//! The problem: when a primary dies, what it had sent and no standby has received is here or nowhere; under full load
//! that is a hundred megabytes a second that must cost next to nothing. The idea: blocks of memory into which the
//! socket is read directly. A full block is never touched again, so that readers share it without a copy.
//!
//! It must not know commands: the stream is bytes at offsets.

use bytes::{Bytes, BytesMut};
use primacy_runtime::watch;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// One allocation. Memory in use is at most this much above what a tail may keep.
const BLOCK_BYTES: usize = 256 * 1024;
/// A read from the socket is offered at least this much room; a block with less left is done.
const READ_BYTES_MIN: usize = 16 * 1024;

/// Bytes of a replication stream, contiguous, bounded: the oldest are dropped. A cheap handle; clones share the bytes.
#[derive(Clone)]
pub struct Tail {
    shared: Arc<Shared>,
}

struct Shared {
    replid: String,
    bytes_max: u64,
    kept: Mutex<Kept>,
    progress: watch::Sender<u64>,
}

/// Offsets count as Redis does: the byte at offset n is the n-th of the history.
struct Kept {
    /// Full blocks, each with the offset before its first byte.
    blocks: VecDeque<(u64, Bytes)>,
    /// The block that is being filled, up to `filled`.
    open: BytesMut,
    filled: usize,
    start: u64,
    end: u64,
    sealed: bool,
}

/// What a reader finds at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The bytes after the offset, at least one.
    Bytes(Bytes),
    /// Nothing more yet.
    AtEnd,
    /// Nothing more, ever.
    Sealed,
    /// They were dropped; what is kept begins after `start`.
    Gone {
        /// The offset before the first byte that is kept.
        start: u64,
    },
    /// The offset is beyond the end.
    Ahead {
        /// The offset of the last byte.
        end: u64,
    },
}

/// Why bytes were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TailGap {
    /// They do not follow what is there.
    #[error("bytes after offset {at} do not follow a tail that ends at {end}")]
    Elsewhere {
        /// Where they belong.
        at: u64,
        /// Where the tail ends.
        end: u64,
    },
    /// It takes nothing more.
    #[error("the tail is sealed at offset {end}")]
    Sealed {
        /// Where the tail ends.
        end: u64,
    },
}

impl Tail {
    /// An empty tail of the history `replid` after the offset `start_bytes`, which keeps the last `bytes_max` bytes.
    pub fn new(replid: String, start_bytes: u64, bytes_max: u64) -> Self {
        let kept = Kept {
            blocks: VecDeque::new(),
            open: BytesMut::new(),
            filled: 0,
            start: start_bytes,
            end: start_bytes,
            sealed: false,
        };
        Tail::of(replid, bytes_max, kept)
    }

    fn of(replid: String, bytes_max: u64, kept: Kept) -> Self {
        let (progress, _) = watch::channel(kept.end);
        Tail { shared: Arc::new(Shared { replid, bytes_max, kept: Mutex::new(kept), progress }) }
    }

    /// The replication id of its history.
    pub fn replid(&self) -> String {
        self.shared.replid.clone()
    }

    /// The offset before the first byte that is kept.
    pub fn start(&self) -> u64 {
        self.kept().start
    }

    /// The offset of the last byte.
    pub fn end(&self) -> u64 {
        self.kept().end
    }

    /// Changes with each arrival, and when the tail is sealed: the offset of the last byte.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.shared.progress.subscribe()
    }

    /// Adds bytes at its end, which must be `at`.
    ///
    /// # Errors
    /// When they belong elsewhere, or the tail is sealed.
    pub fn append(&self, at: u64, bytes: &[u8]) -> Result<(), TailGap> {
        let mut kept = self.kept();
        if kept.sealed {
            return Err(TailGap::Sealed { end: kept.end });
        }
        if at != kept.end {
            return Err(TailGap::Elsewhere { at, end: kept.end });
        }
        let mut left = bytes;
        while !left.is_empty() {
            let room = kept.room(1);
            let n = room.len().min(left.len());
            room[..n].copy_from_slice(&left[..n]);
            kept.grow(n);
            left = &left[n..];
        }
        self.arrived(kept);
        Ok(())
    }

    /// Reads from the socket once, into the tail: as many bytes as there are, up to a block. 0 is the end of the
    /// stream.
    pub(super) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin + ?Sized),
    ) -> Poll<io::Result<usize>> {
        let mut kept = self.kept();
        if kept.sealed {
            return Poll::Ready(Err(io::Error::other("the tail is sealed")));
        }
        let mut buffer = ReadBuf::new(kept.room(READ_BYTES_MIN));
        let polled = Pin::new(stream).poll_read(cx, &mut buffer);
        let n = buffer.filled().len();
        polled.map_ok(|()| {
            kept.grow(n);
            self.arrived(kept);
            n
        })
    }

    fn arrived(&self, mut kept: MutexGuard<'_, Kept>) {
        kept.drop_oldest(self.shared.bytes_max);
        // Under the lock, so that what receivers see never falls.
        self.shared.progress.send(kept.end);
    }

    /// The bytes after offset `from`, at most `bytes_max` of them.
    pub fn read(&self, from: u64, bytes_max: usize) -> Read {
        let kept = self.kept();
        if from < kept.start {
            return Read::Gone { start: kept.start };
        }
        match from.cmp(&kept.end) {
            std::cmp::Ordering::Less => Read::Bytes(kept.after(from, bytes_max.max(1))),
            std::cmp::Ordering::Equal if kept.sealed => Read::Sealed,
            std::cmp::Ordering::Equal => Read::AtEnd,
            std::cmp::Ordering::Greater => Read::Ahead { end: kept.end },
        }
    }

    /// Takes nothing more from here on; returns its end. Done before, it changes nothing.
    pub fn seal(&self) -> u64 {
        let mut kept = self.kept();
        if !kept.sealed {
            kept.sealed = true;
            self.shared.progress.send(kept.end);
        }
        kept.end
    }

    /// Whether it takes nothing more.
    pub fn sealed(&self) -> bool {
        self.kept().sealed
    }

    /// Seals it; returns a tail of the history `replid`, which shares its bytes and goes on from its end. That history
    /// must continue this one there.
    pub(super) fn continued_as(&self, replid: String) -> Tail {
        let mut kept = self.kept();
        kept.roll();
        let mut next = Kept {
            blocks: kept.blocks.clone(),
            open: BytesMut::new(),
            filled: 0,
            start: kept.start,
            end: kept.end,
            sealed: false,
        };
        next.drop_oldest(self.shared.bytes_max);
        drop(kept);
        self.seal();
        Tail::of(replid, self.shared.bytes_max, next)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Room for at least `bytes_min` after the end.
    fn room(&mut self, bytes_min: usize) -> &mut [u8] {
        if self.open.len() - self.filled < bytes_min {
            self.roll();
            self.open = BytesMut::zeroed(BLOCK_BYTES);
        }
        &mut self.open[self.filled..]
    }

    /// The open block is done.
    fn roll(&mut self) {
        let mut block = std::mem::take(&mut self.open);
        block.truncate(self.filled);
        if !block.is_empty() {
            self.blocks.push_back((self.open_start(), block.freeze()));
        }
        self.filled = 0;
    }

    /// The offset before the first byte of the open block.
    fn open_start(&self) -> u64 {
        self.end - self.filled as u64
    }

    fn grow(&mut self, n: usize) {
        self.filled += n;
        self.end += n as u64;
    }

    fn drop_oldest(&mut self, bytes_max: u64) {
        self.start = self.start.max(self.end.saturating_sub(bytes_max));
        while self.blocks.front().is_some_and(|(at, block)| at + block.len() as u64 <= self.start) {
            self.blocks.pop_front();
        }
    }

    /// `from` is in it.
    fn after(&self, from: u64, bytes_max: usize) -> Bytes {
        if from >= self.open_start() {
            let skip = (from - self.open_start()) as usize;
            let n = (self.filled - skip).min(bytes_max);
            return Bytes::copy_from_slice(&self.open[skip..skip + n]);
        }
        let (at, block) = &self.blocks[self.blocks.partition_point(|(at, _)| *at <= from) - 1];
        let skip = (from - at) as usize;
        block.slice(skip..block.len().min(skip.saturating_add(bytes_max)))
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept();
        f.debug_struct("Tail")
            .field("replid", &self.shared.replid)
            .field("start", &kept.start)
            .field("end", &kept.end)
            .field("sealed", &kept.sealed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
