//! Primacy under the same load: what is committed is a pause and a resume of a group, in turns.
//!
//! Every call proposes an entry of the log, also where another client has paused the group already; that the log grew
//! by as many entries is checked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use primacy_wire::v1::admin_client::AdminClient;
use primacy_wire::v1::directory_client::DirectoryClient;
use primacy_wire::v1::{
    ClusterStatusRequest, ClusterStatusResponse, GetPrimaryRequest, PauseRequest, ResumeRequest,
};
use tonic::transport::Channel;

use super::{Client, ELECTION_MIN, HEARTBEAT, RaftCluster, endpoint};
use crate::fleet::{Fleet, FleetOptions, cluster_options};

/// Few, because every node asks every server ten times a second meanwhile, which etcd has no counterpart for.
const GROUPS: usize = 4;
const READY_DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct PrimacyCluster {
    fleet: Fleet,
}

impl PrimacyCluster {
    pub(super) async fn start(binary: &Path) -> Result<Self> {
        let mut cluster = cluster_options(binary);
        let election = format!("{}ms..{}ms", ELECTION_MIN.as_millis(), ELECTION_MIN.as_millis() * 2);
        cluster.timings = vec![
            ("heartbeat".to_owned(), format!("{}ms", HEARTBEAT.as_millis())),
            ("election".to_owned(), election),
        ];
        let options = FleetOptions {
            cluster,
            groups: GROUPS,
            members: 2,
            // Nothing is to happen but what the clients ask for.
            group_settings: vec!["failover = \"manual\"".to_owned()],
            redis_config: Vec::new(),
        };
        Ok(Self { fleet: Fleet::start(options).await? })
    }

    async fn status(&self) -> Result<ClusterStatusResponse> {
        let mut last = anyhow!("no node runs");
        for node in self.fleet.cluster.nodes().iter().filter(|node| node.process().is_running()) {
            let asked = async {
                let mut admin = AdminClient::new(endpoint(node.address())?.connect().await?);
                Ok::<_, anyhow::Error>(admin.cluster_status(ClusterStatusRequest {}).await?.into_inner())
            };
            match asked.await {
                Ok(status) if status.leader.is_some() => return Ok(status),
                Ok(_) => last = anyhow!("node {} knows no leader", node.id()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl RaftCluster for PrimacyCluster {
    type Client = PrimacyClient;

    const NAME: &'static str = "primacy";

    fn addresses(&self) -> Vec<String> {
        self.fleet.cluster.endpoints()
    }

    async fn leader(&self) -> Result<usize> {
        let leader = self.status().await?.leader.ok_or_else(|| anyhow!("no node leads"))?;
        let nodes = self.fleet.cluster.nodes();
        let index = nodes.iter().position(|node| node.id() == leader.id && node.process().is_running());
        index.with_context(|| format!("node {} leads and does not run", leader.id))
    }

    async fn log_index(&self) -> Result<u64> {
        let status = self.status().await?;
        let matched = status.nodes.iter().filter_map(|node| node.matched_index).max();
        matched.ok_or_else(|| anyhow!("the leader does not say how far its log reaches"))
    }

    fn client(&self, number: usize, channel: Channel) -> PrimacyClient {
        let groups = self.fleet.groups();
        PrimacyClient {
            admin: AdminClient::new(channel.clone()),
            directory: DirectoryClient::new(channel),
            group: groups[number % groups.len()].clone(),
            paused: false,
        }
    }

    fn kill(&self, node: usize) -> Result<()> {
        self.fleet.cluster.nodes()[node].kill()
    }

    async fn restart(&mut self, index: usize) -> Result<()> {
        let id = self.fleet.cluster.nodes()[index].id();
        self.fleet.cluster.node_mut(id)?.restart(READY_DEADLINE).await
    }
}

/// A client that pauses and resumes one group.
#[derive(Clone)]
pub(super) struct PrimacyClient {
    admin: AdminClient<Channel>,
    directory: DirectoryClient<Channel>,
    group: String,
    paused: bool,
}

impl Client for PrimacyClient {
    async fn commit(&mut self) -> Result<()> {
        let (group, requested_by) = (self.group.clone(), "bench".to_owned());
        self.paused = !self.paused;
        if self.paused {
            self.admin.pause(PauseRequest { group, reason: None, requested_by }).await?;
        } else {
            self.admin.resume(ResumeRequest { group, requested_by }).await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        let request = GetPrimaryRequest { group: self.group.clone(), ..GetPrimaryRequest::default() };
        self.directory.get_primary(request).await?;
        Ok(())
    }
}
