//! Nodes to test with: each in a runtime of its own, so that ending the runtime ends the node as a kill would.

use primacy_consensus::{Config, Consensus, Grpc, Halted, Peer, StartError, Timings, Transport};
use primacy_core::{Command, NodeId, SiteName, State, Term, WallTime};
use primacy_wire::v1;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tracing_subscriber::EnvFilter;

/// How long anything may take that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) const TIMINGS: Timings = Timings {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(400),
    election_max: Duration::from_millis(800),
};

/// Waits until `probe` gives something; panics with what it last complained about.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(why) if began.elapsed() > SOON => panic!("{what}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A command that can be found again: one of a rising sequence.
pub(crate) fn mark(n: u64) -> Command {
    Command::AssumeLeadership { node: NodeId(n), term: Term(n), at: WallTime(n) }
}

/// The marks that a state has seen, in order.
pub(crate) fn marks(state: &State) -> Vec<u64> {
    let events = state.events.iter().flat_map(|batch| &batch.events);
    events
        .filter_map(|event| match event {
            primacy_core::Event::LeadershipAssumed { node, .. } => Some(node.0),
            _ => None,
        })
        .collect()
}

pub(crate) fn peer(id: u64, address: &str) -> Peer {
    Peer { id: NodeId(id), site: SiteName::new(format!("site-{id}")).unwrap(), address: address.to_owned() }
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

pub(crate) struct Node {
    pub(crate) consensus: Consensus,
    runtime: Option<Runtime>,
}

impl Node {
    /// As SIGKILL: everything it does ends, and its connections with it.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) async fn shutdown(mut self) {
        self.consensus.shutdown().await;
        self.end();
    }

    pub(crate) fn leads(&self) -> bool {
        self.consensus.has_authority()
    }

    pub(crate) fn term(&self) -> Term {
        self.consensus.leadership().borrow().term
    }

    pub(crate) fn marks(&self) -> Vec<u64> {
        self.consensus.read(marks)
    }

    pub(crate) async fn halted(&self) -> Halted {
        let mut halted = self.consensus.halted();
        tokio::time::timeout(SOON, halted.wait_for(Option::is_some)).await.expect("halts").unwrap();
        halted.borrow().clone().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a cluster is made of; nodes are started from it one by one.
pub(crate) struct Site {
    dirs: tempfile::TempDir,
    pub(crate) founding: Vec<Peer>,
    pub(crate) snapshot_every: u64,
    transport: Arc<dyn Fn(u64) -> Arc<dyn Transport>>,
}

impl Site {
    pub(crate) fn new(nodes: u64) -> Self {
        Self::over(nodes, |_| Arc::new(Grpc))
    }

    pub(crate) fn over(nodes: u64, transport: impl Fn(u64) -> Arc<dyn Transport> + 'static) -> Self {
        if std::env::var_os("RUST_LOG").is_some() {
            // Another test may have begun it.
            let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).try_init();
        }
        let founding = (1..=nodes).map(|id| peer(id, &free_address())).collect();
        let dirs = tempfile::tempdir().unwrap();
        Self { dirs, founding, snapshot_every: 10_000, transport: Arc::new(transport) }
    }

    pub(crate) fn dir(&self, id: u64) -> PathBuf {
        self.dirs.path().join(format!("node-{id}"))
    }

    pub(crate) fn config(&self, id: u64) -> Config {
        let me = self.founding.iter().find(|peer| peer.id.0 == id).cloned();
        let me = me.unwrap_or_else(|| peer(id, &free_address()));
        Config {
            node: me.id,
            site: me.site,
            address: me.address,
            cluster: "test".to_owned(),
            founding: self.founding.clone(),
            timings: TIMINGS,
            data_dir: self.dir(id),
            snapshot_every: self.snapshot_every,
        }
    }

    pub(crate) async fn start(&self, id: u64) -> Node {
        self.try_start(self.config(id)).await.unwrap()
    }

    /// Starts a node and serves it. A data directory that its former owner still lets go of is waited for.
    pub(crate) async fn try_start(&self, config: Config) -> Result<Node, StartError> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let transport = (self.transport)(config.node.0);
        let began = Instant::now();
        let started = loop {
            let start = Consensus::start_over(config.clone(), transport.clone());
            match runtime.spawn(start).await.unwrap() {
                Err(StartError::Storage(in_use))
                    if in_use.to_string().contains("lock") && began.elapsed() < SOON =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                started => break started,
            }
        };
        let consensus = match started {
            Ok(consensus) => consensus,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let address: SocketAddr = config.address.parse().unwrap();
        let service = consensus.raft_service();
        runtime.spawn(async move {
            let listener = loop {
                match tokio::net::TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            let incoming = TcpListenerStream::new(listener);
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
        });
        Ok(Node { consensus, runtime: Some(runtime) })
    }

    pub(crate) async fn start_all(&self) -> Vec<Node> {
        let mut nodes = vec![];
        for peer in &self.founding {
            nodes.push(self.start(peer.id.0).await);
        }
        nodes
    }
}

/// The index of the node that certainly leads.
pub(crate) async fn leader(nodes: &[Node]) -> usize {
    eventually("a leader", async || nodes.iter().position(Node::leads).ok_or("none leads".to_owned())).await
}

pub(crate) async fn propose(node: &Node, n: u64) {
    node.consensus.propose(mark(n), SOON).await.unwrap();
}

/// Waits until all nodes hold the marks.
pub(crate) async fn all_hold(nodes: &[&Node], wanted: &[u64]) {
    for node in nodes {
        eventually("the same marks everywhere", async || {
            let held = node.marks();
            if held == wanted {
                Ok(())
            } else {
                Err(format!("{:?} holds {held:?}, not {wanted:?}", node.consensus))
            }
        })
        .await;
    }
}

/// Waits until `node`, whose id is `asked`, knows the data directory of node `id`; asks as that node would.
pub(crate) async fn registered(node: &Node, asked: u64, id: u64) {
    let header = v1::RaftHeader {
        cluster: "test".to_owned(),
        from_node: id,
        to_node: asked,
        from_store_id: 99,
        to_store_id: 0,
    };
    eventually("registration", async || {
        let request = v1::IdentifyRequest { header: Some(header.clone()) };
        let answer = node.consensus.service().identify(request).await.map_err(|e| e.to_string())?;
        answer.registered_store_id.map(drop).ok_or("not registered".to_owned())
    })
    .await;
}

/// Fails when `what` does not come about within the time that everything is given.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}
