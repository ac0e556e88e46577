//! A real `redis-server`, with a port and a directory that it keeps over restarts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use redis::aio::MultiplexedConnection;

use crate::process::{Process, ProcessSpec};
use crate::redis_address::{Credentials, RedisAddress, answers};
use crate::wait::wait_for;
use crate::wan::Host;
use crate::{binary, ports};

const START_DEADLINE: Duration = Duration::from_secs(10);

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// What messages call it: the member's name.
    pub name: String,
    /// Its own directory, created when missing: configuration, log, data.
    pub dir: PathBuf,
    /// Its port; a free one when `None`.
    pub port: Option<u16>,
    /// Lines of redis.conf after ours, which they override: those of `primacy redis-conf`, for instance.
    pub config: Vec<String>,
    /// The user of [`RedisServer::connection`]. Created with all rights unless a line of `config` creates it.
    pub credentials: Option<Credentials>,
    /// Variables of the process.
    pub env: Vec<(String, String)>,
    /// Where it runs, with the address of that host; on 127.0.0.1 of this machine when `None`.
    pub host: Option<Host>,
}

impl RedisOptions {
    /// An empty, writable server on a free port that persists nothing and does not make replicas wait.
    pub fn new(name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            dir: dir.into(),
            port: None,
            config: Vec::new(),
            credentials: None,
            env: Vec::new(),
            host: None,
        }
    }

    /// The IP address that it listens on.
    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.host.as_ref().map_or(Ipv4Addr::LOCALHOST, Host::address)
    }
}

/// A server that this process started. Dropping it kills it.
#[derive(Debug)]
pub struct RedisServer {
    name: String,
    address: RedisAddress,
    port: u16,
    spec: ProcessSpec,
    host: Option<Host>,
    process: Process,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// When `redis-server` is not installed or does not answer within 10 s; the message carries the end of its log.
    pub async fn start(options: RedisOptions) -> Result<Self> {
        let program = redis_program()?;
        let port = options.port.map_or_else(ports::free, Ok)?;
        std::fs::create_dir_all(&options.dir)
            .with_context(|| format!("cannot create {}", options.dir.display()))?;
        let conf = options.dir.join("redis.conf");
        std::fs::write(&conf, conf_text(&options, port))
            .with_context(|| format!("cannot write {}", conf.display()))?;
        let address = format!("{}:{port}", options.ip());
        let spec = ProcessSpec {
            name: format!("redis-server {}", options.name),
            program,
            args: vec![conf.into()],
            env: options.env,
            log: options.dir.join("redis.log"),
            dir: options.dir,
        };
        let address = RedisAddress { address, credentials: options.credentials };
        let host = options.host;
        let process = start_and_wait(host.as_ref(), &spec, &address.address).await?;
        Ok(Self { name: options.name, address, port, spec, host, process })
    }

    /// The name given in the options.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address.address
    }

    /// Its address with the credentials of the options.
    pub fn redis_address(&self) -> &RedisAddress {
        &self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, for its id, its log and signals of all kinds.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The file with its log.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// SIGSTOP: its connections stay open and nothing answers.
    pub fn freeze(&self) -> Result<()> {
        self.process.stop()
    }

    /// SIGCONT: goes on after [`RedisServer::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.process.cont()
    }

    /// Starts it again like [`RedisServer::restart`], and returns before it answers.
    pub fn respawn(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = Process::start_at(self.host.as_ref(), &self.spec)?;
        Ok(())
    }

    /// Starts it again with the same port, directory and configuration, killing it first when it still runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = start_and_wait(self.host.as_ref(), &self.spec, &self.address.address).await?;
        Ok(())
    }

    /// A new connection with 5 s for each answer.
    pub async fn connection(&self) -> Result<MultiplexedConnection> {
        self.address.connect().await
    }

    /// All fields of `INFO`.
    pub async fn info(&self) -> Result<BTreeMap<String, String>> {
        let text: String = redis::cmd("INFO")
            .query_async(&mut self.connection().await?)
            .await
            .with_context(|| format!("INFO from {} failed", self.name))?;
        Ok(info_fields(&text))
    }

    /// One field of `INFO`.
    pub async fn info_field(&self, field: &str) -> Result<String> {
        self.info().await?.remove(field).ok_or_else(|| anyhow!("{} has no field {field} in INFO", self.name))
    }
}

/// The program that is server and Sentinel in one.
pub(crate) fn redis_program() -> Result<PathBuf> {
    binary::find("PRIMACY_REDIS_SERVER", "redis-server")
}

/// Starts what `spec` says, at a host, and waits until Redis answers at `address`.
pub(crate) async fn start_and_wait(
    host: Option<&Host>,
    spec: &ProcessSpec,
    address: &str,
) -> Result<Process> {
    let process = Process::start_at(host, spec)?;
    let what = format!("{} to answer at {address}", spec.name);
    let ready = wait_for(&what, START_DEADLINE, async || match process.exit_status()? {
        Some(status) => Ok(Err(anyhow!("{} ended while it started ({status})", spec.name))),
        None => answers(address).await.map(Ok),
    })
    .await;
    match ready {
        Ok(Ok(())) => Ok(process),
        Ok(Err(error)) | Err(error) => bail!("{error:#}; its log ends with:\n{}", process.log_tail(20)),
    }
}

pub(crate) fn info_fields(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim_end().to_owned()))
        .collect()
}

fn conf_text(options: &RedisOptions, port: u16) -> String {
    let mut text = format!(
        "bind {ip}\nport {port}\ndir \"{}\"\ndaemonize no\nsave \"\"\nappendonly no\n\
         repl-diskless-sync-delay 0\n",
        options.dir.display(),
        ip = options.ip(),
    );
    if options.host.is_some() {
        // There is nobody in such a network but us.
        text.push_str("protected-mode no\n");
    }
    if let Some(Credentials { username, password }) = &options.credentials
        && !options.config.iter().any(|line| creates_user(line, username))
    {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "user {username} on >{password} ~* &* +@all");
    }
    for line in &options.config {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn creates_user(line: &str, username: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("user")) && words.next() == Some(username)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_user_is_created_once() {
        let mut options = RedisOptions::new("east-a", "/data");
        options.credentials = Some(Credentials { username: "primacy".into(), password: "secret".into() });
        let ours = "user primacy on >secret ~* &* +@all";
        assert!(conf_text(&options, 7).contains(ours));
        options.config.push("user primacy on >secret +@admin".into());
        assert!(!conf_text(&options, 7).contains(ours));
    }

    #[test]
    fn info_is_read_by_name() {
        let fields = info_fields("# Replication\r\nrole:master\r\nslave0:ip=::1,port=7\r\n");
        assert_eq!(fields["role"], "master");
        assert_eq!(fields["slave0"], "ip=::1,port=7");
    }
}
