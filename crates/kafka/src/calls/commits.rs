//! Offsets that consumer groups have committed.

use super::{Place, WITHIN, by_topic, text, topic_name};
use crate::link::{Cluster, Coordinating, LinkError};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) metadata: String,
}

/// All offsets of a group.
///
/// # Errors
/// Those of the link, and a group that we may not read.
pub(crate) async fn committed(
    cluster: &Cluster,
    group: &str,
) -> Result<BTreeMap<Place, Committed>, LinkError> {
    let connection = cluster.coordinator(Coordinating::Group, group).await?;
    let request = OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(None);
    let answer = connection.call(&request, WITHIN).await?;
    let check = |code| {
        let doing = format!("reading the offsets of group {group}");
        LinkError::check_right(code, doing, &format!("Describe on group {group}"))
    };
    noticed(cluster, group, check(answer.error_code))?;
    let mut found = BTreeMap::new();
    for topic in answer.topics {
        let name: Arc<str> = topic.name.as_str().into();
        for partition in topic.partitions {
            check(partition.error_code)?;
            if partition.committed_offset >= 0 {
                let metadata = partition.metadata.map(|m| m.to_string()).unwrap_or_default();
                let one = Committed { offset: partition.committed_offset, metadata };
                found.insert((name.clone(), partition.partition_index), one);
            }
        }
    }
    Ok(found)
}

/// Commits offsets for a group in which nobody takes part. Leader epochs are left out: those of another cluster mean
/// nothing here.
///
/// # Errors
/// Those of the link; `UnknownMemberId` when consumers are at work in the group.
pub(crate) async fn commit(
    cluster: &Cluster,
    group: &str,
    offsets: &BTreeMap<Place, Committed>,
) -> Result<(), LinkError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let partition = |(index, committed): (i32, Committed)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text(&committed.metadata)))
    };
    let topics = by_topic(offsets.iter().map(|(place, c)| (place.clone(), c.clone()))).into_iter();
    let topics = topics.map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(&topic))
            .with_partitions(partitions.into_iter().map(partition).collect())
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect());
    let connection = cluster.coordinator(Coordinating::Group, group).await?;
    let answer = connection.call(&request, WITHIN).await?;
    for topic in answer.topics {
        for result in topic.partitions {
            let right = match ResponseError::try_from_code(result.error_code) {
                // A topic that has just gone takes its offsets with it.
                Some(ResponseError::UnknownTopicOrPartition) => continue,
                Some(ResponseError::TopicAuthorizationFailed) => {
                    format!("Read on topic {}", topic.name.as_str())
                }
                _ => format!("Read on group {group}"),
            };
            let doing = format!("committing offsets of group {group}");
            noticed(cluster, group, LinkError::check_right(result.error_code, doing, &right))?;
        }
    }
    Ok(())
}

/// Has the next call look for the coordinator again when this one says that it is not.
fn noticed(cluster: &Cluster, group: &str, outcome: Result<(), LinkError>) -> Result<(), LinkError> {
    if outcome.as_ref().is_err_and(LinkError::is_transient) {
        cluster.forget_coordinator(Coordinating::Group, group);
    }
    outcome
}
