//! Deleting from the beginning of logs.

use super::{Place, WITHIN, topic_name};
use crate::link::{Cluster, LinkError};
use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

/// Has a partition's log begin at `offset`.
///
/// # Errors
/// Those of the link, and the broker's refusal: a compacted topic deletes nothing.
pub(crate) async fn delete_records(
    cluster: &Cluster,
    leader: i32,
    place: &Place,
    offset: i64,
) -> Result<(), LinkError> {
    let (topic, partition) = place;
    let partition = DeleteRecordsPartition::default().with_partition_index(*partition).with_offset(offset);
    let named = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![named]).with_timeout_ms(10_000);
    let answer = cluster.broker(leader).await?.call(&request, WITHIN).await?;
    let results = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    for result in results {
        let doing = format!("deleting records of {topic} below {offset}");
        LinkError::check_right(result.error_code, doing, &format!("Delete on topic {topic}"))?;
    }
    Ok(())
}
