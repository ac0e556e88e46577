//! Questions and changes that take one request to one broker each, grouped by who leads or coordinates.

mod acls;
mod commits;
mod ends;
mod groups;
mod permitted;
mod producer;
mod reader;
mod trim;

pub(crate) use acls::{Pattern, WriteAcls, allow_write, deny_write};
pub(crate) use commits::{Committed, commit, committed};
pub(crate) use ends::{At, ends};
pub(crate) use groups::{Listed, create_consumer_group, groups};
pub(crate) use permitted::permitted;
pub(crate) use producer::{init_producer, is_superseded, renew_producer};
pub(crate) use reader::{ReadError, Reader};
pub(crate) use trim::delete_records;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A partition of a topic.
pub(crate) type Place = (Arc<str>, i32);

/// How long one such request may take.
pub(crate) const WITHIN: Duration = Duration::from_secs(15);

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Partitions by topic, as requests want them.
fn by_topic<T: Clone>(places: impl IntoIterator<Item = (Place, T)>) -> BTreeMap<Arc<str>, Vec<(i32, T)>> {
    let mut topics: BTreeMap<Arc<str>, Vec<(i32, T)>> = BTreeMap::new();
    for ((topic, partition), value) in places {
        topics.entry(topic).or_default().push((partition, value));
    }
    topics
}
