//! Who may be connected at a time, and for how long without a word.
//!
//! The problem: each connection costs a file and memory before it has said anything, and the same port serves the other
//! nodes. The idea: a port takes so many connections in all, and fewer from one address, so that nobody who holds
//! connections keeps others out; one that is silent for too long is closed. What comes beyond is closed at once.
//!
//! It must not know what is spoken.

use metrics::counter;
use primacy_runtime::{Sleep, sleep};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections that a port takes in all.
const ALL_MAX: usize = 4_096;
/// Those of one address; a site's clients may share one.
const ONE_MAX: usize = 1_024;
/// The pause after the system refuses to accept, which it does at once again while file descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// When silence ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Before the first byte only: what is spoken has signs of life of its own.
    BeforeFirst(Duration),
    /// At any time.
    Between(Duration),
}

/// How many there are at a time.
#[derive(Debug)]
pub(crate) struct Limits {
    all_max: usize,
    one_max: usize,
    silence: Silence,
    seated: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Limits {
    /// Those of a node's ports.
    pub(crate) fn new(silence: Silence) -> Arc<Self> {
        Self::of(ALL_MAX, ONE_MAX, silence)
    }

    fn of(all_max: usize, one_max: usize, silence: Silence) -> Arc<Self> {
        Arc::new(Self { all_max, one_max, silence, seated: Mutex::default() })
    }

    fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut seated = self.seated.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = seated.values().sum();
        let one = seated.get(&address).copied().unwrap_or(0);
        if all >= self.all_max || one >= self.one_max {
            return None;
        }
        seated.insert(address, one + 1);
        Some(Seat { limits: self.clone(), address })
    }
}

/// Held as long as a connection is open.
struct Seat {
    limits: Arc<Limits>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = self.limits.seated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = seated.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                seated.remove(&self.address);
            }
        }
    }
}

/// A listener that lets in no more than its limits say.
pub(crate) struct Guests {
    listener: TcpListener,
    limits: Arc<Limits>,
    port: &'static str,
}

impl Guests {
    /// `port` is what metrics call it.
    pub(crate) fn new(listener: TcpListener, limits: Arc<Limits>, port: &'static str) -> Self {
        Self { listener, limits, port }
    }

    /// The next that is let in.
    pub(crate) async fn next(&mut self) -> (Guest, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match self.limits.seat(address.ip()) {
                    Some(seat) => return (Guest::new(stream, seat), address),
                    None => counter!("primacy_connections_refused_total", "port" => self.port).increment(1),
                },
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(port = self.port, %error, "connections cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether the connection went away before it was accepted, which concerns nobody else.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

impl axum::serve::Listener for Guests {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that was let in.
pub(crate) struct Guest {
    stream: TcpStream,
    /// When it has been silent for too long; none when it may be.
    patience: Option<Pin<Box<Sleep>>>,
    seat: Seat,
}

impl Guest {
    fn new(stream: TcpStream, seat: Seat) -> Self {
        // Small messages of the protocol must not wait; where it cannot be set they only do.
        let _ = stream.set_nodelay(true);
        let (Silence::BeforeFirst(limit) | Silence::Between(limit)) = seat.limits.silence;
        Self { stream, patience: Some(Box::pin(sleep(limit))), seat }
    }

    fn heard(&mut self) {
        self.patience = match self.seat.limits.silence {
            Silence::BeforeFirst(_) => None,
            Silence::Between(limit) => Some(Box::pin(sleep(limit))),
        };
    }
}

impl Connected for Guest {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                self.heard();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => match self.patience.as_mut().map(|patience| patience.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Some(Poll::Pending) | None => Poll::Pending,
            },
        }
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LONG: Duration = Duration::from_secs(30);

    async fn guests(all_max: usize, one_max: usize, silence: Silence) -> (Guests, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Guests::new(listener, Limits::of(all_max, one_max, silence), "test"), address)
    }

    /// Whether the other side closes a connection, rather than being silent.
    async fn is_closed(stream: &mut TcpStream) -> bool {
        matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
    }

    #[tokio::test]
    async fn those_beyond_the_limit_of_an_address_are_closed_and_leave_room_when_others_go() {
        let (mut guests, address) = guests(9, 2, Silence::BeforeFirst(LONG)).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let (held, _) = guests.next().await;
        let (_also, _) = guests.next().await;
        let mut third = TcpStream::connect(address).await.unwrap();
        tokio::select! {
            _ = guests.next() => panic!("a third was let in"),
            closed = is_closed(&mut third) => assert!(closed),
        }
        drop(held);
        let _fourth = TcpStream::connect(address).await.unwrap();
        guests.next().await;
    }

    #[test]
    fn one_address_keeps_no_other_out_and_all_together_have_a_limit() {
        let limits = Limits::of(3, 2, Silence::Between(LONG));
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let _one = limits.seat(address(1)).unwrap();
        let _two = limits.seat(address(1)).unwrap();
        assert!(limits.seat(address(1)).is_none());
        let other = limits.seat(address(2)).unwrap();
        assert!(limits.seat(address(3)).is_none());
        drop(other);
        assert!(limits.seat(address(3)).is_some());
    }

    #[tokio::test]
    async fn who_says_nothing_is_let_go() {
        let limit = Duration::from_millis(20);
        for silence in [Silence::BeforeFirst(limit), Silence::Between(limit)] {
            let (mut guests, address) = guests(1, 1, silence).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            let (mut guest, _) = guests.next().await;
            let error = guest.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(guest);
            assert!(is_closed(&mut stream).await);
        }
    }

    #[tokio::test]
    async fn silence_counts_again_after_a_word_where_it_is_limited_between_words() {
        let limit = Duration::from_millis(50);
        for (silence, lives) in [(Silence::BeforeFirst(limit), true), (Silence::Between(limit), false)] {
            let (mut guests, address) = guests(1, 1, silence).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            let (mut guest, _) = guests.next().await;
            assert_eq!(guest.read_u8().await.unwrap(), b'x');
            let again = tokio::time::timeout(limit * 4, guest.read_u8()).await;
            assert_eq!(again.is_err(), lives, "{silence:?}: {again:?}");
        }
    }
}
