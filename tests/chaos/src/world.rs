//! Three sites with a node and a Redis server each, on a WAN, on clocks and disks that can fail.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use primacy_testbed::{
    Cli, Credentials, Deployment, DeploymentOptions, FaultPlan, Node, PrimaryAnswer, RedisGroup, Shim, Wan,
    WanLink,
};
use tempfile::TempDir;

use crate::disk::Disk;
use crate::fault::SITES;
use crate::schedule::Setting;

/// The one group.
pub(crate) const GROUP: &str = "features";
/// Processes of an act carry this variable, so that one that is left behind is known.
pub(crate) const MARK: &str = "PRIMACY_CHAOS_ACT";

/// A node, for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its id.
    pub(crate) id: u64,
    /// Its process.
    pub(crate) pid: u32,
    /// `host:port` of gRPC.
    pub(crate) grpc: String,
    /// `host:port` of HTTP.
    pub(crate) http: String,
    /// `host:port` of its gate.
    pub(crate) gate: String,
}

/// The node of each site as it is now, for clients that do not know the deployment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phonebook(Arc<RwLock<Vec<Entry>>>);

impl Phonebook {
    /// The node of a site.
    pub(crate) fn at(&self, site: usize) -> Option<Entry> {
        self.all().get(site).cloned()
    }

    /// All, in the order of the sites.
    pub(crate) fn all(&self) -> Vec<Entry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, site: usize, entry: Entry) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match entries.get_mut(site) {
            Some(slot) => *slot = entry,
            None => entries.push(entry),
        }
    }
}

/// All that runs, and the handles to break it.
#[derive(Debug)]
pub(crate) struct World {
    /// The nodes and the servers.
    pub(crate) d: Deployment,
    /// The network.
    pub(crate) wan: Wan,
    /// For clients.
    pub(crate) phonebook: Phonebook,
    /// Clock and syncs of the first node of each site.
    pub(crate) node_plans: Vec<FaultPlan>,
    /// The clock of each Redis server.
    pub(crate) redis_plans: Vec<FaultPlan>,
    /// The disk of the first node of each site.
    pub(crate) disks: Vec<Disk>,
    link: WanLink,
    node_ids: [u64; SITES.len()],
    next_id: u64,
    // Last, so that the processes are gone before their files are.
    _dir: TempDir,
}

impl World {
    /// Starts everything, and returns when the group serves.
    pub(crate) async fn start(binary: &Path, wan: Wan, setting: Setting, mark: String) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("primacy-chaos-").tempdir()?;
        let shim = Shim::create(dir.path())?;
        let plans = |kind: &str| -> Result<Vec<FaultPlan>> {
            SITES.iter().map(|site| shim.plan(&format!("{kind}-{site}"))).collect()
        };
        let (node_plans, redis_plans) = (plans("node")?, plans("redis")?);
        let disks: Vec<Disk> =
            SITES.iter().map(|site| Disk::mount(dir.path().join(site))).collect::<Result<_>>()?;

