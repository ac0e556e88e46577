//! Opening a connection and introducing ourselves, and naming what went wrong so that an operator knows what to do.

use super::record::{Ending, Recording};
use crate::{Access, reply};
use primacy_core::Address;
use primacy_core::view::ConnectFailure;
use redis::{ErrorKind, RedisError, Value};
use rustls_pki_types::ServerName;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsConnector;

/// Why there is no usable connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialError {
    /// Nobody listens.
    Refused,
    /// No answer, or no route.
    Unreachable(String),
    /// The name does not resolve.
    NameUnknown(String),
    /// TLS failed.
    Tls(String),
    /// The server wants a password and we have none.
    NoPassword,
    /// The server does not accept the password.
    WrongPassword(String),
    /// The user may not do what every connection does.
    NoPermission(String),
    /// The server turned the connection away for now: too many clients, protected mode.
    TurnedAway(String),
    /// What answers is not Redis.
    NotRedis(String),
}

impl DialError {
    pub(crate) fn failure(&self) -> ConnectFailure {
        match self {
            DialError::Refused => ConnectFailure::Refused,
            DialError::Unreachable(_) => ConnectFailure::Unreachable,
            DialError::NameUnknown(_) => ConnectFailure::NameUnknown,
            DialError::Tls(_)
            | DialError::NoPassword
            | DialError::WrongPassword(_)
            | DialError::NoPermission(_)
            | DialError::TurnedAway(_)
            | DialError::NotRedis(_) => ConnectFailure::Protocol,
        }
    }

    /// Whether only a change of configuration can help.
    pub(crate) fn permanent(&self) -> bool {
        match self {
            DialError::Refused
            | DialError::Unreachable(_)
            | DialError::NameUnknown(_)
            | DialError::TurnedAway(_) => false,
            DialError::Tls(_)
            | DialError::NoPassword
            | DialError::WrongPassword(_)
            | DialError::NoPermission(_)
            | DialError::NotRedis(_) => true,
        }
    }

    /// What the operator can do.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            DialError::Refused => "start the server, or correct the address",
            DialError::Unreachable(_) => {
                "check the address, rediss:// included, the network, and whether the server is frozen"
            }
            DialError::NameUnknown(_) => "correct the host name, or the name service",
            DialError::Tls(_) => {
                "write rediss:// exactly where the server speaks TLS, and trust its certificate authority in node.toml"
            }
            DialError::NoPassword => "set username and password_file for the group in node.toml",
            DialError::WrongPassword(_) => "correct username and password_file for the group in node.toml",
            DialError::NoPermission(_) => "give the user the rights that `primacy redis-conf` prints",
            DialError::TurnedAway(_) => {
                "raise maxclients, or bind the server to an address that nodes may reach"
            }
            DialError::NotRedis(_) => "correct the address: it must be that of a Redis or Valkey server",
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Refused => f.write_str("it refuses connections"),
            DialError::Unreachable(why) => write!(f, "it is unreachable: {why}"),
            DialError::NameUnknown(why) => write!(f, "its name does not resolve: {why}"),
            DialError::Tls(why) => write!(f, "TLS failed: {why}"),
            DialError::NoPassword => f.write_str("it needs a password and none is configured"),
            DialError::WrongPassword(line) => write!(f, "it does not accept our user and password: {line}"),
            DialError::NoPermission(line) => write!(f, "our user lacks a right: {line}"),
            DialError::TurnedAway(line) => write!(f, "it turns us away: {line}"),
            DialError::NotRedis(why) => write!(f, "it does not answer as Redis does: {why}"),
        }
    }
}

