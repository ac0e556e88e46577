//! Gates, targets and clients for the tests: real sockets on loopback.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod cover;
pub mod resp;

use primacy_core::{Address, Epoch, Moment};
use primacy_gate::{Cover, Door, Gate, GateOptions};
use primacy_runtime::{now, watch};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// For what takes milliseconds unless something is broken.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Stand {
    pub gate: Gate,
    pub address: SocketAddr,
    pub door: watch::Sender<Option<Door>>,
}

pub fn options() -> GateOptions {
    GateOptions {
        name: "shop".to_owned(),
        proxy_protocol: false,
        connections_max: 20_000,
        connect_within: Duration::from_secs(5),
    }
}

pub fn address_of(target: SocketAddr) -> Address {
    Address { host: target.ip().to_string(), port: target.port(), tls: false }
}

pub fn door_to(target: SocketAddr) -> Door {
    Door { epoch: Epoch(7), target: address_of(target), until: None, hold: None }
}

pub fn held_door_to(target: SocketAddr, cover: Arc<dyn Cover>) -> Door {
    Door { hold: Some(cover), ..door_to(target) }
}

pub fn in_time(duration: Duration) -> Moment {
    now().after(duration)
}

impl Stand {
    pub async fn new(door: Option<Door>) -> Stand {
        Stand::with(door, options()).await
    }

    pub async fn with(door: Option<Door>, options: GateOptions) -> Stand {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(door);
        Stand { gate: Gate::spawn(listener, receiver, options), address, door: sender }
    }

    pub async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection that has been through: its first byte came back from an echo.
    pub async fn echoed_client(&self) -> TcpStream {
        let mut client = self.client().await;
        assert_eq!(exchange(&mut client, b"x").await.unwrap(), b"x");
        client
    }
}

/// Waits until `holds` does.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < SOON, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The result of `future`, which comes soon.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Sends `bytes` and reads as many.
pub async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    let mut back = vec![0; bytes.len()];
    soon("an echo", stream.read_exact(&mut back)).await?;
    Ok(back)
}

/// Reads until the stream ends, however it does, and returns what came.
pub async fn read_to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = soon("the end of a connection", stream.read_to_end(&mut all)).await;
    all
}

/// A server that hands each of its connections to `serve`. It ends with the test's runtime.
pub async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    (address, accepting)
}

/// Raises this process's limit of open files to `wanted`, as far as the system lets it; what it then is.
pub fn raise_open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    // Beyond the hard limit only the privileged may.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(hard.max(wanted)) })
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: Some(hard.min(wanted)), ..limit }));
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A server that sends back what it receives and keeps no buffer for it.
pub async fn thrifty_echo() -> SocketAddr {
    let serve = |stream: TcpStream| async move {
        while stream.readable().await.is_ok() {
            let mut buffer = [0; 64];
            match stream.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => assert_eq!(stream.try_write(&buffer[..read]).unwrap(), read),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    server(serve).await.0
}

/// A server that sends back what it receives.
pub async fn echo() -> SocketAddr {
    let serve = |mut stream: TcpStream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    };
    server(serve).await.0
}
