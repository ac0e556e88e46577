//! Staying attached: connect, stream and acknowledge until the connection ends, and again.

use super::Shared;
use super::attach::{self, Begin};
use super::socket::Socket;
use super::tail::Tail;
use super::wire::Wire;
use crate::link::Link;
use primacy_core::view::LinkEnd;
use primacy_runtime::{now, sleep, sleep_until};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWrite;

/// Keeps the door open, and never satisfies a client's WAIT.
const ACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n";
const ACK_EVERY: Duration = Duration::from_millis(100);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// A full copy is only promised once a copy for others is done.
const ASK_WITHIN: Duration = Duration::from_secs(20);
const COPY_SILENCE_MAX: Duration = Duration::from_mins(1);
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The primary forks for each full copy.
const PAUSE_AFTER_COPY: Duration = Duration::from_secs(5);
/// A stream that lasted so long was well: the next attempt follows at once.
const LASTING: Duration = Duration::from_secs(1);

/// Why there is no stream any more.
struct Off {
    detail: String,
    /// The connection on which the stream was, or would have been, had begun to send a full copy.
    in_copy: bool,
}

impl From<String> for Off {
    fn from(detail: String) -> Self {
        Off { detail, in_copy: false }
    }
}

pub(super) const OVER: &str = "its lease is over";

/// Runs until the time of the witness is over, and closes it.
pub(super) async fn keep_attached(shared: Arc<Shared>, link: Arc<Link>) {
    tokio::select! {
        biased;
        () = over(&shared.socket) => shared.close(OVER),
        () = attach_for_ever(&shared, &link) => {}
    }
}

async fn over(socket: &Socket) {
    loop {
        let until = socket.until();
        if now() >= until {
            return;
        }
        sleep_until(until).await;
    }
}

async fn attach_for_ever(shared: &Shared, link: &Link) {
    let mut pauses = Pauses::default();
    loop {
        let began = now();
        let outcome = attach_and_stream(shared, link).await;
        shared.socket.hang_up();
        match outcome {
            Ok(end) => {
                shared.ended(end);
                if now().since(began) >= LASTING {
                    pauses = Pauses::default();
                }
            }
            Err(Off { detail, in_copy }) => {
                shared.failed(detail);
                if in_copy {
                    sleep(PAUSE_AFTER_COPY).await;
                }
            }
        }
        pauses.take().await;
    }
}

/// Between attempts: none at first, then 10 ms, doubling to 500 ms.
#[derive(Default)]
struct Pauses {
    next: Duration,
}

impl Pauses {
    async fn take(&mut self) {
        if !self.next.is_zero() {
            sleep(self.next).await;
        }
        self.next = (self.next * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    }
}

async fn attach_and_stream(shared: &Shared, link: &Link) -> Result<LinkEnd, Off> {
    let options = &shared.options;
    let opened = link.open_raw(CONNECT_WITHIN).await;
    let (stream, ending) = opened.map_err(|e| format!("{e}; {}", e.remedy()))?;
    if !shared.socket.install(stream, ending) {
        return Err(closed());
    }
    let mut wire = Wire::new(shared.socket.clone(), LOOK_WITHIN);
    let found = attach::look(&mut wire, link, options).await?;
    shared.met(found.run_id());
    found.check(options)?;
    wire.be_patient_for(ASK_WITHIN);
    let held = shared.socket.tail();
    let begin = found.ask(&mut wire, held.as_ref(), options).await?;
    let tail = tail_for(begin.clone(), held, options.tail_max_bytes);
    if matches!(begin, Begin::Copy { .. }) {
        shared.copying();
        wire.be_patient_for(COPY_SILENCE_MAX);
        let copied = attach::discard_copy(&mut wire).await;
        copied.map_err(|e| Off { detail: format!("a full copy was cut off: {e}"), in_copy: true })?;
    }
    tail.append(tail.end(), &wire.rest()).map_err(|_| closed())?;
    if !shared.socket.pour_into(tail.clone()) {
        return Err(closed());
    }
    Ok(stream_into(shared, &tail, found.silence_max()).await)
}

fn closed() -> Off {
    "closed".to_owned().into()
}

/// The tail that takes the stream: the one there is where the stream goes on from its end, else a new one.
fn tail_for(begin: Begin, held: Option<Tail>, bytes_max: u64) -> Tail {
    let (replid, from) = match begin {
        Begin::Continue { asked, replid, from } => {
            match held.as_ref().filter(|held| held.end() == from && held.replid() == asked) {
                Some(held) if replid == asked => return held.clone(),
                Some(held) => return held.continued_as(replid),
                None => (replid, from),
            }
        }
        Begin::Copy { replid, from } => (replid, from),
    };
    // Nothing will follow what is held.
    if let Some(held) = held {
        held.seal();
    }
    Tail::new(replid, from, bytes_max)
}

async fn stream_into(shared: &Shared, tail: &Tail, silence_max: Duration) -> LinkEnd {
    let socket = &shared.socket;
    let mut acks = Acks { socket: socket.clone(), left: ACK };
    let mut tick = sleep(Duration::ZERO);
    let mut heard = (tail.end(), now());
    loop {
        tokio::select! {
            // The acknowledgement first: a primary at full speed always has more to read.
            biased;
            () = &mut tick => {
                acks.send().await;
                let (end, at) = (tail.end(), now());
                if end != heard.0 {
                    heard = (end, at);
                } else if at.since(heard.1) >= silence_max {
                    return LinkEnd::Unanswered;
                }
                shared.attached(tail);
                tick = sleep(ACK_EVERY);
            }
            read = poll_fn(|cx| socket.poll_fill(cx)) => match read {
                Ok(1..) => {}
                Ok(0) => return socket.ended().unwrap_or(LinkEnd::Eof),
                Err(_) => return socket.ended().unwrap_or(LinkEnd::Reset),
            }
        }
    }
}

/// Acknowledgements, which never wait: to a primary that does not read, one more is of no use.
struct Acks {
    socket: Socket,
    left: &'static [u8],
}

impl Acks {
    async fn send(&mut self) {
        poll_fn(|cx| {
            let mut socket = Pin::new(&mut self.socket);
            // An error is the reader's to find.
            if let Poll::Ready(Ok(n)) = socket.as_mut().poll_write(cx, self.left) {
                self.left = &self.left[n..];
            }
            let _ = socket.poll_flush(cx);
            Poll::Ready(())
        })
        .await;
        if self.left.is_empty() {
            self.left = ACK;
        }
    }
}
