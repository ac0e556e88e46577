//! A cluster of coordinator nodes: real `primacy serve` processes, one at each site.

mod node;
mod node_toml;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::future::try_join_all;
use serde::Deserialize;

use node::Ports;

pub use node::Node;

use crate::cli::Cli;
use crate::redis_address::Credentials;
use crate::wan::{Host, Wan};
use crate::{ports, workdir::Workdir};
use node_toml::{NodeText, Peer};

/// The founding nodes must agree on a leader before they are ready.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Path of the `primacy` binary.
    pub binary: PathBuf,
    /// The cluster's name.
    pub name: String,
    /// One node at each of these sites, with the ids 1, 2, 3, ...
    pub sites: Vec<String>,
    /// `lan` or `wan`.
    pub profile: String,
    /// Timings that differ from the profile: `("heartbeat", "100ms")`.
    pub timings: Vec<(String, String)>,
    /// As whom the nodes connect to Redis.
    pub redis: Option<Credentials>,
    /// Lines at the end of each node's file: tables of their own.
    pub node_toml: String,
    /// Groups with a gate at each node.
    pub gates: Vec<String>,
    /// Variables for all nodes.
    pub env: Vec<(String, String)>,
    /// Variables for one node, by its id, on top of those for all.
    pub node_env: Vec<(u64, Vec<(String, String)>)>,
    /// (id, directory) of nodes whose data is elsewhere than in their own directory: on a disk of its own, for instance.
    pub data_dirs: Vec<(u64, PathBuf)>,
    /// Where the sites are, each with a host of its name; all on 127.0.0.1 when `None`.
    pub wan: Option<Wan>,
}

impl ClusterOptions {
    /// Three nodes at east, north and west with the timings of a LAN.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            name: "testbed".to_owned(),
            sites: ["east", "north", "west"].map(str::to_owned).to_vec(),
            profile: "lan".to_owned(),
            timings: Vec::new(),
            redis: None,
            node_toml: String::new(),
            gates: Vec::new(),
            env: Vec::new(),
            node_env: Vec::new(),
            data_dirs: Vec::new(),
            wan: None,
        }
    }

    /// The network of a site, when there is a WAN.
    pub(crate) fn host(&self, site: &str) -> Result<Option<Host>> {
        self.wan.as_ref().map(|wan| wan.host(site).cloned()).transpose()
    }

    fn free_address(&self, site: &str) -> Result<String> {
        let ip = self.host(site)?.map_or(Ipv4Addr::LOCALHOST, |host| host.address());
        Ok(format!("{ip}:{}", ports::free()?))
    }
}

/// Running nodes. Dropping it kills them and removes their data.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    founding: Vec<Peer>,
    nodes: Vec<Node>,
    // Last, so that the processes are gone before their data is.
    workdir: Workdir,
}

#[derive(Deserialize)]
struct StatusAnswer {
    leader: Option<LeaderAnswer>,
}

#[derive(Deserialize)]
struct LeaderAnswer {
    id: u64,
}

impl Cluster {
    /// Starts all nodes and waits until each is ready.
    ///
    /// # Errors
    /// When a node ends or is not ready within 30 s: the message carries the end of its log.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        let workdir = Workdir::create()?;
        let mut founding = Vec::new();
        for (id, site) in (1..).zip(&options.sites) {
            founding.push(Peer { id, site: site.clone(), address: options.free_address(site)? });
        }
        let mut cluster = Self { options, founding, nodes: Vec::new(), workdir };
        for peer in cluster.founding.clone() {
            cluster.spawn(peer)?;
        }
        try_join_all(cluster.nodes.iter().map(|node| node.wait_ready(START_DEADLINE))).await?;
        Ok(cluster)
    }

    /// Starts a further node under a new id and returns before it is ready, which it is only once `cluster add`
    /// has made it known.
    pub fn add(&mut self, id: u64, site: &str) -> Result<&Node> {
        let address = self.options.free_address(site)?;
        self.spawn(Peer { id, site: site.to_owned(), address })?;
        self.node(id)
    }

    /// Kills a node and removes its data: a machine that is lost.
    pub fn discard(&mut self, id: u64) -> Result<()> {
        self.node(id)?.kill()?;
        let index = self.index(id)?;
        let node = self.nodes.remove(index);
        std::fs::remove_dir_all(node.dir()).with_context(|| format!("cannot remove the data of node {id}"))
    }

    /// A node by its id.
    pub fn node(&self, id: u64) -> Result<&Node> {
        Ok(&self.nodes[self.index(id)?])
    }

    /// A node by its id, to restart it.
    pub fn node_mut(&mut self, id: u64) -> Result<&mut Node> {
        let index = self.index(id)?;
        Ok(&mut self.nodes[index])
    }

    /// All nodes, running or not.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// `host:port` of all nodes, for `--endpoints`.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address().to_owned()).collect()
    }

    /// The command line, talking to all nodes.
    pub fn cli(&self) -> Cli {
        Cli { binary: self.options.binary.clone(), endpoints: self.endpoints() }
    }

    /// The id of the node that leads now.
    ///
    /// # Errors
    /// When there is no leader, or no node answers.
    pub async fn leader(&self) -> Result<u64> {
        let status: StatusAnswer =
            self.cli().run(["cluster", "status", "-o", "json"]).await?.success()?.json()?;
        status.leader.map(|leader| leader.id).ok_or_else(|| anyhow!("no node leads at the moment"))
    }

    /// The directory with the nodes' files.
    pub fn dir(&self) -> &Path {
        self.workdir.path()
    }

    /// What tells `redis-conf` the user of the nodes: the file of one of them, when it names a user.
    pub(crate) fn user_args(&self) -> Vec<OsString> {
        let file = self
            .nodes
            .first()
            .filter(|_| self.options.redis.is_some())
            .map(|node| node.dir().join("node.toml"));
        file.map_or_else(Vec::new, |file| vec!["-c".into(), file.into()])
    }

    fn spawn(&mut self, peer: Peer) -> Result<()> {
        let dir = self.workdir.subdir(&format!("node-{}", peer.id))?;
        let http = self.options.free_address(&peer.site)?;
        let host = self.options.host(&peer.site)?;
        let of_node = self.options.node_env.iter().filter(|(id, _)| *id == peer.id).flat_map(|(_, env)| env);
        let env = self.options.env.iter().chain(of_node).cloned().collect();
        let gate = |group: &String| Ok((group.clone(), self.options.free_address(&peer.site)?));
        let gates: Vec<(String, String)> = self.options.gates.iter().map(gate).collect::<Result<_>>()?;
        let (founding, options) = (&self.founding, &self.options);
        node_toml::write(&dir, &NodeText { peer: &peer, http: &http, gates: &gates, founding, options })?;
        let spec = Node::spec(&options.binary, peer.id, dir, env);
        self.nodes.push(Node::spawn(peer, Ports { http, gates }, spec, host)?);
        Ok(())
    }

    fn index(&self, id: u64) -> Result<usize> {
        self.nodes
            .iter()
            .position(|node| node.id() == id)
            .ok_or_else(|| anyhow!("there is no node {id} here"))
    }
}
