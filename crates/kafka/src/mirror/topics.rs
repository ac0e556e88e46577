//! Topics on the target: created as they are at the source, given more partitions and changed settings when the
//! source's are, never deleted.

use super::context::{Context, Surveyed};
use crate::calls::{WITHIN, text, topic_name};
use crate::link::{Cluster, LinkError};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often settings are compared.
const SETTINGS_EVERY: Duration = Duration::from_secs(5);

/// The resource type of a topic.
const TOPIC: i8 = 2;

/// Where a value comes from when it is set on the topic itself.
const SET_ON_TOPIC: i8 = 1;

/// Settings that name brokers, which the other cluster does not have.
const NOT_COPIED: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// What is being done, in the words of the status.
const CREATING: &str = "creating topics";
const GROWING: &str = "adding partitions";
const SETTING: &str = "copying topic settings";
const FINDING: &str = "finding topics";
const DOING: [&str; 4] = [CREATING, GROWING, SETTING, FINDING];

/// Where, in the same words.
const SOURCE: &str = "at the source";
const STANDBY: &str = "on the standby";

/// Brokers do not say what they hide.
const NOTHING: &str = "no topic that our user may see at the source matches `topics`; create one, correct `topics`, or \
                       give our user Describe on them";

type Settings = BTreeMap<String, String>;

/// What was compared last, and what went wrong.
#[derive(Default)]
pub(super) struct Topics {
    compared: Option<Instant>,
    problems: BTreeMap<String, String>,
}

impl Topics {
    /// Makes the target's topics like the source's; whether something was created, so that another look is worth it.
    pub(super) async fn follow(&mut self, context: &Context, surveyed: &Surveyed) -> bool {
        let meant: Vec<&String> =
            surveyed.source.topics.keys().filter(|name| context.plan.topics.match_topic(name)).collect();
        if !context.plan.authority.holds() {
            return false;
        }
        self.problems.remove(FINDING);
        if meant.is_empty() {
            self.problems.insert(FINDING.to_owned(), NOTHING.to_owned());
        }
        let missing: Vec<&str> = meant
            .iter()
            .map(|name| name.as_str())
            .filter(|name| !surveyed.target.topics.contains_key(*name))
            .collect();
        let mut changed = false;
        // What there is nothing more to do about does not go wrong any more.
        self.problems.remove(CREATING);
        self.problems.remove(GROWING);
        if !missing.is_empty() {
            let created = create(context, surveyed, &missing).await;
            changed |= self.note(created, CREATING);
        }
        let grown = grown(surveyed, &meant);
        if !grown.is_empty() {
            let added = add_partitions(&context.target, &grown).await;
            changed |= self.note(added, GROWING);
        }
        let wanted = context.compare_settings.swap(false, Ordering::Relaxed);
        if wanted || self.compared.is_none_or(|at| at.elapsed() >= SETTINGS_EVERY) {
            self.compared = Some(Instant::now());
            let both: Vec<&str> = meant
                .iter()
                .map(|n| n.as_str())
                .filter(|n| surveyed.target.topics.contains_key(*n))
                .collect();
            let copied = copy_settings(context, &both).await;
            self.note(copied.map(|()| Vec::new()), SETTING);
        }
        context.status.send_modify(|status| {
            status.problems.retain(|doing, _| !DOING.contains(&doing.as_str()));
            status.problems.extend(self.problems.clone());
        });
        changed
    }

    /// Remembers what went wrong until it goes well; whether anything was done.
    fn note(&mut self, outcome: Result<Vec<String>, LinkError>, doing: &str) -> bool {
        match outcome {
            Ok(done) => {
                self.problems.remove(doing);
                !done.is_empty()
            }
            Err(e) => {
                self.problems.insert(doing.to_owned(), format!("{e}; {}", e.remedy()));
                false
            }
        }
    }
}

/// Topics that have more partitions at the source: how many.
fn grown(surveyed: &Surveyed, meant: &[&String]) -> BTreeMap<String, i32> {
    let count = |topic: &crate::link::Topic| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let grown = meant.iter().filter_map(|name| {
        let source = count(surveyed.source.topics.get(*name)?);
        let target = count(surveyed.target.topics.get(*name)?);
        (target < source).then(|| ((*name).clone(), source))
    });
    grown.collect()
}

