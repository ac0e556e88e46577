//! One replica: its greeting, its PSYNC, and then the stream.

use super::access::Login;
use super::request;
use super::{Read, Source, TailServer};
use bytes::BytesMut;
use primacy_runtime::{now, timeout};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

/// From the connection to an accepted PSYNC.
const GREETING_WITHIN: Duration = Duration::from_secs(10);
/// A tail that is still on its way may not have reached the replica's offset yet.
const ARRIVAL_WITHIN: Duration = Duration::from_secs(5);
/// An empty line keeps a replica waiting for the answer to its PSYNC.
const ARRIVAL_LINE_EVERY: Duration = Duration::from_millis(500);
const CHUNK_BYTES: usize = 256 * 1024;
/// A chunk that is not taken by then never is.
const CHUNK_WITHIN: Duration = Duration::from_secs(10);
const TLS_HANDSHAKE: u8 = 0x16;
/// The one refusal after which a replica keeps its data, its place, and asks again.
const TRY_LATER: &[u8] = b"-NOMASTERLINK this source only continues streams that it has\r\n";

/// A replica that may go on after `from`.
struct Accepted {
    source: Source,
    from: u64,
}

/// Until the connection ends, or is of no more use.
pub(super) async fn hold(server: TailServer, stream: TcpStream) {
    let peer = stream.peer_addr().map(|a| a.to_string()).unwrap_or_default();
    if let Err(error) = speak(server, stream, &peer).await {
        debug!("the connection of {peer} to the tail server ended: {error}");
    }
}

async fn speak(server: TailServer, stream: TcpStream, peer: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(tls) = server.tls.clone() else { return converse(server, stream, peer).await };
    let begun = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        io::Result::Ok(first[0])
    };
    if timeout(GREETING_WITHIN, begun).await.map_err(late)?? != TLS_HANDSHAKE {
        return converse(server, stream, peer).await;
    }
    let handshake = TlsAcceptor::from(tls).accept(stream);
    converse(server, timeout(GREETING_WITHIN, handshake).await.map_err(late)??, peer).await
}

fn late(_: primacy_runtime::Elapsed) -> io::Error {
    io::ErrorKind::TimedOut.into()
}

async fn converse(server: TailServer, stream: impl AsyncRead + AsyncWrite, peer: &str) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let greeting = greet(&server, &mut reader, &mut writer);
    let accepted = timeout(GREETING_WITHIN, greeting).await.map_err(late)??;
    info!(
        from = accepted.from,
        end = accepted.source.tail.end(),
        "{peer} replicates from the tail of {}",
        accepted.source.tail.replid()
    );
    let Accepted { source: Source { tail, mut live }, from } = accepted;
    tokio::select! {
        biased;
        // Withdrawn.
        _ = live.changed() => Ok(()),
        gone = discard(&mut reader) => gone,
        sent = pour(&tail, from, &mut writer) => sent,
    }
}

async fn greet(
    server: &TailServer,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Accepted> {
    let mut buffer = BytesMut::with_capacity(request::BYTES_MAX);
    let mut login = None;
    loop {
        let Some(words) =
            request::take(&mut buffer).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?
        else {
            if reader.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((command, arguments)) = words.split_first() else { continue };
        let answer: &[u8] = match (command.to_ascii_uppercase().as_str(), arguments) {
            ("PING", _) => b"+PONG\r\n",
            ("AUTH", [password]) => authenticate(server, Login::new("default", password), &mut login),
            ("AUTH", [user, password]) => authenticate(server, Login::new(user, password), &mut login),
            ("REPLCONF", [what, ..]) if what.eq_ignore_ascii_case("ack") => continue,
            ("REPLCONF", _) => b"+OK\r\n",
            ("PSYNC", [replid, offset, ..]) => {
                match find(server, replid, offset, login.as_ref(), writer).await? {
                    Some(accepted) => {
                        let answer = format!("+CONTINUE {}\r\n", accepted.source.tail.replid());
                        writer.write_all(answer.as_bytes()).await?;
                        writer.flush().await?;
                        return Ok(accepted);
                    }
                    None => TRY_LATER,
                }
            }
            ("PSYNC" | "SYNC", _) => TRY_LATER,
            _ => b"-ERR not a command of a source that only continues streams\r\n",
        };
        writer.write_all(answer).await?;
        writer.flush().await?;
    }
}

fn authenticate(server: &TailServer, said: Login, login: &mut Option<Login>) -> &'static [u8] {
    if server.knows(&said) {
        *login = Some(said);
        return b"+OK\r\n";
    }
    *login = None;
    b"-WRONGPASS no replication user of a group whose stream is offered here\r\n"
}

/// The tail from which `offset`, the first byte that the replica lacks, can be sent.
async fn find(
    server: &TailServer,
    replid: &str,
    offset: &str,
    login: Option<&Login>,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Option<Accepted>> {
    let Some(from) = offset.parse().ok().and_then(|n: u64| n.checked_sub(1)) else { return Ok(None) };
    let Some(source) = server.find(replid, login) else { return Ok(None) };
    let mut progress = source.tail.progress();
    let until = now().after(ARRIVAL_WITHIN);
    loop {
        match source.tail.read(from, 1) {
            Read::Bytes(_) | Read::AtEnd | Read::Sealed => return Ok(Some(Accepted { source, from })),
            Read::Gone { .. } => return Ok(None),
            Read::Ahead { .. } if source.tail.sealed() || now() >= until => return Ok(None),
            Read::Ahead { .. } => {}
        }
        if timeout(ARRIVAL_LINE_EVERY, progress.changed()).await.is_err() {
            writer.write_all(b"\n").await?;
            writer.flush().await?;
        }
    }
}

/// Sends what is there and what arrives, for as long as the replica stays.
async fn pour(tail: &super::Tail, mut from: u64, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut progress = tail.progress();
    loop {
        match tail.read(from, CHUNK_BYTES) {
            Read::Bytes(bytes) => {
                let send = async {
                    writer.write_all(&bytes).await?;
                    writer.flush().await
                };
                timeout(CHUNK_WITHIN, send).await.map_err(late)??;
                from += bytes.len() as u64;
            }
            // Sealed: the replica stays until it is promoted, or the tail is withdrawn.
            Read::AtEnd | Read::Sealed => {
                let _ = progress.changed().await;
            }
            Read::Gone { .. } | Read::Ahead { .. } => {
                return Err(io::Error::other("it is too slow for the tail"));
            }
        }
    }
}

/// A replica acknowledges; nobody needs to know.
async fn discard(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut bytes = [0; 1024];
    while reader.read(&mut bytes).await? > 0 {}
    Ok(())
}
