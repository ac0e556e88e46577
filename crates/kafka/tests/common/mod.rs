//! Two real clusters, writers, and the comparison that every test ends with.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use primacy_kafka::{Authority, ClusterAccess, Gaps, Mirror, MirrorPlan, MirrorStatus, Patterns};
use primacy_testbed::{KafkaCluster, KafkaOptions, Workdir};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_mins(2);

/// A source and a target.
pub struct Pair {
    pub a: KafkaCluster,
    pub b: KafkaCluster,
    _dirs: (Workdir, Workdir),
}

/// What small test brokers run with: large records, and segments that come and go quickly.
const CONFIG: [&str; 7] = [
    "message.max.bytes=12000000",
    "replica.fetch.max.bytes=12000000",
    "log.retention.check.interval.ms=500",
    "log.segment.delete.delay.ms=100",
    "log.cleaner.backoff.ms=200",
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
];

impl Pair {
    pub async fn start() -> Pair {
        Pair::start_with(1).await
    }

    /// One broker at the source, and so many at the target.
    pub async fn start_with(target_brokers: u16) -> Pair {
        Pair::start_as(|options| {
            if options.name == "west" {
                options.brokers = target_brokers;
            }
        })
        .await
    }

    /// The clusters east and west, each with its options changed.
    pub async fn start_as(change: impl Fn(&mut KafkaOptions)) -> Pair {
        let dirs = (Workdir::create().unwrap(), Workdir::create().unwrap());
        let options = |name: &str, dir: &Workdir| {
            let mut options = KafkaOptions::new(name, dir.path());
            options.config.extend(CONFIG.map(str::to_owned));
            change(&mut options);
            options
        };
        let (a, b) = tokio::join!(
            KafkaCluster::start(options("east", &dirs.0)),
            KafkaCluster::start(options("west", &dirs.1))
        );
        Pair { a: a.unwrap(), b: b.unwrap(), _dirs: dirs }
    }

    /// A plan from `a` to `b` for topics that begin with `topics`.
    pub fn plan(&self, topics: &str) -> MirrorPlan {
        MirrorPlan {
            group: topics.to_owned(),
            epoch: 1,
            source: access(&self.a),
            target: access(&self.b),
            topics: Patterns::new([format!("{topics}.*")]).unwrap(),
            groups: Patterns::new([format!("{topics}.*")]).unwrap(),
            gaps: Gaps::default(),
            rate: None,
            authority: Authority::always(),
            buffer_bytes_max: MirrorPlan::BUFFER_BYTES_MAX,
        }
    }
}

pub fn access(cluster: &KafkaCluster) -> ClusterAccess {
    ClusterAccess { bootstrap: cluster.bootstrap(), client_id: "primacy".into(), ..ClusterAccess::default() }
}

/// Clients of a test come in where brokers meet, which is open to them whatever else wants a login.
pub fn client(cluster: &KafkaCluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.internal_bootstrap().join(","));
    config.set("message.max.bytes", "12000000");
    config
}

pub fn admin(cluster: &KafkaCluster) -> AdminClient<DefaultClientContext> {
    client(cluster).create().unwrap()
}

pub async fn create_topic(cluster: &KafkaCluster, name: &str, partitions: i32, config: &[(&str, &str)]) {
    create_replicated(cluster, name, partitions, 1, config).await;
}

