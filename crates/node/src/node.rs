//! A node as a whole: what runs, what it needs, and how it ends.
//!
//! Ending leaves every primary serving: leadership is handed over first, so that somebody goes on planning, then the
//! streams end, then the services, then consensus.

use crate::config::NodeConfig;
use crate::guard::{Gates, Guards, Parts, watch_unheard};
use crate::lead::{Board, Lead};
use crate::observe::{News, Nudges, Observer, report_to_leader};
use crate::peers::Peers;
use crate::serve::{self, Shared, WATCHERS_MAX, access_for};
use crate::telemetry;
use futures::future::{self, FutureExt};
use primacy_consensus::{Config, Consensus, Peer, Timings};
use primacy_core::NodeId;
use primacy_core::view::SafetyTimes;
use primacy_redis::{Hand, Links, TailServer};
use primacy_runtime::{Task, spawn, timeout, watch};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, info};

/// A snapshot is taken after so many log entries.
const SNAPSHOT_EVERY: u64 = 5_000;
/// How long requests under way may take once the node stops. The streams of the other nodes end only with their sender,
/// so this is waited for in most cases.
const DRAIN_WITHIN: Duration = Duration::from_millis(300);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken, or not ours.
    #[error("{key}: cannot listen on {address}: {error}; free the port or choose another")]
    Listen {
        /// Such as `node.listen`.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// Consensus does not start.
    #[error(transparent)]
    Consensus(#[from] primacy_consensus::StartError),
}

/// Why a running node ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It takes no part in the cluster any more.
    #[error(transparent)]
    Halted(#[from] primacy_consensus::Halted),
    /// A service ended.
    #[error("the {service} service ended: {reason}")]
    Service {
        /// Which.
        service: &'static str,
        /// Why.
        reason: String,
    },
}

/// A running node. [`Node::run_until`] ends it in order; dropping it ends it at once.
pub struct Node {
    me: NodeId,
    consensus: Consensus,
    stop: watch::Sender<bool>,
    services: Vec<(&'static str, Task<Result<(), String>>)>,
    /// Ends when it is dropped.
    tasks: Vec<Task<()>>,
}

impl Node {
    /// Opens the data directory and the ports and takes part in the cluster. It returns at once, whether or not the
    /// other nodes are there.
    ///
    /// # Errors
    /// [`StartError`] names the key and what to do.
    pub async fn start(config: NodeConfig) -> Result<Node, StartError> {
        telemetry::metrics();
        let config = Arc::new(config);
        let grpc = listen("node.listen", config.node.listen).await?;
        let http = match config.node.http {
            Some(address) => Some(listen("node.http", address).await?),
            None => None,
        };
        let tails = listen("node.witness", witness_address(&config)).await?;
        let announce = announce(&config, &tails);
        let gates = Gates::open(&config.gates).await.map_err(|(address, error)| StartError::Listen {
            key: "gate.listen",
            address,
            error,
        })?;
        let consensus = Consensus::start(consensus_config(&config)).await?;
        let me = config.node.id;
        let times = SafetyTimes::of(config.cluster.timings.lease_ttl);
        let board = Arc::new(Board::new(me, times));
        let news = Arc::new(News::default());
        let peers = Arc::new(Peers::default());
        let access = config.clone();
        let links = Links::new(move |group| access_for(&access.redis, group));
        let (stop, stopping) = watch::channel(false);
        let guards = Guards::new(Parts {
            me,
            config: config.clone(),
            consensus: consensus.clone(),
            links: links.clone(),
            board: board.clone(),
            news: news.clone(),
            peers: peers.clone(),
            announce,
            gates,
        });
        let shared = Arc::new(Shared {
            me,
            config: config.clone(),
            consensus: consensus.clone(),
            board: board.clone(),
            peers: peers.clone(),
            guards: guards.clone(),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            stopping: stopping.clone(),
        });
        let (health, health_service) = tonic_health::server::health_reporter();
        let hand = Hand::new(links.clone());
        let nudges = Arc::new(Nudges::default());
        let observer = Observer {
            consensus: consensus.clone(),
            links,
            kafka: config.kafka.clone(),
            board: board.clone(),
            news: news.clone(),
            nudges: nudges.clone(),
        };
        let tasks = vec![
            spawn(observer.run()),
            spawn(report_to_leader(consensus.clone(), me, board.clone(), news, peers)),
            spawn(
                Lead { me, consensus: consensus.clone(), hand, board, nudges, guards: guards.clone() }.run(),
            ),
            spawn(serve_tails(guards.tails.clone(), tails)),
            spawn(watch_unheard(guards.clone())),
            spawn(guards.run()),
            spawn(serve::follow_health(shared.clone(), health)),
            spawn(telemetry::upkeep()),
        ];
        let mut services = Vec::new();
        if let Some(http) = http {
            let serving = serve::serve_http(shared.clone(), http, stopped(stopping.clone()));
            services.push(("HTTP", spawn(serving.map(|ended| ended.map_err(|e| e.to_string())))));
        }
        let serving = serve::serve_grpc(shared, grpc, health_service, stopped(stopping));
        services.push(("gRPC", spawn(serving.map(|ended| ended.map_err(|e| e.to_string())))));
        info!(node = me.0, site = %config.node.site, listen = %config.node.listen, "node started");
        Ok(Node { me, consensus, stop, services, tasks })
    }

    /// Runs until `shutdown` is done, then hands leadership over and stops; every primary goes on serving.
    ///
    /// # Errors
    /// [`RunError`] when it ended by itself before.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut halted = self.consensus.halted();
        let services = self.services.iter_mut().map(|(name, task)| task.map(|ended| (*name, ended)));
        let service_ended = future::select_all(services);
        let result = tokio::select! {
            biased;
            () = shutdown => Ok(()),
            _ = halted.wait_for(Option::is_some) => match halted.borrow().clone() {
                Some(why) => Err(RunError::Halted(why)),
                None => Ok(()),
            },
            ((service, ended), _, _) = service_ended => {
                let reason = match ended {
                    Ok(Ok(())) => "nobody asked for it".to_owned(),
                    Ok(Err(reason)) => reason,
                    Err(cancelled) => cancelled.to_string(),
                };
                Err(RunError::Service { service, reason })
            }
        };
        self.stop().await;
        result
    }

    /// This node's part in the consensus, for tests and embedders.
    pub fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    async fn stop(self) {
        let Node { me, consensus, stop, services, tasks } = self;
        info!(node = me.0, "node stops");
        consensus.shutdown().await;
        stop.send(true);
        drop(tasks);
        let drained = future::join_all(services.into_iter().map(|(_, task)| task));
        if timeout(DRAIN_WITHIN, drained).await.is_err() {
            debug!(node = me.0, "streams that had not ended were cut off");
        }
        info!(node = me.0, "node stopped");
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen { key, address, error })
}

/// Where tails are served: as configured, else on a free port of the host that gRPC listens on.
fn witness_address(config: &NodeConfig) -> SocketAddr {
    config.node.witness.unwrap_or_else(|| SocketAddr::new(config.node.listen.ip(), 0))
}

/// What replicas are told to dial for a tail.
fn announce(config: &NodeConfig, tails: &TcpListener) -> (String, u16) {
    let port = tails.local_addr().map_or(0, |address| address.port());
    let own = witness_address(config).ip();
    let advertised = config.node.advertise.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']));
    let host = if own.is_unspecified() { advertised.map(str::to_owned) } else { Some(own.to_string()) };
    (host.unwrap_or_else(|| own.to_string()), port)
}

async fn serve_tails(server: TailServer, listener: TcpListener) {
    if let Err(error) = server.serve(listener).await {
        tracing::error!(%error, "tails are not served any more; a rescue from this node will fail");
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn consensus_config(config: &NodeConfig) -> Config {
    let timings = config.cluster.timings;
    let founding = config.cluster.peers.iter();
    Config {
        node: config.node.id,
        site: config.node.site.clone(),
        address: config.node.advertise.clone(),
        cluster: config.cluster.name.clone(),
        founding: founding
            .map(|p| Peer { id: p.id, site: p.site.clone(), address: p.address.clone() })
            .collect(),
        timings: Timings {
            heartbeat: timings.heartbeat,
            election_min: timings.election_min,
            election_max: timings.election_max,
        },
        data_dir: config.node.data_dir.clone(),
        snapshot_every: SNAPSHOT_EVERY,
    }
}
