//! What a cluster answers about itself: who is in it, and which partitions are not as they should be.
//!
//! The problem: whether a cluster lives must be known several times a second, and what it holds costs it more to say. The
//! idea: each look asks for its brokers alone; partitions, the offsets at which they end, and our rights are asked for
//! now and then, and the last answer stands in between. When a broker that we entered by is silent the next look
//! enters by another one: a frozen broker is not the cluster.
//!
//! It must not judge: it says what was answered.

mod rights;

use crate::link::{Cluster, Topology, Wanted};
use crate::{ClusterAccess, LinkError, Patterns};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ApiKey, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use primacy_core::Moment;
use primacy_core::view::ClusterStatus;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often partitions and the offsets at which they end are asked for.
const PARTITIONS_EVERY: Duration = Duration::from_secs(2);
/// How often our rights are.
const RIGHTS_EVERY: Duration = Duration::from_secs(30);
/// How long one question about partitions may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The end of a partition, in a question for offsets.
const LATEST: i64 = -1;

/// One answer of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAnswer {
    /// Its identity, chosen when it was formatted.
    pub cluster_id: String,
    /// Which release it is, as far as the requests that it knows tell.
    pub version: String,
    /// Its brokers now, and its partitions as last asked.
    pub status: ClusterStatus,
}

/// Asks one cluster again and again.
pub struct ClusterProbe {
    access: ClusterAccess,
    topics: Option<Patterns>,
    cluster: Option<Cluster>,
    partitions: ClusterStatus,
    partitions_at: Option<Moment>,
    rights: Vec<String>,
    rights_at: Option<Moment>,
}

impl ClusterProbe {
    /// Asks nothing yet. Rights are looked at on the topics that `topics` means; on none without.
    pub fn new(access: ClusterAccess, topics: Option<Patterns>) -> ClusterProbe {
        ClusterProbe {
            access,
            topics,
            cluster: None,
            partitions: ClusterStatus::default(),
            partitions_at: None,
            rights: Vec::new(),
            rights_at: None,
        }
    }

    /// Looks at our rights on these topics from now on; what was told of others is forgotten.
    pub fn look_at(&mut self, topics: Option<Patterns>) {
        self.topics = topics;
        self.rights.clear();
        self.rights_at = None;
        self.partitions_at = None;
    }

    /// Enters by another broker from now on.
    pub fn turn(&mut self) {
        self.cluster = None;
        self.access.bootstrap.rotate_left(1);
    }

    /// Whether it lives, by the cheapest question.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn ask(&mut self) -> Result<ClusterAnswer, LinkError> {
        let cluster = match &self.cluster {
            Some(cluster) => cluster.clone(),
            None => self.cluster.insert(Cluster::new(self.access.clone())?).clone(),
        };
        let topology = cluster.topology(Wanted::None).await?;
        let connection = cluster.any().await?;
        let produce = connection.versions_of(ApiKey::Produce).map_or(0, |(_, highest)| highest);
        let old = connection.versions_of(ApiKey::DescribeCluster).is_none();
        let mut status = ClusterStatus {
            brokers: topology.brokers.len() as u64,
            controller: topology.controller,
            ..self.partitions.clone()
        };
        if old {
            status.problems.push("it is older than 2.8; update its brokers".to_owned());
        }
        status.problems.extend(self.rights.iter().cloned());
        let version = if old { "before 2.8" } else { release(produce) };
        Ok(ClusterAnswer { cluster_id: topology.cluster_id, version: version.to_owned(), status })
    }

    /// The question for more than that, where it is time to ask: to be asked beside the others, because it may take long.
    pub fn more(&mut self, now: Moment) -> Option<impl Future<Output = Option<Details>> + Send + 'static> {
        let cluster = self.cluster.clone()?;
        let due = |at: Option<Moment>, every| at.is_none_or(|at| now.since(at) >= every);
        if !due(self.partitions_at, PARTITIONS_EVERY) {
            return None;
        }
        self.partitions_at = Some(now);
        let writes = self.access.security.writers.is_empty();
        let patterns = self.topics.clone().filter(|_| due(self.rights_at, RIGHTS_EVERY));
        if patterns.is_some() {
            self.rights_at = Some(now);
        }
        Some(async move {
            let topology = cluster.topology(Wanted::All).await.ok()?;
            let mut status = partitions(&topology);
            status.end_records = ends(&cluster, &topology).await;
            let rights = match patterns {
                Some(patterns) => Some(missing_rights(&cluster, &topology, &patterns, writes).await),
                None => None,
            };
            Some(Details { status, rights })
        })
    }

    /// Takes in what was answered.
    pub fn take_in(&mut self, details: Details) {
        self.partitions = details.status;
        if let Some(rights) = details.rights {
            self.rights = rights;
        }
    }
}

/// What is asked for now and then.
#[derive(Debug)]
pub struct Details {
    status: ClusterStatus,
    rights: Option<Vec<String>>,
}

async fn missing_rights(
    cluster: &Cluster,
    topology: &Topology,
    patterns: &Patterns,
    writes: bool,
) -> Vec<String> {
    let meant = topology.topics.iter().filter(|(name, t)| !t.internal && patterns.match_topic(name));
    let names: Vec<&str> = meant.map(|(name, _)| name.as_str()).collect();
    rights::missing(cluster, &names, writes, WITHIN).await.unwrap_or_default()
}

/// The release that knows a version of Produce: each of the last ones brought a new one.
fn release(produce_version: i16) -> &'static str {
    match produce_version {
        13.. => "4.1 or later",
        12 => "4.0",
        11 => "3.8 or 3.9",
        10 => "3.7",
        _ => "2.8 to 3.6",
    }
}

fn partitions(topology: &Topology) -> ClusterStatus {
    let mut status = ClusterStatus::default();
    for (name, topic) in &topology.topics {
        if !topic.internal {
            status.topics += 1;
            status.partitions += topic.partitions.len() as u64;
        }
        for (number, partition) in &topic.partitions {
            if partition.leader.is_none() {
                status.leaderless.push(name, *number);
            }
            if partition.in_sync.len() < partition.replicas.len() {
                status.under_replicated.push(name, *number);
            }
        }
    }
    status
}

/// The sum of the ends of all partitions that somebody leads and that are no business of Kafka's own.
async fn ends(cluster: &Cluster, topology: &Topology) -> u64 {
    let mut by_leader: BTreeMap<i32, Vec<ListOffsetsTopic>> = BTreeMap::new();
    for (name, topic) in topology.topics.iter().filter(|(_, topic)| !topic.internal) {
        let mut of_topic: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (number, partition) in &topic.partitions {
            let Some(leader) = partition.leader else { continue };
            let asked = ListOffsetsPartition::default().with_partition_index(*number).with_timestamp(LATEST);
            of_topic.entry(leader).or_default().push(asked);
        }
        for (leader, partitions) in of_topic {
            let name = TopicName(StrBytes::from_string(name.clone()));
            let asked = ListOffsetsTopic::default().with_name(name).with_partitions(partitions);
            by_leader.entry(leader).or_default().push(asked);
        }
    }
    let mut sum = 0;
    for (leader, topics) in by_leader {
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics);
        let Ok(connection) = cluster.broker(leader).await else { continue };
        let Ok(answer) = connection.call(&request, WITHIN).await else { continue };
        let offsets = answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.offset);
        sum += offsets.filter_map(|offset| u64::try_from(offset).ok()).sum::<u64>();
    }
    sum
}
