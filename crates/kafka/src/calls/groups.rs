//! Consumer groups: which there are, and making one of the newer kind.

use super::{WITHIN, text, topic_name};
use crate::link::{Cluster, Coordinating, LinkError};
use futures::future::join_all;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, GroupId, ListGroupsRequest};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A group as a broker lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Of the newer kind, whose members the broker assigns (KIP-848).
    pub(crate) is_consumer: bool,
    /// Nobody takes part in it at the moment.
    pub(crate) is_empty: bool,
}

/// All groups of a cluster with offsets of topics: each broker lists those that it coordinates.
///
/// # Errors
/// Those of the link: a list that lacks a broker's groups would look as if they were gone.
pub(crate) async fn groups(
    cluster: &Cluster,
    brokers: impl Iterator<Item = i32>,
) -> Result<BTreeMap<String, Listed>, LinkError> {
    let ask = |broker| async move {
        let answer = cluster.broker(broker).await?.call(&ListGroupsRequest::default(), WITHIN).await?;
        LinkError::check_right(answer.error_code, "listing groups", "Describe on cluster")?;
        Ok(answer.groups)
    };
    let mut found = BTreeMap::new();
    for listed in join_all(brokers.map(ask)).await {
        for group in listed? {
            // Connect's workers and schema registries coordinate as groups too, but commit no offsets.
            if !matches!(group.protocol_type.as_str(), "" | "consumer")
                || group.group_type.as_str() == "share"
            {
                continue;
            }
            let is_consumer = group.group_type.eq_ignore_ascii_case("consumer");
            let is_empty = matches!(group.group_state.as_str(), "Empty" | "Dead" | "");
            found.insert(group.group_id.to_string(), Listed { is_consumer, is_empty });
        }
    }
    Ok(found)
}

/// Makes a group of the newer kind, by joining and leaving at once: a member of such a group that comes over finds no
/// group otherwise, and dies.
///
/// # Errors
/// Those of the link, and a cluster that is too old for such groups.
pub(crate) async fn create_consumer_group(
    cluster: &Cluster,
    group: &str,
    topic: &str,
) -> Result<(), LinkError> {
    let connection = cluster.coordinator(Coordinating::Group, group).await?;
    let member = Uuid::from_u128(rand::random()).to_string();
    let check = |code| {
        // To name a topic as what it reads takes a right as well.
        let right = match ResponseError::try_from_code(code) {
            Some(ResponseError::TopicAuthorizationFailed) => format!("Describe on topic {topic}"),
            _ => format!("Read on group {group}"),
        };
        LinkError::check_right(code, format!("making group {group}"), &right)
    };
    let join = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(&member))
        .with_member_epoch(0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic_name(topic)]))
        .with_topic_partitions(Some(Vec::new()));
    let joined = connection.call(&join, WITHIN).await?;
    check(joined.error_code)?;
    let member = joined.member_id.unwrap_or_else(|| text(&member));
    let leave = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(member)
        .with_member_epoch(-1)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None);
    let left = connection.call(&leave, WITHIN).await?;
    check(left.error_code)
}
