//! What a user may do on topics, by the broker's own word (KIP-430), so that nothing has to be tried.

use super::topic_name;
use crate::link::{Connection, LinkError};
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use std::time::Duration;

/// A topic, and what the user of the connection may do on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permitted {
    pub(crate) topic: String,
    /// The protocol's error for it; zero is none.
    pub(crate) error: i16,
    /// A bit for each `AclOperation`; none where the broker does not say.
    pub(crate) operations: Option<i32>,
}

/// Asks the broker at the other end.
///
/// # Errors
/// Those of the link.
pub(crate) async fn permitted(
    connection: &Connection,
    topics: impl IntoIterator<Item = &str>,
    within: Duration,
) -> Result<Vec<Permitted>, LinkError> {
    let named =
        topics.into_iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
    let request = MetadataRequest::default()
        .with_topics(Some(named.collect()))
        .with_allow_auto_topic_creation(false)
        .with_include_topic_authorized_operations(true);
    let answer = connection.call(&request, within).await?;
    let of = answer.topics.into_iter().map(|topic| Permitted {
        topic: topic.name.map(|name| name.to_string()).unwrap_or_default(),
        error: topic.error_code,
        operations: Some(topic.topic_authorized_operations).filter(|bits| *bits != i32::MIN),
    });
    Ok(of.collect())
}
