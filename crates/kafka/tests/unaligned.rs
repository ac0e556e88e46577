//! What cannot be copied to its own offset is not copied, and the report says what, where, why and what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    Pair, assert_same, client, create_topic, delete_topic, read, until, until_copied, until_unaligned, write,
};
use primacy_kafka::mirror::TopicState;
use primacy_kafka::{Gaps, Mirror};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use std::time::Duration;

/// One committed and one aborted transaction of `count` records each.
async fn transactions(pair: &Pair, topic: &str, count: usize) {
    let producer: FutureProducer =
        client(&pair.a).set("transactional.id", topic).set("acks", "all").create().unwrap();
    let within = Duration::from_mins(1);
    let (p, t) = (producer.clone(), topic.to_owned());
    tokio::task::spawn_blocking(move || p.init_transactions(within).unwrap()).await.unwrap();
    for commit in [true, false] {
        producer.begin_transaction().unwrap();
        for index in 0..count {
            let value = format!("{index} {}", if commit { "kept" } else { "aborted" });
            let record = FutureRecord::to(&t).key("k").payload(&value).partition(0);
            producer.send(record, within).await.unwrap();
        }
        let p = producer.clone();
        let end = move || if commit { p.commit_transaction(within) } else { p.abort_transaction(within) };
        tokio::task::spawn_blocking(end).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_cannot_be_exact_is_left_alone_and_says_why() {
    let pair = Pair::start().await;
    for topic in ["u-stranger", "u-again", "u-foreign", "u-retention", "u-fine"] {
        create_topic(&pair.a, topic, 1, &[]).await;
        write(&pair.a, topic, 0, 50, 10, &[]).await;
    }
    create_topic(&pair.a, "u-transactions", 1, &[]).await;
    transactions(&pair, "u-transactions", 5).await;
    // The standby holds other records already.
    create_topic(&pair.b, "u-foreign", 1, &[]).await;
    write(&pair.b, "u-foreign", 0, 20, 11, &[]).await;

    let mirror = Mirror::start(pair.plan("u-"));
    for topic in ["u-stranger", "u-again", "u-retention", "u-fine"] {
        until_copied(&mirror, &pair.a, topic).await;
    }
    let why = until_unaligned(&mirror, "u-foreign").await;
    assert!(why.contains("partition 0, offset 0") && why.contains("not what the source holds"), "{why}");
    let why = until_unaligned(&mirror, "u-transactions").await;
    assert!(why.contains("transactions") && why.contains("gaps = \"fill\""), "{why}");

    // Somebody writes to the standby.
    write(&pair.b, "u-stranger", 0, 3, 10, &[]).await;
    let why = until_unaligned(&mirror, "u-stranger").await;
    assert!(
        why.contains("offset 50") && why.contains("somebody else") && why.contains("delete the topic"),
        "{why}"
    );

    // The topic is deleted and created again at the source.
    delete_topic(&pair.a, "u-again").await;
    let gone = |s: &primacy_kafka::MirrorStatus| s.topics["u-again"].state != TopicState::Aligned;
    until(&mirror, "the topic is gone", gone).await;
    create_topic(&pair.a, "u-again", 1, &[]).await;
    write(&pair.a, "u-again", 0, 70, 10, &[]).await;
    let why = until_unaligned(&mirror, "u-again").await;
    assert!(why.contains("created again"), "{why}");
    // The remedy heals.
    delete_topic(&pair.b, "u-again").await;
    until_copied(&mirror, &pair.a, "u-again").await;
    assert_same(&pair, "u-again").await;

    // Retention passes by while the mirror is away.
    mirror.stop().await;
    write(&pair.a, "u-retention", 0, 500, 10, &[]).await;
    let mut trim = rdkafka::TopicPartitionList::new();
    trim.add_partition_offset("u-retention", 0, rdkafka::Offset::End).unwrap();
    common::admin(&pair.a).delete_records(&trim, &rdkafka::admin::AdminOptions::new()).await.unwrap();
    write(&pair.a, "u-retention", 0, 30, 10, &[]).await;
    let mirror = Mirror::start(pair.plan("u-"));
    until_copied(&mirror, &pair.a, "u-retention").await;
    assert_same(&pair, "u-retention").await;
    // What was found before is found again by whoever looks.
    until_unaligned(&mirror, "u-stranger").await;
    until_copied(&mirror, &pair.a, "u-fine").await;
    mirror.stop().await;

    // With fillers accepted, committed records keep their offsets and aborted ones are gone.
    delete_topic(&pair.b, "u-transactions").await;
    let mut plan = pair.plan("u-");
    plan.gaps = Gaps::Fill;
    let mirror = Mirror::start(plan);
    until_copied(&mirror, &pair.a, "u-transactions").await;
    let (a, b) = (read(&pair.a, "u-transactions", 0).await, read(&pair.b, "u-transactions", 0).await);
    assert_eq!(a.iter().map(|s| s.offset).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]);
    assert_eq!(a[..5], b[..5]);
    assert_eq!(b.iter().map(|s| s.offset).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    assert!(b[5..].iter().all(|s| s.key.as_deref() == Some(b"primacy-filler") && s.value.is_none()));
}
