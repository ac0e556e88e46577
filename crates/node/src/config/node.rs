//! `node.toml`: what this node is, which cluster it belongs to, and what must not be replicated.

use super::credentials::{self, RedisAccess};
use super::kafka::{self, KafkaAccess};
use super::section::{self, Findings, Section, Wrong, boolean, duration, integer, parsed, string};
use super::timings::{self, Profile, Timings};
use super::{Problem, Problems};
use primacy_core::{Address, GroupName, NodeId, SiteName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Table, Value};

/// How old a local read may be when `[cluster] stale_max` says nothing.
const STALE_MAX: Duration = Duration::from_mins(1);

/// How many connections a gate takes when `connections_max` says nothing.
const CONNECTIONS_MAX: u64 = 10_000;

/// A node's configuration, checked.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `[node]`.
    pub node: NodeSection,
    /// `[cluster]`.
    pub cluster: ClusterSection,
    /// `[redis.*]`.
    pub redis: RedisAccess,
    /// `[kafka.*]`.
    pub kafka: KafkaAccess,
    /// `[[gate]]`.
    pub gates: Vec<GateConfig>,
    /// What works and should still be put right.
    pub warnings: Vec<Problem>,
}

/// What this node is.
#[derive(Clone, Debug)]
pub struct NodeSection {
    /// Unique for ever.
    pub id: NodeId,
    /// Its failure domain.
    pub site: SiteName,
    /// Where the log and the snapshots live. Relative paths are relative to the file.
    pub data_dir: PathBuf,
    /// Where gRPC listens.
    pub listen: SocketAddr,
    /// What others dial, `HOST:PORT`.
    pub advertise: String,
    /// Where replicas fetch a tail from; none takes a free port of the host of `listen` when one is needed.
    pub witness: Option<SocketAddr>,
    /// Where HTTP listens, if anywhere.
    pub http: Option<SocketAddr>,
}

/// A door to the primary of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateConfig {
    /// The group that it leads to.
    pub group: GroupName,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Whether the primary is told the client's address, by the PROXY protocol, version 2.
    pub proxy_protocol: bool,
    /// How many clients it takes at a time; further ones are refused.
    pub connections_max: usize,
}

/// The cluster that this node belongs to.
#[derive(Clone, Debug)]
pub struct ClusterSection {
    /// Keeps two clusters apart that reach each other by mistake.
    pub name: String,
    /// Where the timings came from.
    pub profile: Profile,
    /// The timings in force.
    pub timings: Timings,
    /// The oldest state that a local read may show.
    pub stale_max: Duration,
    /// The founding nodes.
    pub peers: Vec<Peer>,
}

/// A founding node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// Its site.
    pub site: SiteName,
    /// What others dial, `HOST:PORT`.
    pub address: String,
}

impl NodeConfig {
    /// Reads and checks a `node.toml`, with the files it names.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(path: &Path) -> Result<NodeConfig, Problems> {
        let table = section::read(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        NodeConfig::from_table(&table, base)
    }

    /// Checks the text of a `node.toml`; relative paths are relative to `base`.
    ///
    /// # Errors
    /// As [`NodeConfig::load`].
    pub fn parse(text: &str, base: &Path) -> Result<NodeConfig, Problems> {
        let table = section::parse(text).map_err(|reason| {
            let remedy = "correct the line; the format is TOML 1.0".to_owned();
            Problems(vec![Problem { key: "node.toml".to_owned(), reason, remedy }])
        })?;
        NodeConfig::from_table(&table, base)
    }

    fn from_table(table: &Table, base: &Path) -> Result<NodeConfig, Problems> {
        let (findings, warned) = (Findings::default(), Findings::default());
        let root = Section::new("", table, &findings);
        let node = table_of(&root, "node").and_then(|section| read_node(section, base));
        let cluster = table_of(&root, "cluster").and_then(read_cluster);
        let redis = root.section("redis").map(|section| credentials::read(&section, base, &warned));
        let kafka = root.section("kafka").map(|section| kafka::read(&section, base, &warned));
        let gates: Vec<Option<GateConfig>> = root.sections("gate").into_iter().map(read_gate).collect();
        root.finish();
        if let (Some(node), Some(cluster)) = (&node, &cluster) {
            check_self(&findings, node, cluster);
            check_spread(&warned, cluster);
        }
        check_listeners(&findings, node.as_ref(), &gates);
        let (node, cluster) = findings.conclude(node.zip(cluster))?;
        let gates = gates.into_iter().flatten().collect();
        let (redis, kafka) = (redis.unwrap_or_default(), kafka.unwrap_or_default());
        Ok(NodeConfig { node, cluster, redis, kafka, gates, warnings: warned.into_vec() })
    }