        let marked = (MARK.to_owned(), mark);
        let env = |plan: &FaultPlan| plan.env().into_iter().chain([marked.clone()]).collect::<Vec<_>>();
        let mut options = DeploymentOptions::new(binary);
        let cluster = &mut options.cluster;
        cluster.redis = Some(Credentials { username: "primacy".into(), password: "secret".into() });
        cluster.gates = vec![GROUP.to_owned()];
        "wan".clone_into(&mut cluster.profile);
        cluster.wan = Some(wan.clone());
        cluster.env = vec![marked.clone()];
        cluster.node_env = (1..).zip(node_plans.iter().map(env)).collect();
        cluster.data_dirs = (1..).zip(disks.iter().map(Disk::data)).collect();
        options.member_env =
            SITES.iter().zip(&redis_plans).map(|(site, plan)| ((*site).to_owned(), env(plan))).collect();
        options.group_settings =
            vec!["max_loss = \"any\"".to_owned(), format!("durability = {:?}", setting.durability)];
        let d = Deployment::start_serving(options).await?;
        let world = Self {
            d,
            wan,
            phonebook: Phonebook::default(),
            node_plans,
            redis_plans,
            disks,
            link: WanLink::with_rtt(Duration::from_millis(setting.rtt_ms)),
            node_ids: [1, 2, 3],
            next_id: 4,
            _dir: dir,
        };
        for site in 0..SITES.len() {
            world.list(site)?;
        }
        Ok(world)
    }

    /// How the sites are joined when nothing is wrong.
    pub(crate) fn link(&self) -> WanLink {
        self.link.clone()
    }

    /// The node of a site.
    pub(crate) fn node(&self, site: usize) -> Result<&Node> {
        self.d.cluster.node(self.node_ids[site])
    }

    /// The node of a site, to restart it.
    pub(crate) fn node_mut(&mut self, site: usize) -> Result<&mut Node> {
        self.d.cluster.node_mut(self.node_ids[site])
    }

    /// The id of the node of a site.
    pub(crate) fn node_id(&self, site: usize) -> u64 {
        self.node_ids[site]
    }

    /// Whether the node of a site is one of the first, with a disk and a clock of its own.
    pub(crate) fn is_first(&self, site: usize) -> bool {
        self.node_ids[site] as usize == site + 1
    }

    /// Starts the node of a site again; returns before it is ready.
    pub(crate) fn respawn_node(&mut self, site: usize) -> Result<()> {
        self.node_mut(site)?.respawn()?;
        self.list(site)
    }

    /// Starts a node with a new id that is not yet a member.
    pub(crate) fn add_node(&mut self, site: usize) -> Result<Addition> {
        let id = self.next_id;
        self.next_id += 1;
        let address = self.d.cluster.add(id, SITES[site])?.address().to_owned();
        Ok(Addition { id, old: self.node_ids[site], site, address })
    }

    /// The new node is a member and the old one is not: that one's machine is lost.
    pub(crate) fn replaced(&mut self, addition: &Addition) -> Result<()> {
        self.node_ids[addition.site] = addition.id;
        self.list(addition.site)?;
        self.d.cluster.discard(addition.old)
    }

    /// The member of a site.
    pub(crate) fn member(site: usize) -> String {
        RedisGroup::member_name(SITES[site])
    }

    /// What a node says by itself of the primary.
    pub(crate) async fn local_primary(&self, site: usize) -> Result<PrimaryAnswer> {
        let cli = Cli { endpoints: vec![self.node(site)?.address().to_owned()], ..self.d.cluster.cli() };
        cli.run(["primary", GROUP, "--consistency", "local", "-o", "json"]).await?.success()?.json()
    }

    /// Copies the logs of all processes, for whoever looks into a run that failed.
    pub(crate) fn keep_logs(&self, into: &Path) -> Result<()> {
        std::fs::create_dir_all(into)?;
        for node in self.d.cluster.nodes() {
            copy(node.process().log(), &into.join(format!("node-{}.log", node.id())))?;
        }
        for server in self.d.group.servers() {
            copy(server.log(), &into.join(format!("redis-{}.log", server.name())))?;
        }
        Ok(())
    }

    fn list(&self, site: usize) -> Result<()> {
        let node = self.node(site)?;
        let gate = node.gate(GROUP).context("a node without a gate")?.to_owned();
        let (grpc, http) = (node.address().to_owned(), node.http().to_owned());
        self.phonebook.set(site, Entry { id: node.id(), pid: node.process().pid(), grpc, http, gate });
        Ok(())
    }
}

/// A node that is to take another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addition {
    /// The new id.
    pub(crate) id: u64,
    /// The one whose place it takes.
    pub(crate) old: u64,
    /// Where.
    pub(crate) site: usize,
    /// `host:port` of the new one.
    pub(crate) address: String,
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
