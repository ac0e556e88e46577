//! What cannot be copied to its own offset is not copied, and the report says what, where, why and what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    DEADLINE, Pair, Seen, assert_same, client, consume, create_topic, delete_topic, group, read,
    read_committed, set_on_topic, until, until_copied, until_unaligned, write,
};
use primacy_kafka::mirror::TopicState;
use primacy_kafka::{Gaps, Mirror, MirrorPlan};
use primacy_testbed::{KafkaCluster, wait_for};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use std::time::Duration;

/// Records without what is another one on the standby: their offsets.
fn contents(records: &[Seen]) -> Vec<Seen> {
    records.iter().map(|seen| Seen { offset: 0, ..seen.clone() }).collect()
}

/// Where a consumer of each side goes on, in records that it has not seen yet, of one partition.
async fn ahead(cluster: &KafkaCluster, topic: &str, readers: &str) -> Vec<Seen> {
    let from = group(cluster, topic, readers).await[&0];
    contents(
        &read_committed(cluster, topic, 0).await.into_iter().filter(|s| s.offset >= from).collect::<Vec<_>>(),
    )
}

/// One committed and one aborted transaction of `count` records each.
async fn transactions(pair: &Pair, topic: &str, count: usize) {
    let producer: FutureProducer =
        client(&pair.a).set("transactional.id", topic).set("acks", "all").create().unwrap();
    let within = Duration::from_mins(1);
    let (p, t) = (producer.clone(), topic.to_owned());
    tokio::task::spawn_blocking(move || p.init_transactions(within).unwrap()).await.unwrap();
    for commit in [true, false] {
        producer.begin_transaction().unwrap();
        let mut pending = Vec::new();
        for index in 0..count {
            let value = format!("{index} {}", if commit { "kept" } else { "aborted" });
            let record = FutureRecord::to(&t).key("k").payload(&value).partition(0);
            pending.push(producer.send_result(record).map_err(|(e, _)| e).unwrap());
        }
        for sent in pending {
            sent.await.unwrap().map_err(|(e, _)| e).unwrap();
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

    // Or the same ones, as another copy may have brought them.
    create_topic(&pair.a, "u-batches", 1, &[]).await;
    create_topic(&pair.b, "u-batches", 1, &[]).await;
    let stamped = |index: i64, codec: &'static str| (1_700_000_000_000 + index, codec);
    write_stamped(&pair.a, "u-batches", (0..50).map(|i| stamped(i, "lz4")).collect()).await;
    write_stamped(&pair.b, "u-batches", (0..20).map(|i| stamped(i, "gzip")).collect()).await;
    write_stamped(&pair.b, "u-batches", (20..37).map(|i| stamped(i, "none")).collect()).await;

    let plan = || MirrorPlan { gaps: Gaps::Refuse, ..pair.plan("u-") };
    let mirror = Mirror::start(plan());
    for topic in ["u-stranger", "u-again", "u-retention", "u-fine"] {
        until_copied(&mirror, &pair.a, topic).await;
    }
    let why = until_unaligned(&mirror, "u-foreign").await;
    assert!(why.contains("partition 0, offset 0") && why.contains("not what the source holds"), "{why}");
    let why = until_unaligned(&mirror, "u-transactions").await;
    assert!(why.contains("transactions") && why.contains("gaps = \"fill\""), "{why}");

    // The same records in other batches are the same records, up to the middle of a batch of the source.
    until_copied(&mirror, &pair.a, "u-batches").await;
    assert_same(&pair, "u-batches").await;

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
    let mirror = Mirror::start(plan());
    until_copied(&mirror, &pair.a, "u-retention").await;
    assert_same(&pair, "u-retention").await;
    // What was found before is found again by whoever looks.
    until_unaligned(&mirror, "u-stranger").await;
    until_copied(&mirror, &pair.a, "u-fine").await;
    mirror.stop().await;

    // With fillers accepted, committed records keep their offsets and aborted ones are gone.
    delete_topic(&pair.b, "u-transactions").await;
    let mirror = Mirror::start(MirrorPlan { gaps: Gaps::Fill, ..plan() });
    until_copied(&mirror, &pair.a, "u-transactions").await;
    let (a, b) = (read(&pair.a, "u-transactions", 0).await, read(&pair.b, "u-transactions", 0).await);
    assert_eq!(a.iter().map(|s| s.offset).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]);
    assert_eq!(a[..5], b[..5]);
    assert_eq!(b.iter().map(|s| s.offset).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    assert!(b[5..].iter().all(|s| s.key.as_deref() == Some(b"primacy-filler") && s.value.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_gaps_is_copied_and_offsets_of_groups_are_translated() {
    let mut pair = Pair::start().await;
    for topic in ["t-transactions", "t-plain"] {
        create_topic(&pair.a, topic, 1, &[]).await;
        write(&pair.a, topic, 0, 50, 10, &[]).await;
    }
    for _ in 0..5 {
        transactions(&pair, "t-transactions", 5).await;
    }
    compacted(&pair, "t-compacted").await;
    // Behind the first gap, and before it.
    consume(&pair.a, "t-transactions", "t-late", "classic", 63).await;
    consume(&pair.a, "t-transactions", "t-early", "classic", 20).await;
    consume(&pair.a, "t-compacted", "t-thinned", "classic", 25).await;

    let mirror = Mirror::start(pair.plan("t-"));
    for topic in ["t-transactions", "t-compacted", "t-plain"] {
        until_copied(&mirror, &pair.a, topic).await;
    }
    let status = until(&mirror, "all is told", |s| s.lag.records == 0 && s.groups.len() == 3).await;
    let state = |topic: &str| status.topics[topic].state.clone();
    assert_eq!(state("t-transactions"), TopicState::Translated { partition: 0, offset: 55 });
    assert!(matches!(state("t-compacted"), TopicState::Translated { partition: 0, .. }), "{status:?}");
    assert_eq!((state("t-plain"), status.unaligned().count()), (TopicState::Aligned, 0));
    same_contents(&pair, "t-transactions").await;
    same_contents(&pair, "t-compacted").await;
    assert_same(&pair, "t-plain").await;

    mirror.copy_offsets().await.unwrap();
    // Where a record has its place translation is exact: nothing is missed, nothing is read twice.
    for readers in ["t-late", "t-early"] {
        let [a, b] = [&pair.a, &pair.b].map(|cluster| ahead(cluster, "t-transactions", readers));
        assert_eq!(a.await, b.await, "{readers}");
    }
    // Within a thinned batch it is its beginning.
    let [a, b] = [&pair.a, &pair.b].map(|cluster| ahead(cluster, "t-compacted", "t-thinned"));
    let (a, b) = (a.await, b.await);
    assert!(
        b.ends_with(&a) && !a.is_empty(),
        "{} records ahead at the source, {} on the standby",
        a.len(),
        b.len()
    );

    // Owners die while transactions go on, with and without a word; so does the standby.
    let mut mirror = Some(mirror);
    for round in 0..3 {
        transactions(&pair, "t-transactions", 200).await;
        match mirror.take().unwrap() {
            gone if round == 1 => gone.stop().await,
            gone => drop(gone),
        }
        mirror = Some(Mirror::start(pair.plan("t-")));
        if round == 2 {
            pair.b.kill().unwrap();
            transactions(&pair, "t-transactions", 20).await;
            pair.b.restart().await.unwrap();
        }
    }
    let mirror = mirror.unwrap();
    until_copied(&mirror, &pair.a, "t-transactions").await;
    same_contents(&pair, "t-transactions").await;
    consume(&pair.a, "t-transactions", "t-later", "classic", 400).await;
    wait_for("a group that came later", DEADLINE, async || {
        anyhow::ensure!(!group(&pair.b, "t-transactions", "t-later").await.is_empty(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    let [a, b] = [&pair.a, &pair.b].map(|cluster| ahead(cluster, "t-transactions", "t-later"));
    let (a, b) = (a.await, b.await);
    assert!(b.ends_with(&a), "{} records ahead at the source, {} on the standby", a.len(), b.len());
    assert_eq!(mirror.status().unaligned().count(), 0, "{:?}", mirror.status());

    // A stranger's record is found here too, while the mirror runs and when it was away.
    mirror.stop().await;
    write(&pair.b, "t-transactions", 0, 1, 10, &[]).await;
    let mirror = Mirror::start(pair.plan("t-"));
    let why = until_unaligned(&mirror, "t-transactions").await;
    assert!(why.contains("somebody else"), "{why}");
    write_keyed(&pair.b, "t-compacted").await;
    let why = until_unaligned(&mirror, "t-compacted").await;
    assert!(why.contains("somebody else"), "{why}");
    until_copied(&mirror, &pair.a, "t-plain").await;
}

/// A compacted topic whose gaps are filled: each record of the source is at its own offset, between empty ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_is_filled_to_equal_offsets() {
    let pair = Pair::start().await;
    compacted(&pair, "c-compacted").await;
    // Settings go with the topic: what the standby is about to compact would hide what was filled.
    set_on_topic(&pair.a, "c-compacted", "min.compaction.lag.ms", "3600000").await;
    consume(&pair.a, "c-compacted", "c-readers", "classic", 25).await;
    let plan = || MirrorPlan { gaps: Gaps::Fill, ..pair.plan("c-") };
    let mirror = Mirror::start(plan());
    until_copied(&mirror, &pair.a, "c-compacted").await;
    filled(&pair, "c-compacted").await;
    mirror.copy_offsets().await.unwrap();
    assert_eq!(
        group(&pair.a, "c-compacted", "c-readers").await,
        group(&pair.b, "c-compacted", "c-readers").await
    );

    // An owner that does not know what is filled compares it with the source, which has gaps there.
    drop(mirror);
    write_keyed(&pair.a, "c-compacted").await;
    let mirror = Mirror::start(MirrorPlan { group: "another".into(), ..plan() });
    until_copied(&mirror, &pair.a, "c-compacted").await;
    filled(&pair, "c-compacted").await;
    assert_eq!(mirror.status().topics["c-compacted"].state, TopicState::Aligned);
}

/// Each record of the source is at its offset on the standby, and every other offset there has an empty record.
async fn filled(pair: &Pair, topic: &str) {
    let (a, b) = (read(&pair.a, topic, 0).await, read(&pair.b, topic, 0).await);
    assert_eq!(common::ends(&pair.a, topic).await, common::ends(&pair.b, topic).await);
    let (fillers, records): (Vec<Seen>, Vec<Seen>) =
        b.into_iter().partition(|seen| seen.key.as_deref() == Some(b"primacy-filler"));
    assert!(records == a, "{} records at the source, {} on the standby", a.len(), records.len());
    assert!(fillers.len() > 20 && fillers.iter().all(|seen| seen.value.is_none()), "{}", fillers.len());
    let mut offsets: Vec<i64> = records.iter().chain(&fillers).map(|seen| seen.offset).collect();
    offsets.sort_unstable();
    assert!(
        offsets.iter().zip(offsets[0]..).all(|(seen, offset)| *seen == offset),
        "an offset has no record"
    );
}

/// All committed records of the source are on the standby in the same order, each once, and nothing else.
async fn same_contents(pair: &Pair, topic: &str) {
    let (a, b) = (read_committed(&pair.a, topic, 0).await, read(&pair.b, topic, 0).await);
    assert_eq!(a.len(), b.len(), "records of {topic}");
    assert!(contents(&a) == contents(&b), "{topic}");
    // Without gaps there.
    assert!(b.iter().zip(b[0].offset..).all(|(seen, offset)| seen.offset == offset), "{topic}");
}

/// A compacted topic in which batches have lost some of their records, and some are gone altogether.
async fn compacted(pair: &Pair, topic: &str) {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("min.compaction.lag.ms", "0"),
    ];
    create_topic(&pair.a, topic, 1, &settings).await;
    // The same keys again and again; those without one are not allowed here.
    for round in 0..6 {
        let producer: FutureProducer = client(&pair.a).set("linger.ms", "50").create().unwrap();
        let mut pending = Vec::new();
        for index in 0..40 {
            let (key, value) = (format!("key-{}", index * (round + 1)), format!("{round}"));
            let record = FutureRecord::to(topic).key(&key).payload(&value).partition(0);
            pending.push(producer.send_result(record).map_err(|(e, _)| e).unwrap());
        }
        for sent in pending {
            sent.await.unwrap().map_err(|(e, _)| e).unwrap();
        }
        producer.flush(DEADLINE).unwrap();
    }
    wait_for("the source to be compacted", DEADLINE, async || {
        // A segment is closed by a record that comes later.
        write_keyed(&pair.a, topic).await;
        let seen = read(&pair.a, topic, 0).await;
        let end = common::ends(&pair.a, topic).await[&0];
        let gaps = end - seen[0].offset - i64::try_from(seen.len()).unwrap();
        anyhow::ensure!(gaps > 20, "{gaps} offsets have no record");
        Ok(())
    })
    .await
    .unwrap();
}

async fn write_keyed(cluster: &KafkaCluster, topic: &str) {
    let producer: FutureProducer = client(cluster).create().unwrap();
    producer.send(FutureRecord::to(topic).key("last").payload("x").partition(0), DEADLINE).await.unwrap();
}

/// One batch, of records with these timestamps, and nothing about them that differs between two calls.
async fn write_stamped(cluster: &KafkaCluster, topic: &str, records: Vec<(i64, &str)>) {
    let producer: FutureProducer =
        client(cluster).set("compression.type", records[0].1).set("linger.ms", "500").create().unwrap();
    let mut pending = Vec::new();
    for (timestamp, _) in &records {
        let (key, value) = (format!("key-{timestamp}"), "x".repeat(50));
        let record = FutureRecord::to(topic).key(&key).payload(&value).partition(0).timestamp(*timestamp);
        pending.push(producer.send_result(record).map_err(|(e, _)| e).unwrap());
    }
    for sent in pending {
        sent.await.unwrap().map_err(|(e, _)| e).unwrap();
    }
}