    /// The site of each founding node.
    pub fn founding_sites(&self) -> BTreeMap<NodeId, SiteName> {
        self.cluster.peers.iter().map(|p| (p.id, p.site.clone())).collect()
    }
}

fn table_of<'a>(root: &Section<'a>, key: &'static str) -> Option<Section<'a>> {
    root.required(key, &format!("[{key}]"), |_| Ok(()))?;
    root.section(key)
}

fn read_node(section: Section<'_>, base: &Path) -> Option<NodeSection> {
    let id = section.required("id", "id = 1", |v| integer(v, 1, i64::MAX as u64));
    let site =
        section.required("site", "site = \"east\"", |v| parsed::<SiteName>(v, "a site's name", "\"east\""));
    let data_dir = section.required("data_dir", "data_dir = \"/var/lib/primacy\"", |v| path(v, base));
    let listen = section.required("listen", "listen = \"0.0.0.0:7101\"", socket);
    let advertise = section.optional("advertise", dialled);
    let http = section.optional("http", socket);
    let witness = section.optional("witness", socket);
    section.absent("sentinel", "Sentinel listener");
    if let (Some(listen), None) = (listen.filter(|l| l.ip().is_unspecified()), &advertise) {
        let reason = format!("it is missing, and others cannot dial {listen}");
        section.wrong("advertise", Wrong::new(reason, "add the address that others reach this node by"));
        section.finish();
        return None;
    }
    section.finish();
    let listen = listen?;
    Some(NodeSection {
        id: NodeId(id?),
        site: site?,
        data_dir: data_dir?,
        listen,
        advertise: advertise.unwrap_or_else(|| listen.to_string()),
        witness,
        http,
    })
}

fn read_gate(section: Section<'_>) -> Option<GateConfig> {
    let group = section.required("group", "group = \"features\"", |v| {
        parsed::<GroupName>(v, "a group's name", "\"features\"")
    });
    let listen = section.required("listen", "listen = \"0.0.0.0:6400\"", socket);
    let proxy_protocol = section.optional("proxy_protocol", boolean).unwrap_or(false);
    let connections_max = section.optional("connections_max", |v| integer(v, 1, 1_000_000));
    section.absent("ports", "gate for Kafka");
    section.absent("announce", "gate for Kafka");
    section.finish();
    let connections_max = connections_max.unwrap_or(CONNECTIONS_MAX) as usize;
    Some(GateConfig { group: group?, listen: listen?, proxy_protocol, connections_max })
}