pub async fn create_replicated(
    cluster: &KafkaCluster,
    name: &str,
    partitions: i32,
    replicas: i32,
    config: &[(&str, &str)],
) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    for (key, value) in config {
        topic = topic.set(key, value);
    }
    admin(cluster).create_topics([&topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}

/// Sets one setting on a topic; the others that it has stay.
pub async fn set_on_topic(cluster: &KafkaCluster, topic: &str, key: &str, value: &str) {
    let kept = topic_settings(cluster, topic).await;
    let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    for (known, value) in kept.iter().filter(|(known, _)| *known != key) {
        change = change.set(known, value);
    }
    let change = change.set(key, value);
    admin(cluster).alter_configs([&change], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}

/// What is set on a topic itself.
pub async fn topic_settings(cluster: &KafkaCluster, topic: &str) -> BTreeMap<String, String> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let mut found = admin(cluster).describe_configs(&asked, &AdminOptions::new()).await.unwrap();
    let entries = found.remove(0).unwrap().entries;
    let set = entries.into_iter().filter(|e| e.source == ConfigSource::DynamicTopic);
    set.filter_map(|e| Some((e.name, e.value?))).collect()
}

pub async fn delete_topic(cluster: &KafkaCluster, name: &str) {
    admin(cluster).delete_topics(&[name], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}

/// Writes `count` records of about `size` bytes to one partition, all acknowledged when it returns.
pub async fn write(
    cluster: &KafkaCluster,
    topic: &str,
    partition: i32,
    count: usize,
    size: usize,
    config: &[(&str, &str)],
) {
    write_to(cluster, topic, &[partition], count, size, config).await;
}

/// The same for several partitions, in turns.
pub async fn write_to(
    cluster: &KafkaCluster,
    topic: &str,
    partitions: &[i32],
    count: usize,
    size: usize,
    config: &[(&str, &str)],
) {
    let mut client = client(cluster);
    client.set("acks", "all").set("linger.ms", "5").set("enable.idempotence", "true");
    for (key, value) in config {
        client.set(*key, *value);
    }
    let producer: FutureProducer = client.create().unwrap();
    let mut pending = Vec::new();
    for index in 0..count {
        let value = value(index, size);
        let key = format!("key-{index}");
        let headers = OwnedHeaders::new()
            .insert(Header { key: "n", value: Some(&index.to_string()) })
            .insert(Header { key: "n", value: None::<&str> });
        let mut record =
            FutureRecord::<String, Vec<u8>>::to(topic).partition(partitions[index % partitions.len()]);
        if index % 3 != 0 {
            record = record.key(&key).headers(headers);
        }
        if index % 7 != 1 {
            record = record.payload(&value);
        }
        pending.push(producer.send_result(record).map_err(|(e, _)| e).unwrap());
        if pending.len() >= 500 {
            for sent in pending.drain(..) {
                sent.await.unwrap().map_err(|(e, _)| e).unwrap();
            }
        }
    }
    for sent in pending {
        sent.await.unwrap().map_err(|(e, _)| e).unwrap();
    }
}

fn value(index: usize, size: usize) -> Vec<u8> {
    (0..size).map(|i| ((i * 31 + index * 7) % 64) as u8).collect()
}

/// A record as consumers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp: Option<i64>,
}

/// Partitions of a topic.
pub async fn partitions(cluster: &KafkaCluster, topic: &str) -> i32 {
    let (config, topic) = (client(cluster), topic.to_owned());
    let ask = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer.fetch_metadata(Some(&topic), DEADLINE).unwrap();
        metadata.topics().first().map_or(0, |t| i32::try_from(t.partitions().len()).unwrap())
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// All records of a partition, from its first to its end as of now.
pub async fn read(cluster: &KafkaCluster, topic: &str, partition: i32) -> Vec<Seen> {
    read_all(cluster, topic, vec![partition]).await.remove(&partition).unwrap()
}

/// The same, of what is committed.
pub async fn read_committed(cluster: &KafkaCluster, topic: &str, partition: i32) -> Vec<Seen> {
    read_all_as(cluster, topic, vec![partition], "read_committed").await.remove(&partition).unwrap()
}

/// The same of several partitions.
async fn read_all(cluster: &KafkaCluster, topic: &str, partitions: Vec<i32>) -> BTreeMap<i32, Vec<Seen>> {
    read_all_as(cluster, topic, partitions, "read_uncommitted").await
}

async fn read_all_as(
    cluster: &KafkaCluster,
    topic: &str,
    partitions: Vec<i32>,
    isolation: &'static str,
) -> BTreeMap<i32, Vec<Seen>> {
    let mut config = client(cluster);
    config
        .set("group.id", "test-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    config.set("fetch.message.max.bytes", "12000000").set("isolation.level", isolation);
    let topic = topic.to_owned();
    let read = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let mut assignment = TopicPartitionList::new();
        let mut seen = BTreeMap::new();
        for partition in &partitions {
            assignment.add_partition_offset(&topic, *partition, Offset::Beginning).unwrap();
            seen.insert(*partition, Vec::new());
        }
        consumer.assign(&assignment).unwrap();
        let mut open: BTreeSet<i32> = partitions.into_iter().collect();
        let until = Instant::now() + DEADLINE;
        while !open.is_empty() {
            assert!(Instant::now() < until, "no end of {topic} {open:?}");
            match consumer.poll(Duration::from_secs(1)) {
                None => {}
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(e)) => panic!("{e}"),
                Some(Ok(message)) => seen.entry(message.partition()).or_default().push(as_seen(&message)),
            }
        }
        seen
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

fn as_seen(message: &impl Message) -> Seen {
    let headers = message.headers().map(|h| {
        (0..h.count()).map(|i| h.get(i)).map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
    });
    Seen {
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        timestamp: message.timestamp().to_millis(),
    }
}

/// Panics unless each record of the source is on the target at the same offset with the same bytes, and nothing else.
pub async fn assert_same(pair: &Pair, topic: &str) {
    let count = partitions(&pair.a, topic).await;
    assert_eq!(count, partitions(&pair.b, topic).await, "partitions of {topic}");
    let all: Vec<i32> = (0..count).collect();
    let (a, b) = tokio::join!(read_all(&pair.a, topic, all.clone()), read_all(&pair.b, topic, all));
    for (partition, a) in a {
        let b = &b[&partition];
        for (a, b) in a.iter().zip(b) {
            assert_eq!(a, b, "{topic}-{partition}");
        }
        assert_eq!(a.len(), b.len(), "records of {topic}-{partition}");
    }
}

/// Waits until some hundred records more are copied.
pub async fn progressed(mirror: &Mirror) {
    let copied = |status: &MirrorStatus| -> i64 {
        status.topics.values().flat_map(|t| t.partitions.values()).filter_map(|p| p.target_end).sum()
    };
    let mut watch = mirror.watch();
    let from = copied(&watch.borrow());
    let further = watch.wait_for(|status| copied(status) >= from + 300);
    let Ok(()) = tokio::time::timeout(DEADLINE, further).await.map(drop) else {
        panic!("it does not go on: {:#?}", mirror.status())
    };
}

/// Writes to the first partitions of a topic until it is stopped, whatever becomes of the brokers meanwhile.
pub struct Load {
    stop: Arc<AtomicBool>,
    writing: tokio::task::JoinHandle<u32>,
}

impl Load {
    pub fn start(cluster: &KafkaCluster, topic: &str, partitions: u32) -> Load {
        let mut config = client(cluster);
        config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "2");
        config.set("message.timeout.ms", "120000").set("compression.type", "lz4");
        let producer: FutureProducer = config.create().unwrap();
        let topic = topic.to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let writing = tokio::spawn(async move {
            let mut sent = 0;
            while !asked.load(Ordering::Relaxed) {
                let key = format!("key-{sent}");
                let partition = i32::try_from(sent % partitions).unwrap();
                let record =
                    FutureRecord::to(&topic).key(&key).payload("a value of some length").partition(partition);
                if let Ok(sending) = producer.send_result(record) {
                    tokio::spawn(sending);
                    sent += 1;
                }
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            sent
        });
        Load { stop, writing }
    }

    /// How many records it wrote.
    pub async fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.unwrap()
    }
}

/// Waits until the mirror says this.
pub async fn until(mirror: &Mirror, what: &str, holds: impl Fn(&MirrorStatus) -> bool) -> MirrorStatus {
    let mut watch = mirror.watch();
    let waited = tokio::time::timeout(DEADLINE, watch.wait_for(|status| holds(status))).await;
    let Ok(status) = waited else { panic!("never {what}: {:#?}", mirror.status()) };
    status.unwrap().clone()
}

/// Waits until all that these partitions hold is copied.
pub async fn until_copied(mirror: &Mirror, cluster: &KafkaCluster, topic: &str) {
    let ends = ends(cluster, topic).await;
    let copied = |status: &MirrorStatus| {
        let Some(found) = status.topics.get(topic) else { return false };
        let reached = |(partition, end): (&i32, &i64)| {
            found.partitions.get(partition).is_some_and(|p| p.copied_to.is_some_and(|at| at >= *end))
        };
        found.state.is_copied() && ends.iter().all(reached)
    };
    until(mirror, &format!("copied {topic} up to {ends:?}"), copied).await;
}

/// Where each partition ends.
pub async fn ends(cluster: &KafkaCluster, topic: &str) -> BTreeMap<i32, i64> {
    let count = partitions(cluster, topic).await;
    let (config, topic) = (client(cluster), topic.to_owned());
    let ask = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let end = |partition| consumer.fetch_watermarks(&topic, partition, DEADLINE).unwrap().1;
        (0..count).map(|partition| (partition, end(partition))).collect()
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Waits until the mirror leaves a topic alone, and says why.
pub async fn until_unaligned(mirror: &Mirror, topic: &str) -> String {
    let status = until(mirror, "unaligned", |status| status.unaligned().any(|(name, _)| name == topic)).await;
    let (_, why) = status.unaligned().find(|(name, _)| *name == topic).unwrap();
    why.to_string()
}

/// Has a group read some records, commit, and leave.
pub async fn consume(cluster: &KafkaCluster, topic: &str, group: &str, protocol: &str, count: usize) {
    let mut config = client(cluster);
    config.set("group.id", group).set("group.protocol", protocol).set("auto.offset.reset", "earliest");
    config.set("enable.auto.commit", "false");
    let topic = topic.to_owned();
    let work = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[&topic]).unwrap();
        let until = Instant::now() + DEADLINE;
        let mut seen = 0;
        while seen < count {
            assert!(Instant::now() < until, "{seen} of {count} records");
            if let Some(message) = consumer.poll(Duration::from_millis(200)) {
                message.unwrap();
                seen += 1;
            }
        }
        consumer.commit_consumer_state(rdkafka::consumer::CommitMode::Sync).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

/// The offsets of a group, by partition.
pub async fn group(cluster: &KafkaCluster, topic: &str, group: &str) -> BTreeMap<i32, i64> {
    let count = partitions(cluster, topic).await;
    let mut config = client(cluster);
    config.set("group.id", group);
    let topic = topic.to_owned();
    let ask = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..count {
            list.add_partition(&topic, partition);
        }
        let committed = consumer.committed_offsets(list, DEADLINE).unwrap();
        let found = committed.elements().into_iter();
        found.filter_map(|e| Some((e.partition(), e.offset().to_raw().filter(|o| *o >= 0)?))).collect()
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}
