//! What our user may not do on topics, named by the ACL that it needs.
//!
//! A broker says which operations are permitted when it is asked for metadata (KIP-430), so nothing has to be tried.

use crate::link::{Cluster, LinkError};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::time::Duration;

/// How many topics are looked at: rights are given by pattern, so that more would say the same.
const TOPICS_MAX: usize = 100;
/// A broker that says nothing of rights.
const UNKNOWN: i32 = i32::MIN;

/// What a mirror needs on a topic on either side, because today's standby is tomorrow's source; by the numbers of
/// `AclOperation`.
const NEEDED: [(u32, &str); 7] = [
    (3, "Read"),
    (4, "Write"),
    (6, "Delete"),
    (7, "Alter"),
    (8, "Describe"),
    (10, "DescribeConfigs"),
    (11, "AlterConfigs"),
];

pub(super) async fn missing(
    cluster: &Cluster,
    topics: &[&str],
    within: Duration,
) -> Result<Vec<String>, LinkError> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let named = topics.iter().take(TOPICS_MAX).map(|name| {
        let name = TopicName(StrBytes::from_string((*name).to_owned()));
        MetadataRequestTopic::default().with_name(Some(name))
    });
    let request = MetadataRequest::default()
        .with_topics(Some(named.collect()))
        .with_allow_auto_topic_creation(false)
        .with_include_topic_authorized_operations(true);
    let answer = cluster.any().await?.call(&request, within).await?;
    let mut problems: Vec<(String, String, usize)> = Vec::new();
    for topic in answer.topics {
        let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
        let lacking = lacking(topic.topic_authorized_operations);
        if lacking.is_empty() {
            continue;
        }
        match problems.iter_mut().find(|(same, _, _)| *same == lacking) {
            Some((_, _, count)) => *count += 1,
            None => problems.push((lacking, name, 1)),
        }
    }
    Ok(problems.into_iter().map(|(lacking, first, count)| words(&lacking, &first, count)).collect())
}

fn lacking(permitted: i32) -> String {
    if permitted == UNKNOWN {
        return String::new();
    }
    let lacking = NEEDED.iter().filter(|(operation, _)| permitted & (1 << operation) == 0);
    lacking.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

fn words(lacking: &str, first: &str, count: usize) -> String {
    let more = if count > 1 { format!(" and {} more topics", count - 1) } else { String::new() };
    format!("our user lacks {lacking} on topic {first}{more}; add ACLs that allow it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(lacking(UNKNOWN), "");
        assert_eq!(lacking(0x0ff8), "");
        assert_eq!(lacking(0x0ff8 & !(1 << 4) & !(1 << 11)), "Write, AlterConfigs");
        let told = words("Write", "orders", 3);
        assert_eq!(told, "our user lacks Write on topic orders and 2 more topics; add ACLs that allow it");
    }
}