async fn create(context: &Context, surveyed: &Surveyed, names: &[&str]) -> Result<Vec<String>, LinkError> {
    let settings = settings(&context.source, SOURCE, names).await?;
    let brokers = surveyed.target.brokers.len();
    let creatable = |name: &&str| {
        let topic = surveyed.source.topics.get(*name)?;
        let replicas =
            topic.partitions.values().map(|p| p.replicas.len()).max().unwrap_or(1).clamp(1, brokers.max(1));
        let of = settings.get(*name).cloned().unwrap_or_default();
        let configs = of.into_iter().map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(&key)).with_value(Some(text(&value)))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(i32::try_from(topic.partitions.len()).ok()?)
            .with_replication_factor(i16::try_from(replicas).ok()?)
            .with_configs(configs.collect());
        Some(topic)
    };
    let topics = names.iter().filter_map(creatable).collect();
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000);
    let answer = context.target.controller().await?.call(&request, WITHIN).await?;
    let mut created = Vec::new();
    for topic in answer.topics {
        let name = topic.name.to_string();
        // Somebody was faster, and the next look shows it; or it is there and hidden from us.
        if ResponseError::try_from_code(topic.error_code) == Some(ResponseError::TopicAlreadyExists) {
            let refused = ResponseError::TopicAuthorizationFailed.code();
            let doing = format!("topic {name} exists on the standby, and we do not see it");
            LinkError::check_right(refused, doing, &format!("Describe on topic {name}"))?;
        } else {
            let words = topic.error_message.map(|m| format!(" ({})", m.as_str())).unwrap_or_default();
            let doing = format!("creating topic {name} on the standby{words}");
            LinkError::check_right(topic.error_code, doing, &format!("Create on topic {name}"))?;
        }
        tracing::info!(group = context.plan.group, topic = name, "created on the standby");
        created.push(name);
    }
    Ok(created)
}

async fn add_partitions(target: &Cluster, grown: &BTreeMap<String, i32>) -> Result<Vec<String>, LinkError> {
    let topics = grown.iter().map(|(name, count)| {
        CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(*count).with_assignments(None)
    });
    let request = CreatePartitionsRequest::default().with_topics(topics.collect()).with_timeout_ms(10_000);
    let answer = target.controller().await?.call(&request, WITHIN).await?;
    for result in answer.results {
        let name = result.name.to_string();
        let doing = format!("adding partitions to {name} on the standby");
        LinkError::check_right(result.error_code, doing, &format!("Alter on topic {name}"))?;
    }
    Ok(grown.keys().cloned().collect())
}

/// Sets and takes back what differs, topic by topic.
async fn copy_settings(context: &Context, names: &[&str]) -> Result<(), LinkError> {
    if names.is_empty() {
        return Ok(());
    }
    let (wanted, actual) = tokio::try_join!(
        settings(&context.source, SOURCE, names),
        settings(&context.target, STANDBY, names)
    )?;
    let resources: Vec<_> = names
        .iter()
        .filter_map(|name| {
            let changes = differences(wanted.get(*name)?, actual.get(*name)?);
            let configs: Vec<_> = changes.into_iter().map(|(key, value)| alterable(&key, value)).collect();
            let resource =
                AlterConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text(name));
            (!configs.is_empty()).then(|| resource.with_configs(configs))
        })
        .collect();
    if resources.is_empty() {
        return Ok(());
    }
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
    let answer = context.target.controller().await?.call(&request, WITHIN).await?;
    for response in answer.responses {
        let name = response.resource_name.to_string();
        let doing = format!("changing topic {name} on the standby");
        LinkError::check_right(response.error_code, doing, &format!("AlterConfigs on topic {name}"))?;
    }
    Ok(())
}

fn alterable(key: &str, value: Option<String>) -> AlterableConfig {
    let operation = i8::from(value.is_none());
    let value = value.map(|value| text(&value));
    AlterableConfig::default().with_name(text(key)).with_config_operation(operation).with_value(value)
}

/// What has to be set, or taken back, so that `actual` becomes `wanted`.
fn differences(wanted: &Settings, actual: &Settings) -> BTreeMap<String, Option<String>> {
    let set = wanted.iter().filter(|(key, value)| actual.get(*key) != Some(*value));
    let set = set.map(|(key, value)| (key.clone(), Some(value.clone())));
    let unset = actual.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), None));
    set.chain(unset).collect()
}

/// What is set on each topic itself, rather than by its brokers or by default.
async fn settings(
    cluster: &Cluster,
    side: &str,
    names: &[&str],
) -> Result<BTreeMap<String, Settings>, LinkError> {
    let resource = |name: &&str| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(names.iter().map(resource).collect());
    let answer = cluster.any().await?.call(&request, WITHIN).await?;
    let mut found = BTreeMap::new();
    for result in answer.results {
        let name = result.resource_name.to_string();
        // It has just gone: the next look shows it.
        if result.error_code == 3 {
            continue;
        }
        let doing = format!("reading the settings of {name} {side}");
        LinkError::check_right(result.error_code, doing, &format!("DescribeConfigs on topic {name}"))?;
        let set = result.configs.into_iter().filter(|c| c.config_source == SET_ON_TOPIC);
        let set = set.filter(|c| !NOT_COPIED.contains(&c.name.as_str()));
        let set = set.filter_map(|c| Some((c.name.to_string(), c.value?.to_string())));
        found.insert(name, set.collect());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_set_changed_and_taken_back() {
        let of = |pairs: &[(&str, &str)]| -> Settings {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let wanted = of(&[("retention.ms", "1000"), ("cleanup.policy", "compact")]);
        let actual = of(&[("retention.ms", "1000"), ("cleanup.policy", "delete"), ("segment.bytes", "14")]);
        let expected = BTreeMap::from([
            ("cleanup.policy".to_owned(), Some("compact".to_owned())),
            ("segment.bytes".to_owned(), None),
        ]);
        assert_eq!(differences(&wanted, &actual), expected);
        assert!(differences(&wanted, &wanted).is_empty());
    }
}