/// Two listeners cannot share a port, even where one of them names no host.
fn check_listeners(findings: &Findings, node: Option<&NodeSection>, gates: &[Option<GateConfig>]) {
    let of_node = node.into_iter().flat_map(|n| {
        [("listen", Some(n.listen)), ("witness", n.witness), ("http", n.http)]
            .into_iter()
            .filter_map(|(key, at)| Some((format!("node.{key}"), at?)))
    });
    let of_gates =
        gates.iter().enumerate().filter_map(|(n, g)| Some((format!("gate[{n}].listen"), g.as_ref()?.listen)));
    let mut taken: Vec<(String, SocketAddr)> = Vec::new();
    for (key, at) in of_node.chain(of_gates) {
        match taken.iter().find(|(_, other)| collide(*other, at)) {
            Some((other, _)) => {
                findings.add(
                    key,
                    format!("it is the address of {other} as well"),
                    "give each a port of its own",
                );
            }
            None => taken.push((key, at)),
        }
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn read_cluster(section: Section<'_>) -> Option<ClusterSection> {
    let name = section.required("name", "name = \"prod\"", |v| parsed::<GroupName>(v, "a name", "\"prod\""));
    let (profile, timings) = timings::read(&section);
    let stale_max = section.optional("stale_max", |v| duration(v, "\"60s\"")).unwrap_or(STALE_MAX);
    let listed = section.sections("peer");
    if section.lists_none("peer") {
        let remedy = "list the founding nodes, the same on each: [[cluster.peer]] with id, site and address";
        section.wrong("peer", Wrong::new("no founding node is named", remedy));
    }
    let expected = listed.len();
    let read = listed.into_iter().enumerate().filter_map(|(n, peer)| Some((n, read_peer(peer)?)));
    let read: Vec<(usize, Peer)> = read.collect();
    check_peers(section.findings(), &read);
    section.finish();
    let peers: Vec<Peer> = read.into_iter().map(|(_, peer)| peer).collect();
    let complete = peers.len() == expected && expected > 0;
    complete.then_some(ClusterSection { name: name?.to_string(), profile, timings, stale_max, peers })
}

fn read_peer(section: Section<'_>) -> Option<Peer> {
    let id = section.required("id", "id = 1", |v| integer(v, 1, i64::MAX as u64));
    let site =
        section.required("site", "site = \"east\"", |v| parsed::<SiteName>(v, "a site's name", "\"east\""));
    let address = section.required("address", "address = \"10.0.0.1:7101\"", dialled);
    section.finish();
    Some(Peer { id: NodeId(id?), site: site?, address: address? })
}

fn check_peers(findings: &Findings, peers: &[(usize, Peer)]) {
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for (n, peer) in peers {
        if !ids.insert(peer.id) {
            let reason = format!("node {} is listed twice", peer.id);
            findings.add(format!("cluster.peer[{n}].id"), reason, "give each node its own id");
        }
        if !addresses.insert(&peer.address) {
            let reason = format!("{} is the address of another peer as well", peer.address);
            findings.add(format!("cluster.peer[{n}].address"), reason, "give each node its own address");
        }
    }
}

/// A founding node must be listed as it is. A node that is not listed joins later, by `cluster add`.
fn check_self(findings: &Findings, node: &NodeSection, cluster: &ClusterSection) {
    let Some((n, listed)) = cluster.peers.iter().enumerate().find(|(_, p)| p.id == node.id) else {
        if let Some(n) = cluster.peers.iter().position(|p| p.address == node.advertise) {
            let reason = format!(
                "node {} listens there by the list, and this node has id {}",
                cluster.peers[n].id, node.id
            );
            findings.add("node.advertise", reason, "correct node.id or the address");
        }
        return;
    };
    if listed.site != node.site {
        let reason = format!("it is {}, and node.site of this node is {}", listed.site, node.site);
        findings.add(format!("cluster.peer[{n}].site"), reason, "make the two equal");
    }
    if listed.address != node.advertise {
        let reason = format!("it is {}, and this node advertises {}", listed.address, node.advertise);
        findings.add(format!("cluster.peer[{n}].address"), reason, "make the two equal");
    }
}

fn check_spread(warned: &Findings, cluster: &ClusterSection) {
    let sites: BTreeSet<&SiteName> = cluster.peers.iter().map(|p| &p.site).collect();
    if sites.len() < 3 {
        let reason = format!("the founding nodes are at {} site(s)", sites.len());
        warned.add(
            "cluster.peer",
            reason,
            "use three sites or more, so that the loss of any one leaves a majority",
        );
    } else if cluster.peers.len().is_multiple_of(2) {
        let reason = format!("{} founding nodes are an even number", cluster.peers.len());
        warned.add(
            "cluster.peer",
            reason,
            "use an odd number: one more node bears no more losses than one less",
        );
    }
}

fn path(value: &Value, base: &Path) -> Result<PathBuf, Wrong> {
    let text = string(value, "a path", "\"/var/lib/primacy\"")?;
    if text.is_empty() {
        return Err(Wrong::new("it is empty", "write a path"));
    }
    Ok(base.join(text))
}

fn socket(value: &Value) -> Result<SocketAddr, Wrong> {
    const EXAMPLE: &str = "\"0.0.0.0:7101\"";
    let text = string(value, "an address", EXAMPLE)?;
    let remedy = || format!("write IP:PORT, such as {EXAMPLE}");
    let address: SocketAddr = text
        .parse()
        .map_err(|_| Wrong::new(format!("{text:?} is not an IP address with a port"), remedy()))?;
    if address.port() == 0 {
        return Err(Wrong::new("port 0 is not a fixed port", remedy()));
    }
    Ok(address)
}

/// `HOST:PORT` that others can dial.
fn dialled(value: &Value) -> Result<String, Wrong> {
    const REMEDY: &str = "write HOST:PORT, such as \"10.0.0.1:7101\"";
    let text = string(value, "an address", "\"10.0.0.1:7101\"")?;
    if text.contains("://") {
        return Err(Wrong::new(format!("{text:?} has a scheme"), REMEDY));
    }
    let address: Address = text.parse().map_err(|e: primacy_core::AddressError| {
        Wrong::new(format!("{text:?} is not an address: {}", e.reason), REMEDY)
    })?;
    let ip: Option<std::net::IpAddr> = address.host.parse().ok();
    if ip.is_some_and(|ip| ip.is_unspecified()) {
        return Err(Wrong::new(format!("nobody can dial {text}"), REMEDY));
    }
    Ok(address.authority())
}
