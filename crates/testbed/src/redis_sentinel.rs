//! A real Redis Sentinel, to measure against.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use redis::aio::MultiplexedConnection;

use crate::ports;
use crate::process::{Process, ProcessSpec};
use crate::redis_address::RedisAddress;
use crate::redis_server::{info_fields, redis_program, start_and_wait};
use crate::wait::wait_for;
use crate::wan::Host;

/// How a Sentinel is set up.
#[derive(Clone, Debug)]
pub struct SentinelOptions {
    /// What messages call it.
    pub name: String,
    /// Its own directory, created when missing.
    pub dir: PathBuf,
    /// The name of the monitored group.
    pub group: String,
    /// `host:port` of the group's present primary.
    pub primary: String,
    /// How many Sentinels must agree that the primary is down.
    pub quorum: u32,
    /// Silence of the primary before it counts as down.
    pub down_after: Duration,
    /// Sentinel's `failover-timeout`.
    pub failover_timeout: Duration,
    /// Where it runs, with the address of that host; on 127.0.0.1 of this machine when `None`.
    pub host: Option<Host>,
}

impl SentinelOptions {
    /// Quorum 2, down after 1 s, failover timeout 10 s.
    pub fn new(
        name: impl Into<String>,
        dir: impl Into<PathBuf>,
        group: impl Into<String>,
        primary: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            dir: dir.into(),
            group: group.into(),
            primary: primary.into(),
            quorum: 2,
            down_after: Duration::from_secs(1),
            failover_timeout: Duration::from_secs(10),
            host: None,
        }
    }
}

/// A Sentinel that this process started. Dropping it kills it.
#[derive(Debug)]
pub struct RedisSentinel {
    group: String,
    address: RedisAddress,
    process: Process,
}

impl RedisSentinel {
    /// Starts a Sentinel and waits until it answers.
    pub async fn start(options: SentinelOptions) -> Result<Self> {
        let program = redis_program()?;
        let port = ports::free()?;
        std::fs::create_dir_all(&options.dir)
            .with_context(|| format!("cannot create {}", options.dir.display()))?;
        let ip = options.host.as_ref().map_or(Ipv4Addr::LOCALHOST, Host::address);
        let address = format!("{ip}:{port}");
        let conf = options.dir.join("sentinel.conf");
        std::fs::write(&conf, conf_text(&options, ip, port)?)
            .with_context(|| format!("cannot write {}", conf.display()))?;
        let spec = ProcessSpec {
            name: format!("redis-sentinel {}", options.name),
            program,
            args: vec![conf.into(), "--sentinel".into()],
            env: Vec::new(),
            log: options.dir.join("sentinel.log"),
            dir: options.dir,
        };
        let address = RedisAddress::new(address);
        let process = start_and_wait(options.host.as_ref(), &spec, &address.address).await?;
        Ok(Self { group: options.group, address, process })
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address.address
    }

    /// The process, for its id, its log and signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A new connection to the Sentinel itself.
    pub async fn connection(&self) -> Result<MultiplexedConnection> {
        self.address.connect().await
    }

    /// Waits until it knows this many replicas and other Sentinels; before that it could not fail over.
    pub async fn wait_discovered(&self, replicas: u32, others: u32, deadline: Duration) -> Result<()> {
        let what = format!("Sentinel {} to know {replicas} replicas and {others} others", self.address());
        let expected = format!("status=ok,slaves={replicas},sentinels={}", others + 1);
        wait_for(&what, deadline, async || {
            let info: String =
                redis::cmd("INFO").arg("sentinel").query_async(&mut self.connection().await?).await?;
            let seen = info_fields(&info).remove("master0").unwrap_or_default();
            // The line reads name=...,status=ok,address=...,slaves=2,sentinels=3.
            let known =
                seen.split(',').filter(|part| !part.starts_with("name=") && !part.starts_with("address="));
            if known.collect::<Vec<_>>().join(",") == expected {
                Ok(())
            } else {
                bail!("{}: {seen}", self.group)
            }
        })
        .await
    }
}

fn conf_text(options: &SentinelOptions, ip: Ipv4Addr, port: u16) -> Result<String> {
    let Some((host, primary_port)) = options.primary.rsplit_once(':') else {
        bail!("the primary's address {:?} is not host:port", options.primary);
    };
    let SentinelOptions { group, quorum, down_after, failover_timeout, .. } = options;
    Ok(format!(
        "bind {ip}\nport {port}\ndir \"{dir}\"\ndaemonize no\nprotected-mode no\n\
         sentinel monitor {group} {host} {primary_port} {quorum}\n\
         sentinel down-after-milliseconds {group} {down_after}\n\
         sentinel failover-timeout {group} {failover_timeout}\n\
         sentinel parallel-syncs {group} 1\n",
        dir = options.dir.display(),
        down_after = down_after.as_millis(),
        failover_timeout = failover_timeout.as_millis(),
    ))
}
