//! Probes an endpoint: does it accept a connection, or answer a health check.
//!
//! One question at a time, and one connection for each: a service that was restarted must not be asked over what is left
//! of the one before. What a service answers beyond its status is not read.

use super::looking::{Failure, GIVE_UP, Looking, Teller};
use primacy_core::view::{ConnectFailure, MemberStatus};
use primacy_core::{Address, GroupName, MemberName, Probe};
use primacy_redis::Sighting;
use primacy_runtime::{Stream, now, sleep, spawn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

const TCP_EVERY: Duration = Duration::from_millis(100);
const HTTP_EVERY: Duration = Duration::from_millis(200);

/// Starts the prober of one endpoint.
pub(super) fn watch(
    names: (GroupName, MemberName),
    address: Address,
    probe: Probe,
    sink: mpsc::Sender<Sighting>,
) -> Looking {
    let nudge = Arc::new(Notify::new());
    let eye = Eye { address, probe, teller: Teller::new(names, sink) };
    Looking::new(nudge.clone(), spawn(eye.run(nudge)))
}

struct Eye {
    address: Address,
    probe: Probe,
    teller: Teller,
}

impl Eye {
    async fn run(mut self, nudge: Arc<Notify>) {
        let every = match self.probe {
            Probe::Http { .. } => HTTP_EVERY,
            Probe::Tcp | Probe::Native | Probe::Cluster { .. } => TCP_EVERY,
        };
        while !self.teller.is_done() {
            self.look().await;
            tokio::select! {
                biased;
                () = nudge.notified() => {}
                () = sleep(every) => {}
            }
        }
    }

    async fn look(&mut self) {
        let asked_at = now();
        match self.teller.wait_for(asked_at, ask(&self.address, &self.probe)).await {
            Some(Ok(())) => {
                let status = MemberStatus::endpoint(now().since(asked_at).as_micros() as u64);
                self.teller.up(asked_at, status);
            }
            Some(Err(failure)) => self.teller.down(asked_at, failure),
            // It was said while it was waited for.
            None => {}
        }
    }
}

async fn ask(address: &Address, probe: &Probe) -> Result<(), Failure> {
    let authority = address.authority();
    let stream = connect(&authority).await?;
    match probe {
        Probe::Tcp | Probe::Native | Probe::Cluster { .. } => Ok(()),
        Probe::Http { path } => get(stream, &authority, path).await,
    }
}

async fn connect(authority: &str) -> Result<Box<dyn Stream>, Failure> {
    primacy_runtime::connect(authority, GIVE_UP).await.map_err(|error| {
        let detail = error.to_string();
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
            _ if detail.contains("failed to lookup address") => ConnectFailure::NameUnknown,
            _ => ConnectFailure::Unreachable,
        };
        Failure { ended: None, connect: Some(kind), detail }
    })
}

/// GET, and a status from 200 to 399.
async fn get(stream: Box<dyn Stream>, authority: &str, path: &str) -> Result<(), Failure> {
    let failed = |detail| Failure { ended: None, connect: Some(ConnectFailure::Protocol), detail };
    let answer = status_of(stream, authority, path);
    let status = answer.await.map_err(|error| failed(format!("GET {path}: {error}")))?;
    if (200..=399).contains(&status) { Ok(()) } else { Err(failed(format!("GET {path}: status {status}"))) }
}

async fn status_of(
    stream: Box<dyn Stream>,
    authority: &str,
    path: &str,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, String>(io).await?;
    let request = hyper::Request::get(path)
        .header("host", authority)
        .header("user-agent", "primacy")
        .header("connection", "close")
        .body(String::new())?;
    let mut answer = pin!(sender.send_request(request));
    let mut connection = pin!(connection);
    let response = tokio::select! {
        biased;
        response = &mut answer => response?,
        // It has ended with the answer, or without one.
        ended = &mut connection => {
            ended?;
            answer.await?
        }
    };
    Ok(response.status().as_u16())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use primacy_core::view::{LinkEnd, Reach};
    use primacy_runtime::{Task, timeout};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers each request with `answer`; with none, never.
    async fn server(answer: Option<&'static str>) -> (Address, Task<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let serving = spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).await.unwrap_or(0);
                match answer {
                    Some(answer) => {
                        let asked = String::from_utf8_lossy(&request[..n]).to_lowercase();
                        assert!(
                            n == 0
                                || (asked.starts_with("get /healthz http/1.1")
                                    && asked.contains("host: 127"))
                        );
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                    None => silent.push(stream),
                }
            }
        });
        (address, serving)
    }

    fn http() -> Probe {
        Probe::Http { path: "/healthz".to_owned() }
    }

    async fn asked(probe: Probe, address: &Address) -> Result<(), (Option<ConnectFailure>, String)> {
        ask(address, &probe).await.map_err(|f| (f.connect, f.detail))
    }

    #[tokio::test]
    async fn a_status_from_200_to_399_is_up() {
        for (answer, up) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.0 302 Found\r\nlocation: /elsewhere\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("+PONG\r\n", false),
            ("", false),
        ] {
            let (address, _serving) = server(Some(answer)).await;
            let found = asked(http(), &address).await;
            assert_eq!(found.is_ok(), up, "{answer:?}: {found:?}");
            if let Err((connect, detail)) = found {
                assert_eq!(connect, Some(ConnectFailure::Protocol));
                assert!(detail.starts_with("GET /healthz: "), "{detail}");
            }
        }
    }

    #[tokio::test]
    async fn a_connection_suffices_for_tcp_and_nobody_there_is_refused() {
        let (address, serving) = server(None).await;
        assert_eq!(asked(Probe::Tcp, &address).await, Ok(()));
        serving.abort();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody: Address = free.local_addr().unwrap().to_string().parse().unwrap();
        drop(free);
        for probe in [Probe::Tcp, http()] {
            let (connect, _) = asked(probe, &nobody).await.unwrap_err();
            assert_eq!(connect, Some(ConnectFailure::Refused));
        }
        let (connect, _) = asked(Probe::Tcp, &"no.such.host.invalid:1".parse().unwrap()).await.unwrap_err();
        assert_eq!(connect, Some(ConnectFailure::NameUnknown));
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_down_and_said_so_again_and_again() {
        let (address, _serving) = server(None).await;
        let (sink, mut sightings) = mpsc::channel(16);
        let names = (GroupName::new("model").unwrap(), MemberName::new("east").unwrap());
        let _prober = watch(names, address, http(), sink);
        let mut since = None;
        for _ in 0..5 {
            let seen = timeout(Duration::from_secs(2), sightings.recv()).await.unwrap().unwrap();
            let Reach::Down { since: at, ended, .. } = seen.reach else { panic!("{:?}", seen.reach) };
            assert_eq!(ended, Some(LinkEnd::Unanswered));
            assert_eq!(*since.get_or_insert(at), at, "down since the first question");
        }
    }

    #[tokio::test]
    async fn it_is_seen_to_go_and_keeps_its_last_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let (sink, mut sightings) = mpsc::channel(16);
        let names = (GroupName::new("model").unwrap(), MemberName::new("east").unwrap());
        let prober = watch(names, address, Probe::Tcp, sink);
        let first = sightings.recv().await.unwrap();
        assert!(matches!(first.reach, Reach::Up(_)), "{:?}", first.reach);
        drop(listener);
        prober.probe_now();
        let down = loop {
            let seen = timeout(Duration::from_secs(2), sightings.recv()).await.unwrap().unwrap();
            if matches!(seen.reach, Reach::Down { .. }) {
                break seen;
            }
        };
        assert!(down.last_up.is_some());
        drop(sightings);
    }
}
