//! Where logs begin and end.

use super::{Place, WITHIN, by_topic, topic_name};
use crate::link::{Cluster, LinkError, Topology};
use futures::future::join_all;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The first that is still there.
    Start,
    /// The end that consumers may read to.
    End,
    /// The end of the leader's log, what its followers lack included. Asked as a replica that debugs would: brokers
    /// answer consumers with what all followers have.
    LogEnd,
}

/// Asks each leader for its partitions at once. A partition without a leader, or whose leader refuses, is left out.
///
/// # Errors
/// Those of the link, if no leader answered at all.
pub(crate) async fn ends(
    cluster: &Cluster,
    topology: &Topology,
    places: &[Place],
    at: At,
) -> Result<BTreeMap<Place, i64>, LinkError> {
    let mut by_leader: BTreeMap<i32, Vec<Place>> = BTreeMap::new();
    for place in places {
        if let Some(leader) = topology.leader(&place.0, place.1) {
            by_leader.entry(leader).or_default().push(place.clone());
        }
    }
    let answers =
        join_all(by_leader.into_iter().map(|(leader, places)| ask(cluster, leader, places, at))).await;
    let mut found = BTreeMap::new();
    let mut failure = None;
    for answer in answers {
        match answer {
            Ok(offsets) => found.extend(offsets),
            Err(e) => failure = Some(e),
        }
    }
    match failure {
        Some(e) if found.is_empty() => Err(e),
        _ => Ok(found),
    }
}

async fn ask(
    cluster: &Cluster,
    leader: i32,
    places: Vec<Place>,
    at: At,
) -> Result<Vec<(Place, i64)>, LinkError> {
    let (timestamp, replica) = match at {
        At::Start => (-2, -1),
        At::End => (-1, -1),
        At::LogEnd => (-1, -2),
    };
    let partition = |(index, ()): &(i32, ())| {
        ListOffsetsPartition::default()
            .with_partition_index(*index)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp)
    };
    let topics =
        by_topic(places.into_iter().map(|place| (place, ()))).into_iter().map(|(topic, partitions)| {
            ListOffsetsTopic::default()
                .with_name(topic_name(&topic))
                .with_partitions(partitions.iter().map(partition).collect())
        });
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(replica)).with_topics(topics.collect());
    let answer = cluster.broker(leader).await?.call(&request, WITHIN).await?;
    let mut found = Vec::new();
    for topic in answer.topics {
        let name: Arc<str> = topic.name.as_str().into();
        for partition in topic.partitions {
            if partition.error_code == 0 {
                found.push(((name.clone(), partition.partition_index), partition.offset));
            } else if partition.error_code == 29 {
                let doing = format!("asking for the ends of {name}");
                LinkError::check_right(29, doing, &format!("Describe on topic {name}"))?;
            }
        }
    }
    Ok(found)
}
