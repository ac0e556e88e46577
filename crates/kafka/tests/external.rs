//! The lag of a real MirrorMaker 2, from what it writes down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{DEADLINE, Pair, access, consume, create_topic, write};
use primacy_kafka::Patterns;
use primacy_kafka::external::{External, ExternalPlan, ExternalStatus};
use primacy_testbed::kafka::{Jvm, java};
use primacy_testbed::{KafkaVersion, Process, Workdir};
use std::time::{Duration, Instant};

fn mirror_maker(pair: &Pair, dir: &Workdir) -> Process {
    let properties = format!(
        "clusters = a, b\na.bootstrap.servers = {}\nb.bootstrap.servers = {}\na->b.enabled = true\n\
         a->b.topics = x-.*\na->b.groups = x-.*\nb->a.enabled = false\nreplication.factor = 1\n\
         checkpoints.topic.replication.factor = 1\noffset-syncs.topic.replication.factor = 1\n\
         heartbeats.topic.replication.factor = 1\noffset.storage.replication.factor = 1\n\
         status.storage.replication.factor = 1\nconfig.storage.replication.factor = 1\n\
         emit.heartbeats.enabled = false\nemit.checkpoints.interval.seconds = 1\n\
         refresh.groups.interval.seconds = 1\na.consumer.auto.offset.reset = earliest\n",
        pair.a.bootstrap().join(","),
        pair.b.bootstrap().join(","),
    );
    let file = dir.path().join("mm2.properties");
    std::fs::write(&file, properties).unwrap();
    let class = "org.apache.kafka.connect.mirror.MirrorMaker";
    let log = dir.path().join("mm2.log");
    Process::start(
        &java(KafkaVersion::V4_1, &Jvm::small(), class, vec![file.into()], dir.path(), &log).unwrap(),
    )
    .unwrap()
}

async fn until(external: &mut External, what: &str, holds: impl Fn(&ExternalStatus) -> bool) {
    let until = Instant::now() + DEADLINE;
    let mut last = String::new();
    while Instant::now() < until {
        match external.look().await {
            Ok(status) if holds(status) => return,
            other => last = format!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("never {what}: {last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_of_mirror_maker_is_an_upper_bound_of_what_the_target_lacks() {
    let pair = Pair::start().await;
    let dir = Workdir::create().unwrap();
    create_topic(&pair.a, "x-orders", 1, &[]).await;
    write(&pair.a, "x-orders", 0, 500, 50, &[]).await;
    consume(&pair.a, "x-orders", "x-group", "classic", 100).await;
    let plan = ExternalPlan {
        source: access(&pair.a),
        target: access(&pair.b),
        topics: Patterns::new(["x-.*"]).unwrap(),
        target_alias: None,
        source_alias: None,
    };
    let mut external = External::new(plan).unwrap();
    let error = external.look().await.unwrap_err().to_string();
    assert!(error.contains("MirrorMaker 2 does not run"), "{error}");

    let maker = mirror_maker(&pair, &dir);
    let orders = ("x-orders".to_owned(), 0);
    until(&mut external, "a sync and a checkpoint", |status| {
        let synced =
            status.partitions.get(&orders).is_some_and(|p| p.synced.is_some() && p.lag_records_max <= 500);
        synced && status.groups.get("x-group").is_some_and(|group| !group.is_empty())
    })
    .await;

    // It is frozen: all that is written meanwhile is missing.
    maker.stop().unwrap();
    write(&pair.a, "x-orders", 0, 1_000, 50, &[]).await;
    until(&mut external, "a lag", |status| {
        status.partitions.get(&orders).is_some_and(|p| p.source_end == 1_500 && p.lag_records_max >= 1_000)
    })
    .await;
    maker.cont().unwrap();
    until(&mut external, "it catches up", |status| {
        status.partitions.get(&orders).is_some_and(|p| p.lag_records_max < 500)
    })
    .await;
}
