//! One broker, which is a controller too: its ports, its file, its process.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::cluster::KafkaOptions;
use super::install::java;
use crate::process::{Process, ProcessSpec};
use crate::wait::wait_for;
use crate::wan::Host;

/// One JVM after the other on two cores that others use as well.
const START_DEADLINE: Duration = Duration::from_mins(2);
/// How long a controller waits for a broker that was killed, and before it lets it in again: a third of Kafka's default.
const SESSION_MS: u32 = 3_000;
const HEARTBEAT_MS: u32 = 500;
const READY: &str = "Kafka Server started";

/// The ports of one broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) internal: u16,
    pub(super) controller: u16,
}

/// A broker of a [`KafkaCluster`](super::KafkaCluster). Dropping it kills it.
#[derive(Debug)]
pub struct Broker {
    id: i32,
    address: String,
    internal_address: String,
    host: Option<Host>,
    format: ProcessSpec,
    spec: ProcessSpec,
    process: Option<Process>,
    log_before: u64,
}

impl Broker {
    /// Writes its file; starts nothing.
    pub(super) fn prepare(options: &KafkaOptions, id: i32, ports: &[Ports]) -> Result<Self> {
        let host = options.hosts.get(usize::try_from(id - 1)?).or(options.hosts.first()).cloned();
        let dir = options.dir.join(format!("broker-{id}"));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let file = dir.join("server.properties");
        std::fs::write(&file, properties(options, id, ports, &dir)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let log = dir.join("broker.log");
        let mut words = vec!["format".into(), "-t".into(), options.cluster_id.as_str().into(), "-c".into()];
        words.push(file.clone().into());
        words.extend(options.format.iter().map(Into::into));
        let format = java(options.version, &options.jvm, "kafka.tools.StorageTool", words, &dir, &log)?;
        let mut spec = java(options.version, &options.jvm, "kafka.Kafka", vec![file.into()], &dir, &log)?;
        spec.name = format!("Kafka {} broker {id}", options.name);
        spec.env.clone_from(&options.env);
        let (ip, ports) = (ip(options, id), port_of(ports, id)?);
        let (address, internal_address) =
            (format!("{ip}:{}", ports.client), format!("{ip}:{}", ports.internal));
        Ok(Self { id, address, internal_address, host, format, spec, process: None, log_before: 0 })
    }

    /// Formats its directory, for which it must be new.
    pub(super) async fn format(&self) -> Result<()> {
        let process = Process::start(&self.format)?;
        let status = process.wait_exit(START_DEADLINE).await?;
        ensure!(
            status.success(),
            "the directory of {} was not formatted:\n{}",
            self.name(),
            process.log_tail(20)
        );
        Ok(())
    }

    /// Its node id.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// `host:port` of its listener for clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `host:port` of the listener for other brokers, which wants no login and is not encrypted.
    pub fn internal_address(&self) -> &str {
        &self.internal_address
    }

    /// Its output.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// Its directory of data, with a directory for each partition.
    pub fn data(&self) -> PathBuf {
        self.spec.dir.join("data")
    }

    /// Its process, while one was started; it may have ended.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self) -> Result<()> {
        self.running()?.kill()
    }

    /// SIGSTOP: its connections stay open and nothing answers.
    pub fn freeze(&self) -> Result<()> {
        self.running()?.stop()
    }

    /// SIGCONT: goes on after [`Broker::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.running()?.cont()
    }

    /// Starts it, with the same ports and data, and returns before it serves. Kills it first when it still runs.
    pub fn spawn(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.kill()?;
        }
        self.log_before = self.spec.log.metadata().map_or(0, |log| log.len());
        self.process = Some(Process::start_at(self.host.as_ref(), &self.spec)?);
        Ok(())
    }

    /// Waits until it says that it serves.
    pub async fn wait_ready(&self) -> Result<()> {
        let process = self.running()?;
        let ready = wait_for(&format!("{} to serve", self.name()), START_DEADLINE, async || {
            if let Some(status) = process.exit_status()? {
                return Ok(Err(anyhow!("{} ended while it started ({status})", self.name())));
            }
            ensure!(self.says_it_is_ready()?, "not yet");
            Ok(Ok(()))
        })
        .await;
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => bail!("{error:#}; its log ends with:\n{}", process.log_tail(30)),
        }
    }

    fn says_it_is_ready(&self) -> Result<bool> {
        let log = std::fs::read(&self.spec.log)?;
        let since = log.get(usize::try_from(self.log_before)?..).unwrap_or_default();
        Ok(since.windows(READY.len()).any(|window| window == READY.as_bytes()))
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().ok_or_else(|| anyhow!("{} was not started", self.name()))
    }

    fn name(&self) -> &str {
        &self.spec.name
    }
}

fn ip(options: &KafkaOptions, id: i32) -> Ipv4Addr {
    let of_broker = usize::try_from(id - 1).ok().and_then(|index| options.hosts.get(index));
    of_broker.or(options.hosts.first()).map_or(Ipv4Addr::LOCALHOST, Host::address)
}

fn port_of(ports: &[Ports], id: i32) -> Result<Ports> {
    let port = usize::try_from(id - 1).ok().and_then(|index| ports.get(index));
    port.copied().ok_or_else(|| anyhow!("broker {id} has no ports"))
}

fn properties(options: &KafkaOptions, id: i32, ports: &[Ports], dir: &Path) -> Result<String> {
    let (ip_here, own) = (ip(options, id), port_of(ports, id)?);
    let ids = 1..=i32::try_from(ports.len())?;
    let voters: Vec<String> =
        ids.zip(ports).map(|(id, ports)| format!("{id}@{}:{}", ip(options, id), ports.controller)).collect();
    let copies = ports.len();
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners=CLIENT://{ip_here}:{client},INTERNAL://{ip_here}:{internal},CONTROLLER://{ip_here}:{controller}\n\
         advertised.listeners=CLIENT://{ip_here}:{client},INTERNAL://{ip_here}:{internal}\n\
         listener.security.protocol.map=CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=INTERNAL\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={data}\n\
         default.replication.factor={copies}\n\
         offsets.topic.replication.factor={copies}\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor={copies}\n\
         transaction.state.log.num.partitions=4\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor={copies}\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         broker.session.timeout.ms={SESSION_MS}\n\
         broker.heartbeat.interval.ms={HEARTBEAT_MS}\n\
         log.segment.bytes=67108864\n",
        voters = voters.join(","),
        client = own.client,
        internal = own.internal,
        controller = own.controller,
        protocol = options.protocol,
        data = dir.join("data").display(),
    );
    for line in &options.config {
        // Writing to a string cannot fail. A later line overrides an earlier one.
        let _ = writeln!(text, "{line}");
    }
    Ok(text)
}