/// The raw stream with TLS where the address asks for it.
pub(super) async fn open_stream(
    address: &Address,
    access: &Access,
    ending: &Arc<Ending>,
    within: Duration,
) -> Result<Box<dyn primacy_runtime::Stream>, DialError> {
    let plain = primacy_runtime::connect(&address.authority(), within).await.map_err(|e| of_connect(&e))?;
    let recording = Recording::new(plain, ending.clone());
    if !address.tls {
        return Ok(Box::new(recording));
    }
    let Some(config) = &access.tls else {
        return Err(DialError::Tls(
            "the address says rediss:// and no certificate authority is configured".into(),
        ));
    };
    let name = ServerName::try_from(address.host.clone()).map_err(|e| DialError::Tls(e.to_string()))?;
    // A plain server takes the handshake for the beginning of a command and waits for the rest, like a frozen one.
    let handshake = TlsConnector::from(config.clone()).connect(name, recording);
    let Ok(stream) = primacy_runtime::timeout(within * 9 / 10, handshake).await else {
        return Err(DialError::Unreachable(
            "the TLS handshake is not answered: it is frozen, or does not speak TLS there".into(),
        ));
    };
    stream.map(|s| Box::new(s) as _).map_err(|e| DialError::Tls(describe_tls(&e)))
}

fn of_connect(error: &io::Error) -> DialError {
    let words = error.to_string();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        _ if words.contains("failed to lookup address") => DialError::NameUnknown(words),
        _ => DialError::Unreachable(words),
    }
}

fn describe_tls(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::InvalidData
            if error.get_ref().is_none_or(|e| !e.to_string().contains("certificate")) =>
        {
            format!("the server does not speak TLS there ({error})")
        }
        _ => error.to_string(),
    }
}

/// The first commands of each connection: who we are, and whether anybody answers.
pub(crate) fn greeting(access: &Access, name: &str) -> redis::Pipeline {
    let mut pipeline = redis::pipe();
    if let Some(auth) = auth(access) {
        pipeline.add_command(auth);
    }
    pipeline.cmd("CLIENT").arg("SETNAME").arg(name);
    pipeline.cmd("PING");
    pipeline
}

/// What a replica says that wants a full copy, one command each. With `capa eof` it goes over the connection alone,
/// and ends with it.
pub(super) fn replica_greeting(access: &Access) -> Vec<Vec<u8>> {
    let mut commands = vec![redis::cmd("REPLCONF").arg("capa").arg("eof").get_packed_command()];
    commands.push(redis::cmd("PSYNC").arg("?").arg("-1").get_packed_command());
    if let Some(auth) = auth(access) {
        commands.insert(0, auth.get_packed_command());
    }
    commands
}

fn auth(access: &Access) -> Option<redis::Cmd> {
    let password = access.password.as_ref()?;
    let mut auth = redis::cmd("AUTH");
    if let Some(username) = &access.username {
        auth.arg(username);
    }
    auth.arg(password);
    Some(auth)
}

/// Judges the answers to the [`greeting`].
pub(crate) fn accept_greeting(replies: &[Value]) -> Result<(), DialError> {
    for refused in replies.iter().filter_map(reply::refusal) {
        match refused.code.as_str() {
            "NOAUTH" => return Err(DialError::NoPassword),
            "WRONGPASS" => return Err(DialError::WrongPassword(refused.line)),
            "NOPERM" => return Err(DialError::NoPermission(refused.line)),
            "DENIED" => return Err(DialError::TurnedAway(refused.line)),
            _ if refused.line.contains("max number of clients") => {
                return Err(DialError::TurnedAway(refused.line));
            }
            _ if refused.line.contains("without any password configured") => {
                return Err(DialError::WrongPassword(refused.line));
            }
            // Busy with a script, loading, without its primary: a server, and it answers.
            _ => {}
        }
    }
    let last = replies.last();
    let alive = last.is_some_and(|r| reply::refusal(r).is_some() || reply::text(r) == Some("PONG"));
    if alive { Ok(()) } else { Err(DialError::NotRedis(format!("PING is answered by {last:?}"))) }
}

/// Names an error of the first exchange.
pub(super) fn of_greeting(error: &RedisError) -> DialError {
    match error.kind() {
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => DialError::NotRedis(error.to_string()),
        _ if error.is_connection_dropped() => DialError::NotRedis(
            "it closed the connection instead of answering; does it speak TLS there (rediss://)?".into(),
        ),
        _ => DialError::Unreachable(error.to_string()),
    }
}
