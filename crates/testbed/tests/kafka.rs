//! Real Kafka: started, written to, killed, frozen, restarted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::time::Duration;

use primacy_testbed::{KafkaCluster, KafkaOptions, KafkaVersion, Workdir, wait_for};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

const DEADLINE: Duration = Duration::from_mins(1);

fn client(cluster: &KafkaCluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap().join(","));
    config
}

async fn create_topic(cluster: &KafkaCluster, name: &str, replication: i32) {
    let admin: AdminClient<DefaultClientContext> = client(cluster).create().unwrap();
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(replication));
    let results = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    results[0].as_ref().unwrap();
}

async fn produce(cluster: &KafkaCluster, topic: &str, value: &str) -> i64 {
    let producer: FutureProducer = client(cluster).set("acks", "all").create().unwrap();
    let record = FutureRecord::<(), _>::to(topic).payload(value);
    producer.send(record, DEADLINE).await.unwrap().offset
}

/// The value at an offset.
async fn read(cluster: &KafkaCluster, topic: &str, offset: i64) -> String {
    let config = client(cluster).set("group.id", "reader").clone();
    let topic = topic.to_owned();
    let read = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&topic, 0, Offset::Offset(offset)).unwrap();
        consumer.assign(&assignment).unwrap();
        let message = consumer.poll(DEADLINE).unwrap().unwrap();
        assert_eq!(message.offset(), offset);
        String::from_utf8(message.payload().unwrap().to_vec()).unwrap()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

async fn writes_survive_a_kill(version: KafkaVersion) {
    let dir = Workdir::create().unwrap();
    let mut options = KafkaOptions::new("east", dir.path());
    options.version = version;
    let mut cluster = KafkaCluster::start(options).await.unwrap();
    let bootstrap = cluster.bootstrap();
    create_topic(&cluster, "orders", 1).await;
    assert_eq!(produce(&cluster, "orders", "first").await, 0);
    cluster.kill().unwrap();
    assert!(!cluster.broker(1).unwrap().process().unwrap().is_running());
    cluster.restart().await.unwrap();
    assert_eq!(cluster.bootstrap(), bootstrap);
    assert_eq!(produce(&cluster, "orders", "second").await, 1);
    assert_eq!(read(&cluster, "orders", 0).await, "first");
    assert_eq!(read(&cluster, "orders", 1).await, "second");
}

#[tokio::test]
async fn a_killed_broker_comes_back_with_its_records() {
    writes_survive_a_kill(KafkaVersion::V4_1).await;
}

#[tokio::test]
async fn the_version_before_runs_as_well() {
    if KafkaVersion::V3_9.is_installed() {
        writes_survive_a_kill(KafkaVersion::V3_9).await;
    } else {
        eprintln!("left out: Kafka {} could not be fetched", KafkaVersion::V3_9.number());
    }
}

#[tokio::test]
async fn three_brokers_go_on_without_one() {
    let dir = Workdir::create().unwrap();
    let mut options = KafkaOptions::new("east", dir.path());
    options.brokers = 3;
    let mut cluster = KafkaCluster::start(options).await.unwrap();
    assert_eq!(cluster.bootstrap().len(), 3);
    create_topic(&cluster, "orders", 3).await;
    assert_eq!(produce(&cluster, "orders", "first").await, 0);
    cluster.broker(2).unwrap().kill().unwrap();
    assert_eq!(produce(&cluster, "orders", "second").await, 1);
    cluster.broker_mut(2).unwrap().spawn().unwrap();
    cluster.wait_ready().await.unwrap();

    cluster.freeze().unwrap();
    let metadata = client(&cluster).create::<BaseConsumer>().unwrap();
    let asked = tokio::task::spawn_blocking(move || {
        let silent = metadata.fetch_metadata(None, Duration::from_millis(500)).is_err();
        (metadata, silent)
    });
    let (metadata, silent) = asked.await.unwrap();
    assert!(silent);
    cluster.thaw().unwrap();
    wait_for("an answer", DEADLINE, async || {
        let found = metadata.fetch_metadata(None, Duration::from_secs(2))?;
        anyhow::ensure!(found.brokers().len() == 3, "{} brokers", found.brokers().len());
        Ok(())
    })
    .await
    .unwrap();
}
