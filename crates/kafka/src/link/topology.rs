//! What a cluster says about itself, as plain values.

use super::error::LinkError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Which topics to ask about.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// All that our user may see.
    All,
    /// These; those that do not exist are left out of the answer.
    Named(&'a [&'a str]),
    /// None: brokers alone.
    None,
}

/// A cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Its identity, chosen when it was formatted.
    pub cluster_id: String,
    /// The broker that carries out changes.
    pub controller: Option<i32>,
    /// Its live brokers by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// Its topics by name.
    pub topics: BTreeMap<String, Topic>,
}

/// Where a broker is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `host:port`, an IPv6 host in brackets.
    pub address: String,
    /// Its rack, if it says one.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its identity: a topic that is deleted and created again has another. Nil where the broker knows none.
    pub id: Uuid,
    /// Whether it belongs to Kafka itself.
    pub internal: bool,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The broker that leads it; none while there is no leader.
    pub leader: Option<i32>,
    /// How often leadership changed.
    pub leader_epoch: i32,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those that are in step with the leader.
    pub in_sync: Vec<i32>,
    /// Those that are not there.
    pub offline: Vec<i32>,
}

impl Topology {
    /// The broker that leads a partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.topics.get(topic)?.partitions.get(&partition)?.leader
    }
}

pub(super) fn request(wanted: Wanted<'_>) -> MetadataRequest {
    let named = |name: &&str| {
        let name = TopicName(StrBytes::from_string((*name).to_owned()));
        MetadataRequestTopic::default().with_name(Some(name))
    };
    let topics = match wanted {
        Wanted::All => None,
        Wanted::Named(names) => Some(names.iter().map(named).collect()),
        Wanted::None => Some(Vec::new()),
    };
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false)
}

pub(super) fn read(answer: MetadataResponse) -> Result<Topology, LinkError> {
    LinkError::check(answer.error_code, "asking for metadata")?;
    let brokers = answer.brokers.into_iter().map(|b| {
        let host = b.host.to_string();
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let address = format!("{host}:{}", b.port);
        (b.node_id.0, Broker { address, rack: b.rack.map(|r| r.to_string()) })
    });
    // A topic that is just being deleted or hidden from us comes with an error instead of partitions.
    let topics = answer.topics.into_iter().filter(|t| t.error_code == 0 || t.error_code == 5);
    Ok(Topology {
        cluster_id: answer.cluster_id.map(|id| id.to_string()).unwrap_or_default(),
        controller: Some(answer.controller_id.0).filter(|id| *id >= 0),
        brokers: brokers.collect(),
        topics: topics.filter_map(topic).collect(),
    })
}

fn topic(topic: MetadataResponseTopic) -> Option<(String, Topic)> {
    let name = topic.name?.to_string();
    let partitions = topic.partitions.into_iter().map(|p| (p.partition_index, partition(p))).collect();
    Some((name, Topic { id: topic.topic_id, internal: topic.is_internal, partitions }))
}

fn partition(partition: MetadataResponsePartition) -> Partition {
    let ids = |nodes: Vec<kafka_protocol::messages::BrokerId>| nodes.into_iter().map(|id| id.0).collect();
    Partition {
        leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: ids(partition.replica_nodes),
        in_sync: ids(partition.isr_nodes),
        offline: ids(partition.offline_replicas),
    }
}
