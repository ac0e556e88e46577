//! What a replica reads before the stream begins: lines and counted bytes, each bounded.

use super::socket::Socket;
use bytes::{Buf, BytesMut};
use futures::future::BoxFuture;
use redis::Value;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LINE_BYTES_MAX: usize = 4 * 1024;
const BULK_BYTES_MAX: usize = 4 * 1024 * 1024;
const ITEMS_MAX: usize = 64;
const READ_BYTES: usize = 64 * 1024;

/// A connection with what was read ahead.
pub(super) struct Wire {
    socket: Socket,
    buffer: BytesMut,
    patience: Duration,
}

impl Wire {
    /// Gives up when nothing comes for as long as `patience`.
    pub(super) fn new(socket: Socket, patience: Duration) -> Self {
        Wire { socket, buffer: BytesMut::new(), patience }
    }

    pub(super) fn be_patient_for(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    /// The next line that is not empty, without its end: empty ones keep a replica's connection alive while it waits.
    pub(super) async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(n) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(n + 1);
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                if !text.is_empty() {
                    return Ok(text);
                }
            } else if self.buffer.len() > LINE_BYTES_MAX {
                return Err(garbled("a line without an end"));
            } else {
                self.more().await?;
            }
        }
    }

    /// One reply.
    pub(super) async fn reply(&mut self) -> io::Result<Value> {
        self.nested(0).await
    }

    fn nested(&mut self, depth: u8) -> BoxFuture<'_, io::Result<Value>> {
        Box::pin(async move {
            let line = self.line().await?;
            let count = |max: usize| {
                let n = line.get(1..).and_then(|n| n.parse().ok()).filter(|n| *n <= max);
                n.ok_or_else(|| garbled(&line))
            };
            match line.as_bytes().first() {
                Some(b'$') => {
                    let bytes = self.exactly(count(BULK_BYTES_MAX)?).await?;
                    self.exactly(2).await?;
                    Ok(Value::BulkString(bytes.to_vec()))
                }
                Some(b'*') if depth < 4 => {
                    let mut items = Vec::new();
                    for _ in 0..count(ITEMS_MAX)? {
                        items.push(self.nested(depth + 1).await?);
                    }
                    Ok(Value::Array(items))
                }
                Some(b'+' | b'-' | b':') => redis::parse_redis_value(format!("{line}\r\n").as_bytes())
                    .map_err(|e| garbled(&e.to_string())),
                _ => Err(garbled(&line)),
            }
        })
    }

    async fn exactly(&mut self, n: usize) -> io::Result<BytesMut> {
        while self.buffer.len() < n {
            self.more().await?;
        }
        Ok(self.buffer.split_to(n))
    }

    /// Throws away `n` bytes.
    pub(super) async fn skip(&mut self, n: u64) -> io::Result<()> {
        let mut left = n;
        loop {
            let here = left.min(self.buffer.len() as u64);
            self.buffer.advance(here as usize);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    /// Throws away everything up to and with `mark`, after which the peer sends nothing before it is answered.
    pub(super) async fn skip_past(&mut self, mark: &[u8]) -> io::Result<()> {
        while !self.buffer.ends_with(mark) {
            let keep = self.buffer.len().min(mark.len());
            self.buffer.advance(self.buffer.len() - keep);
            self.more().await?;
        }
        self.buffer.clear();
        Ok(())
    }

    async fn more(&mut self) -> io::Result<()> {
        self.buffer.reserve(READ_BYTES);
        let read = primacy_runtime::timeout(self.patience, self.socket.read_buf(&mut self.buffer)).await;
        match read.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it answers nothing"))?? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
            _ => Ok(()),
        }
    }

    /// What was read ahead.
    pub(super) fn rest(self) -> BytesMut {
        self.buffer
    }
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no answer of Redis: {what:?}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::link::Ending;
    use primacy_core::Moment;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Reads replies from these bytes until they end or are no answers.
    fn replies(bytes: &[u8]) -> (Vec<Value>, io::ErrorKind) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = Socket::open_until(Moment(u64::MAX));
            let (ours, mut theirs) = tokio::io::duplex(bytes.len().max(1));
            theirs.write_all(bytes).await.unwrap();
            drop(theirs);
            assert!(socket.install(Box::new(ours), Arc::<Ending>::default()));
            let mut wire = Wire::new(socket, Duration::from_secs(5));
            let mut replies = Vec::new();
            loop {
                match wire.reply().await {
                    Ok(reply) => replies.push(reply),
                    Err(error) => return (replies, error.kind()),
                }
            }
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_replies_until_they_end_or_are_none(
            bytes in prop_oneof![
                vec(any::<u8>(), 0..2_000),
                "([*$+:-][0-9a-zA-Z -]{0,12}\r\n|[a-z]{0,8}\r\n){0,60}".prop_map(String::into_bytes),
            ],
        ) {
            let sent = bytes.len();
            let (replies, end) = replies(&bytes);
            prop_assert!(replies.len() <= sent);
            prop_assert!(matches!(end, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData), "{end}");
        }
    }

    #[test]
    fn nothing_is_kept_of_what_is_too_long() {
        assert_eq!(replies(&b"+".repeat(1 << 20)).1, io::ErrorKind::InvalidData);
        assert_eq!(replies(b"$99999999999\r\n").1, io::ErrorKind::InvalidData);
        assert_eq!(replies(b"*65\r\n").1, io::ErrorKind::InvalidData);
        assert_eq!(replies(&b"*1\r\n".repeat(100)).1, io::ErrorKind::InvalidData);
    }
}
