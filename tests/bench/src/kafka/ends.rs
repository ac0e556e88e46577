//! Where logs end, asked again and again; topics made and removed.

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, ListOffsetsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use primacy_kafka::link::Wanted;
use primacy_kafka::{Cluster, ClusterAccess};
use primacy_testbed::KafkaCluster;
use std::time::{Duration, Instant};

use super::mirrors::Running;
use super::{Clusters, DEADLINE, steady};

pub(super) const WITHIN: Duration = Duration::from_secs(20);

pub(super) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub(super) fn link(cluster: &KafkaCluster) -> Result<Cluster> {
    let access = ClusterAccess { bootstrap: cluster.bootstrap(), ..ClusterAccess::default() };
    Ok(Cluster::new(access)?)
}

pub(super) async fn create(cluster: &KafkaCluster, topic: &str, partitions: i32) -> Result<()> {
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = link(cluster)?.controller().await?.call(&request, WITHIN).await?;
    ensure!(answer.topics.iter().all(|t| t.error_code == 0), "cannot create: {answer:?}");
    Ok(())
}

pub(super) async fn delete(cluster: &KafkaCluster, topics: &[&str]) -> Result<()> {
    let request = DeleteTopicsRequest::default()
        .with_topic_names(topics.iter().map(|t| name(t)).collect())
        .with_timeout_ms(10_000);
    let answer = link(cluster)?.controller().await?.call(&request, WITHIN).await?;
    ensure!(answer.responses.iter().all(|t| t.error_code == 0), "cannot delete: {answer:?}");
    Ok(())
}

/// A topic on a cluster of one broker, however often that is asked.
pub(super) struct Watched {
    cluster: Result<Cluster>,
    topic: String,
    request: Option<ListOffsetsRequest>,
}

impl Watched {
    pub(super) fn new(cluster: &KafkaCluster, topic: &str) -> Watched {
        Watched { cluster: link(cluster), topic: topic.to_owned(), request: None }
    }

    /// How many records the topic holds; none while it does not exist.
    pub(super) async fn records(&mut self) -> u64 {
        self.ask().await.unwrap_or(0)
    }

    async fn ask(&mut self) -> Result<u64> {
        let cluster = self.cluster.as_ref().ok().context("no cluster")?;
        if self.request.is_none() {
            let topology = cluster.topology(Wanted::Named(&[&self.topic])).await?;
            let topic = topology.topics.get(&self.topic).context("no topic")?;
            let partition = |index: &i32| {
                ListOffsetsPartition::default()
                    .with_partition_index(*index)
                    .with_timestamp(-1)
                    .with_current_leader_epoch(-1)
            };
            let asked = ListOffsetsTopic::default()
                .with_name(name(&self.topic))
                .with_partitions(topic.partitions.keys().map(partition).collect());
            self.request =
                Some(ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]));
        }
        let request = self.request.as_ref().context("no request")?;
        let answer = cluster.any().await?.call(request, WITHIN).await?;
        let ends = answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.offset.max(0));
        Ok(ends.sum::<i64>().unsigned_abs())
    }
}

/// By how many milliseconds the target was behind the source, sampled while records come at a steady rate.
pub(super) async fn lags(
    clusters: &Clusters,
    topic: &str,
    mirror: &impl Running,
    seconds: u64,
) -> Result<Vec<f64>> {
    let (mut source, mut target) =
        (Watched::new(&clusters.a, topic), Watched::new(&clusters.b, mirror.topic()));
    let until = Instant::now() + DEADLINE;
    while target.records().await < 10 {
        ensure!(Instant::now() < until, "{topic} is not copied: {}", mirror.process().log_tail(5));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _writer = steady(clusters, topic, seconds)?;
    while source.records().await < 2_000 {
        ensure!(Instant::now() < until, "nobody writes to {topic}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // When the source first held so many records, and when the target did.
    let started = Instant::now();
    let (mut had, mut behind) = (Vec::<(u64, Instant)>::new(), Vec::new());
    let mut seen = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        let held = source.records().await;
        if had.last().is_none_or(|(last, _)| held > *last) {
            had.push((held, Instant::now()));
        }
        let copied = target.records().await;
        let now = Instant::now();
        while let Some((_, at)) = had.get(seen).filter(|(held, _)| *held <= copied) {
            behind.push(now.duration_since(*at).as_secs_f64() * 1e3);
            seen += 1;
        }
    }
    mirror.process().kill()?;
    Ok(behind)
}

pub(super) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
