//! One coordinator node: a `primacy serve` process with its directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::node_toml::Peer;
use crate::http;
use crate::process::{Process, ProcessSpec};
use crate::wait::wait_for;
use crate::wan::Host;

const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// A node that this process started. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    peer: Peer,
    ports: Ports,
    spec: ProcessSpec,
    host: Option<Host>,
    process: Process,
}

/// Where a node listens besides for gRPC.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) http: String,
    /// (group, `host:port`) of each gate.
    pub(super) gates: Vec<(String, String)>,
}

impl Node {
    pub(super) fn spec(binary: &Path, id: u64, dir: PathBuf, env: Vec<(String, String)>) -> ProcessSpec {
        ProcessSpec {
            name: format!("node {id}"),
            program: binary.to_owned(),
            args: ["serve", "-c", "node.toml"].map(Into::into).to_vec(),
            env,
            log: dir.join("node.log"),
            dir,
        }
    }

    pub(super) fn spawn(peer: Peer, ports: Ports, spec: ProcessSpec, host: Option<Host>) -> Result<Self> {
        let process = Process::start_at(host.as_ref(), &spec)?;
        Ok(Self { peer, ports, spec, host, process })
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        self.peer.id
    }

    /// Its site.
    pub fn site(&self) -> &str {
        &self.peer.site
    }

    /// `host:port` of gRPC.
    pub fn address(&self) -> &str {
        &self.peer.address
    }

    /// `host:port` of HTTP.
    pub fn http(&self) -> &str {
        &self.ports.http
    }

    /// `host:port` of its gate of a group.
    pub fn gate(&self, group: &str) -> Option<&str> {
        self.ports.gates.iter().find(|(of, _)| of == group).map(|(_, listen)| listen.as_str())
    }

    /// Its directory: node.toml, node.log, data.
    pub fn dir(&self) -> &Path {
        &self.spec.dir
    }

    /// The process, for its id, its log and signals of all kinds.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        self.process.stop()
    }

    /// SIGCONT: goes on after [`Node::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.process.cont()
    }

    /// Other variables for the next start: the name of a fault point, for instance.
    pub fn set_env(&mut self, env: Vec<(String, String)>) {
        self.spec.env = env;
    }

    /// Starts it again with the same files, killing it first when it still runs. Returns before it is ready.
    pub fn respawn(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = Process::start_at(self.host.as_ref(), &self.spec)?;
        Ok(())
    }

    /// Starts it again like [`Node::respawn`] and waits until it is ready.
    pub async fn restart(&mut self, deadline: Duration) -> Result<()> {
        self.respawn()?;
        self.wait_ready(deadline).await
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When the process ends or the deadline passes: the message carries the end of its log.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<()> {
        let what = format!("node {} at {} to be ready", self.id(), self.site());
        let ready = wait_for(&what, deadline, async || match self.process.exit_status()? {
            Some(status) => Ok(Err(anyhow!("node {} ended before it was ready ({status})", self.id()))),
            None => self.ready().await.map(Ok),
        })
        .await;
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => {
                bail!("{error:#}; its log ends with:\n{}", self.process.log_tail(30))
            }
        }
    }

    /// Whether `/readyz` answers 200 now; the error says what it answers instead.
    pub async fn ready(&self) -> Result<()> {
        let response = http::get(&self.ports.http, "/readyz", ANSWER_DEADLINE).await?;
        if response.status == 200 {
            Ok(())
        } else {
            bail!("/readyz answers {}: {}", response.status, response.body)
        }
    }
}
