//! A cluster behind its bootstrap addresses: connections are opened when they are asked for and kept while they live.
//!
//! Nothing here retries: who asks knows how long it may take and what a second attempt means.

use super::connection::Connection;
use super::dial;
use super::error::LinkError;
use super::topology::{self, Topology, Wanted};
use crate::ClusterAccess;
use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long opening a connection may take, login included.
const OPEN: Duration = Duration::from_secs(10);

/// How long a question about the cluster may take.
const ASK: Duration = Duration::from_secs(10);

/// What a connection carries: answers come in order, so a long fetch must not stand before a short question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Questions and changes.
    Control,
    /// Records from the cluster; several of them, by number.
    Fetch(u8),
    /// Records to the cluster.
    Produce,
    /// Group offsets.
    Offsets,
}

/// What a coordinator is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coordinating {
    /// A consumer group.
    Group,
    /// A transactional id.
    Transaction,
}

/// A cluster that can be asked. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    access: ClusterAccess,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    addresses: BTreeMap<i32, String>,
    controller: Option<i32>,
    connections: BTreeMap<(i32, Lane), Arc<Connection>>,
    entry: Option<Arc<Connection>>,
    coordinators: BTreeMap<(Coordinating, String), i32>,
}

impl Cluster {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// No bootstrap address.
    pub fn new(access: ClusterAccess) -> Result<Cluster, LinkError> {
        if access.bootstrap.is_empty() {
            return Err(LinkError::Configuration("a cluster needs a bootstrap address".into()));
        }
        let shared = Shared { access, known: Mutex::default() };
        Ok(Cluster { shared: Arc::new(shared) })
    }

    /// Asks the cluster about itself.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn topology(&self, wanted: Wanted<'_>) -> Result<Topology, LinkError> {
        let connection = self.any().await?;
        let topology = topology::read(connection.call(&topology::request(wanted), ASK).await?)?;
        self.learn(&topology);
        Ok(topology)
    }

    /// Takes over where brokers are from somebody who asked as another user.
    pub(crate) fn learn(&self, topology: &Topology) {
        let mut known = self.known();
        known.addresses = topology.brokers.iter().map(|(id, b)| (*id, b.address.clone())).collect();
        known.controller = topology.controller;
        let Known { addresses, connections, .. } = &mut *known;
        connections.retain(|(id, _), c| addresses.get(id).is_some_and(|a| a == c.address()));
    }

    /// A connection to any broker.
    ///
    /// # Errors
    /// The last of the errors, when none answers.
    pub async fn any(&self) -> Result<Arc<Connection>, LinkError> {
        let (entry, known) = {
            let known = self.known();
            (known.entry.clone(), known.addresses.values().cloned().collect::<Vec<_>>())
        };
        if let Some(entry) = entry.filter(|c| !c.is_closed()) {
            return Ok(entry);
        }
        let mut failure = LinkError::Configuration("a cluster needs a bootstrap address".into());
        for address in self.shared.access.bootstrap.iter().chain(&known) {
            match self.open(address).await {
                Ok(connection) => {
                    self.known().entry = Some(connection.clone());
                    return Ok(connection);
                }
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    /// A connection to one broker, for questions.
    ///
    /// # Errors
    /// Those of the link, and a broker that the cluster does not know.
    pub async fn broker(&self, id: i32) -> Result<Arc<Connection>, LinkError> {
        self.lane(id, Lane::Control).await
    }

    /// A connection to one broker, for one kind of traffic.
    ///
    /// # Errors
    /// Those of the link, and a broker that the cluster does not know.
    pub async fn lane(&self, id: i32, lane: Lane) -> Result<Arc<Connection>, LinkError> {
        let open = self.known().connections.get(&(id, lane)).cloned();
        if let Some(connection) = open.filter(|c| !c.is_closed()) {
            return Ok(connection);
        }
        if !self.known().addresses.contains_key(&id) {
            self.topology(Wanted::None).await?;
        }
        let address = self.known().addresses.get(&id).cloned();
        let address =
            address.ok_or_else(|| LinkError::closed(&format!("broker {id}"), "it is not in the cluster"))?;
        let connection = self.open(&address).await?;
        self.known().connections.insert((id, lane), connection.clone());
        Ok(connection)
    }

    /// A connection to the broker that carries out changes.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn controller(&self) -> Result<Arc<Connection>, LinkError> {
        let topology = self.topology(Wanted::None).await?;
        match topology.controller {
            Some(id) => self.broker(id).await,
            None => self.any().await,
        }
    }

    /// A connection to the broker that coordinates a group or a transactional id.
    ///
    /// # Errors
    /// Those of the link; transient while the cluster still makes up its mind.
    pub async fn coordinator(&self, kind: Coordinating, key: &str) -> Result<Arc<Connection>, LinkError> {
        let known = self.known().coordinators.get(&(kind, key.to_owned())).copied();
        let id = match known {
            Some(id) => id,
            None => self.find_coordinator(kind, key).await?,
        };
        let connection = self.lane(id, Lane::Offsets).await;
        if connection.is_err() {
            self.forget_coordinator(kind, key);
        }
        connection
    }

    /// Has the next call look for the coordinator again: the last one said that it is not, or ended.
    pub fn forget_coordinator(&self, kind: Coordinating, key: &str) {
        self.known().coordinators.remove(&(kind, key.to_owned()));
    }

    async fn find_coordinator(&self, kind: Coordinating, key: &str) -> Result<i32, LinkError> {
        let (key_type, what) = match kind {
            Coordinating::Group => (0, "group"),
            Coordinating::Transaction => (1, "transactional id"),
        };
        let request = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_string(key.to_owned()))
            .with_key_type(key_type);
        let answer = self.any().await?.call(&request, ASK).await?;
        let doing = format!("finding the coordinator of {key}");
        LinkError::check_right(answer.error_code, doing, &format!("Describe on {what} {key}"))?;
        let id = answer.node_id.0;
        self.known().coordinators.insert((kind, key.to_owned()), id);
        Ok(id)
    }

    async fn open(&self, address: &str) -> Result<Arc<Connection>, LinkError> {
        let access = &self.shared.access;
        dial::open(address, &access.security, &access.client_id, OPEN).await.map(Arc::new)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
