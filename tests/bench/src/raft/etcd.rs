//! etcd as Debian ships it: three processes, and a client of its gRPC API.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use primacy_testbed::process::ProcessSpec;
use primacy_testbed::{Process, Workdir, ports, wait_for};
use tonic::transport::Channel;

use super::{Client, ELECTION_MIN, HEARTBEAT, RaftCluster, endpoint};

#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
mod proto {
    tonic::include_proto!("etcdserverpb");
}

use proto::kv_client::KvClient;
use proto::maintenance_client::MaintenanceClient;
use proto::{PutRequest, RangeRequest, StatusRequest, StatusResponse};

const PROGRAM: &str = "etcd";
const NODES: usize = 3;
const START_DEADLINE: Duration = Duration::from_secs(30);
/// A value of about the size of the command that Primacy commits.
const VALUE_BYTES: usize = 64;

/// Running nodes. Dropping it kills them and removes their data.
pub(super) struct EtcdCluster {
    nodes: Vec<Node>,
    // Last, so that the processes are gone before their data is.
    _workdir: Workdir,
}

struct Node {
    client_address: String,
    spec: ProcessSpec,
    process: Process,
}

impl EtcdCluster {
    /// Starts all nodes and waits until they know a leader.
    pub(super) async fn start() -> Result<Self> {
        let program = program()?;
        let workdir = Workdir::create()?;
        let mut addresses = Vec::new();
        for _ in 0..NODES {
            addresses.push(ports::free_many::<2>()?.map(|port| format!("127.0.0.1:{port}")));
        }
        let founding: Vec<String> =
            (0..).zip(&addresses).map(|(index, [_, peer])| format!("n{index}=http://{peer}")).collect();
        let mut nodes = Vec::new();
        for (index, [client, peer]) in addresses.iter().enumerate() {
            let dir = workdir.subdir(&format!("etcd-{index}"))?;
            let spec = ProcessSpec {
                name: format!("etcd n{index}"),
                program: program.clone(),
                args: arguments(index, client, peer, &founding.join(","))
                    .into_iter()
                    .map(Into::into)
                    .collect(),
                env: Vec::new(),
                log: dir.join("etcd.log"),
                dir,
            };
            let process = Process::start(&spec)?;
            nodes.push(Node { client_address: client.clone(), spec, process });
        }
        let cluster = Self { nodes, _workdir: workdir };
        wait_for("three nodes of etcd to know a leader", START_DEADLINE, async || {
            for (index, node) in cluster.nodes.iter().enumerate() {
                let status = cluster.status(index).await.with_context(|| node.process.log_tail(5))?;
                ensure!(status.leader != 0, "{} knows no leader", node.spec.name);
            }
            Ok(())
        })
        .await?;
        Ok(cluster)
    }

    async fn status(&self, node: usize) -> Result<StatusResponse> {
        let channel = endpoint(&self.nodes[node].client_address)?.connect().await?;
        Ok(MaintenanceClient::new(channel).status(StatusRequest {}).await?.into_inner())
    }
}

impl RaftCluster for EtcdCluster {
    type Client = EtcdClient;

    const NAME: &'static str = "etcd";

    fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.client_address.clone()).collect()
    }

    async fn leader(&self) -> Result<usize> {
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.process.is_running()) {
            let status = self.status(index).await.with_context(|| node.spec.name.clone())?;
            if status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader) {
                return Ok(index);
            }
        }
        bail!("no node of etcd leads at the moment")
    }

    async fn log_index(&self) -> Result<u64> {
        Ok(self.status(self.leader().await?).await?.raft_index)
    }

    fn client(&self, number: usize, channel: Channel) -> EtcdClient {
        EtcdClient { kv: KvClient::new(channel), key: format!("bench/{number}").into_bytes() }
    }

    fn kill(&self, node: usize) -> Result<()> {
        self.nodes[node].process.kill()
    }

    async fn restart(&mut self, index: usize) -> Result<()> {
        let node = &mut self.nodes[index];
        node.process = Process::start(&node.spec)?;
        wait_for("a restarted node of etcd to catch up", START_DEADLINE, async || {
            let goal = self.log_index().await?;
            let status = self.status(index).await?;
            ensure!(
                status.leader != 0 && status.raft_index >= goal,
                "it is at {} of {goal}",
                status.raft_index
            );
            Ok(())
        })
        .await
    }
}

/// A client with a key of its own.
#[derive(Clone)]
pub(super) struct EtcdClient {
    kv: KvClient<Channel>,
    key: Vec<u8>,
}

impl Client for EtcdClient {
    async fn commit(&mut self) -> Result<()> {
        let request = PutRequest { key: self.key.clone(), value: vec![b'v'; VALUE_BYTES] };
        self.kv.put(request).await?;
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        let response = self.kv.range(RangeRequest { key: self.key.clone() }).await?.into_inner();
        ensure!(response.count == 1, "etcd has no value at the key of this client");
        Ok(())
    }
}

fn arguments(index: usize, client: &str, peer: &str, founding: &str) -> Vec<String> {
    let flags = [
        ("name", format!("n{index}")),
        ("data-dir", "data".to_owned()),
        ("listen-client-urls", format!("http://{client}")),
        ("advertise-client-urls", format!("http://{client}")),
        ("listen-peer-urls", format!("http://{peer}")),
        ("initial-advertise-peer-urls", format!("http://{peer}")),
        ("initial-cluster", founding.to_owned()),
        ("heartbeat-interval", HEARTBEAT.as_millis().to_string()),
        ("election-timeout", ELECTION_MIN.as_millis().to_string()),
        ("logger", "zap".to_owned()),
        ("log-outputs", "stderr".to_owned()),
        ("log-level", "warn".to_owned()),
    ];
    flags.into_iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(PROGRAM))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| anyhow!("{PROGRAM} is not installed: run scripts/setup --for bench"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::raft::clients_of_leader;

    #[tokio::test]
    #[ignore = "needs etcd, which only the benches do"]
    async fn it_commits_reads_and_survives_its_leader() {
        let mut etcd = EtcdCluster::start().await.unwrap();
        let before = etcd.log_index().await.unwrap();
        let mut clients = clients_of_leader(&etcd, 2).await.unwrap();
        for client in &mut clients {
            client.commit().await.unwrap();
            client.read().await.unwrap();
        }
        assert!(etcd.log_index().await.unwrap() >= before + 2);
        let leader = etcd.leader().await.unwrap();
        etcd.kill(leader).unwrap();
        let next = wait_for("another leader", START_DEADLINE, async || etcd.leader().await).await.unwrap();
        assert_ne!(leader, next);
        etcd.restart(leader).await.unwrap();
    }
}
