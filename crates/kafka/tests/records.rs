//! Every kind of record arrives at its own offset.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Pair, assert_same, create_topic, partitions, until, until_copied, write};
use primacy_kafka::Mirror;
use primacy_kafka::mirror::{Mode, TopicState};
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_every_kind_keep_their_offsets_and_bytes() {
    let pair = Pair::start().await;
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    create_topic(&pair.a, "r-codecs", 5, &[]).await;
    create_topic(&pair.a, "r-large", 1, &[("max.message.bytes", "11000000")]).await;
    create_topic(&pair.a, "r-append-time", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    create_topic(&pair.a, "r-many", 200, &[]).await;
    create_topic(&pair.a, "r-trimmed", 2, &[]).await;
    create_topic(&pair.a, "other", 1, &[]).await;
    for (partition, codec) in (0..).zip(codecs) {
        write(&pair.a, "r-codecs", partition, 2_000, 100, &[("compression.type", codec)]).await;
    }
    write(&pair.a, "r-large", 0, 2, 10 << 20, &[]).await;
    write(&pair.a, "r-large", 0, 20, 0, &[]).await;
    write(&pair.a, "r-append-time", 0, 100, 50, &[]).await;
    common::write_to(&pair.a, "r-many", &(0..200).collect::<Vec<_>>(), 2_000, 50, &[]).await;
    // The source begins above zero: inside of a batch in one partition, with nothing left in the other.
    for partition in 0..2 {
        write(&pair.a, "r-trimmed", partition, 1_000, 20, &[]).await;
    }
    let mut trim = TopicPartitionList::new();
    trim.add_partition_offset("r-trimmed", 0, Offset::Offset(777)).unwrap();
    trim.add_partition_offset("r-trimmed", 1, Offset::End).unwrap();
    common::admin(&pair.a).delete_records(&trim, &AdminOptions::new()).await.unwrap();

    let mirror = Mirror::start(pair.plan("r-"));
    for topic in ["r-codecs", "r-large", "r-append-time", "r-many", "r-trimmed"] {
        until_copied(&mirror, &pair.a, topic).await;
    }
    for topic in ["r-codecs", "r-large", "r-many"] {
        assert_same(&pair, topic).await;
    }
    assert_eq!(partitions(&pair.b, "other").await, 0, "a topic that is not meant");

    // Live, with partitions added on the way.
    let admin = common::admin(&pair.a);
    admin.create_partitions([&NewPartitions::new("r-codecs", 7)], &AdminOptions::new()).await.unwrap();
    for partition in [0, 6] {
        write(&pair.a, "r-codecs", partition, 500, 100, &[("compression.type", "zstd")]).await;
    }
    for partition in 0..2 {
        write(&pair.a, "r-trimmed", partition, 100, 20, &[]).await;
    }
    until_copied(&mirror, &pair.a, "r-codecs").await;
    until_copied(&mirror, &pair.a, "r-trimmed").await;
    assert_same(&pair, "r-codecs").await;
    let trimmed = common::read(&pair.b, "r-trimmed", 0).await;
    let wanted = common::read(&pair.a, "r-trimmed", 0).await;
    assert_eq!(wanted, trimmed[trimmed.len() - wanted.len()..], "from where the source begins");
    assert_eq!(common::read(&pair.a, "r-trimmed", 1).await, common::read(&pair.b, "r-trimmed", 1).await);

    // Brokers set these timestamps themselves; all else is equal.
    let (a, b) =
        (common::read(&pair.a, "r-append-time", 0).await, common::read(&pair.b, "r-append-time", 0).await);
    let plain = |seen: &[common::Seen]| -> Vec<_> {
        seen.iter().cloned().map(|s| common::Seen { timestamp: None, ..s }).collect()
    };
    assert_eq!(plain(&a), plain(&b));

    // Offsets of groups go with them, never beyond what the standby holds, of both kinds.
    for (group, protocol) in [("r-classic", "classic"), ("r-consumer", "consumer")] {
        common::consume(&pair.a, "r-codecs", group, protocol, 50).await;
    }
    mirror.copy_offsets().await.unwrap();
    for group in ["r-classic", "r-consumer"] {
        let (a, b) = (
            common::group(&pair.a, "r-codecs", group).await,
            common::group(&pair.b, "r-codecs", group).await,
        );
        assert_eq!(a, b, "{group}");
        assert!(a.values().sum::<i64>() >= 50, "{group}: {a:?}");
    }
    // A member of a group of the newer kind finds it there, and goes on where it was.
    common::consume(&pair.b, "r-codecs", "r-consumer", "consumer", 10).await;

    let status = until(&mirror, "live", |s| s.mode == Mode::Live && s.lag.records == 0).await;
    assert!(status.topics.values().all(|t| t.state == TopicState::Aligned), "{status:?}");
    assert!(status.age().unwrap() < Duration::from_secs(30), "{status:?}");
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    mirror.stop().await;

    // Another mirror finds what is written down, and goes on.
    write(&pair.a, "r-codecs", 1, 100, 100, &[]).await;
    let mirror = Mirror::start(pair.plan("r-"));
    until_copied(&mirror, &pair.a, "r-codecs").await;
    assert_same(&pair, "r-codecs").await;
}
