//! Raft beside etcd: how many commits and linearizable reads a second, and how soon after the leader was killed the
//! next commit goes through.
//!
//! Both clusters have three nodes on loopback with the same timings, keep their data on the same disk, and are asked
//! by the same clients through the same gRPC stack over the same number of connections, all to the leader. They run
//! side by side and take turns; the one whose turn it is not has nothing to do.

mod etcd;
mod primacy;
mod rates;
mod takeover;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tonic::transport::{Channel, Endpoint};

use crate::figure::Figure;
use crate::plan::Plan;
use crate::progress;
use etcd::EtcdCluster;
use primacy::PrimacyCluster;

/// The same for both. etcd takes no election timeout below five heartbeats, and doubles it at random.
const HEARTBEAT: Duration = Duration::from_millis(50);
const ELECTION_MIN: Duration = Duration::from_millis(300);

const MANY: usize = 64;
/// Beyond that, clients share connections.
const CONNECTIONS_MAX: usize = 8;
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Three nodes that agree through Raft.
trait RaftCluster {
    type Client: Client;

    /// Who this is.
    const NAME: &'static str;

    /// `host:port` of each node.
    fn addresses(&self) -> Vec<String>;

    /// The index of the node that leads.
    async fn leader(&self) -> Result<usize>;

    /// The last index of the leader's log, or of what it has applied.
    async fn log_index(&self) -> Result<u64>;

    /// The client with this number, over a connection to one node.
    fn client(&self, number: usize, channel: Channel) -> Self::Client;

    /// SIGKILL.
    fn kill(&self, node: usize) -> Result<()>;

    /// Starts a killed node again and waits until it is up to date.
    async fn restart(&mut self, node: usize) -> Result<()>;
}

/// One client of a cluster.
trait Client: Clone + Send + 'static {
    /// Adds one entry to the log, and returns when it is committed and applied.
    fn commit(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Reads one value, linearizable.
    fn read(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Measures all figures of Raft.
pub(crate) async fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    progress!("raft: starting three nodes of primacy and three of etcd");
    let mut ours = PrimacyCluster::start(binary).await?;
    let mut etcd = EtcdCluster::start().await?;
    let mut figures = vec![
        rates::commits(&ours, &etcd, 1, "raft.commits_1", plan).await?,
        rates::commits(&ours, &etcd, MANY, "raft.commits_64", plan).await?,
        rates::reads(&ours, &etcd, MANY, "raft.reads_64", plan).await?,
    ];
    figures.push(takeover::figure(&mut ours, &mut etcd, plan).await?);
    Ok(figures)
}

/// Clients `0..count` of the leader, over at most eight connections.
async fn clients_of_leader<C: RaftCluster>(cluster: &C, count: usize) -> Result<Vec<C::Client>> {
    let leader = cluster.leader().await?;
    let address = &cluster.addresses()[leader];
    let mut channels = Vec::new();
    for _ in 0..count.min(CONNECTIONS_MAX) {
        let channel = endpoint(address)?.connect().await;
        channels.push(channel.with_context(|| format!("cannot connect to {} at {address}", C::NAME))?);
    }
    let numbered = channels.iter().cycle().take(count).cloned().enumerate();
    Ok(numbered.map(|(number, channel)| cluster.client(number, channel)).collect())
}

fn endpoint(address: &str) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(1)).timeout(ANSWER_DEADLINE))
}
