//! What readers read twice after a failover: a group commits as it reads, the active cluster is killed, and the group goes
//! on at the other one from what was carried over of its offsets.

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use primacy_kafka::link::Coordinating;
use primacy_testbed::KafkaCluster;
use std::time::{Duration, Instant};

use super::ends::{self, WITHIN, Watched, link, name};
use super::mirrors::{Maker, Ours, Running};
use super::{Clusters, DEADLINE, steady};
use crate::figure::{Figure, Goal, Peer, Samples};
use crate::plan::Plan;
use crate::progress;

/// A reader that keeps up commits so often.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// After a failover whatever is still under way has arrived by then.
const SETTLES_WITHIN: Duration = Duration::from_secs(3);

/// What a failover did to one group.
struct Resumed {
    /// Records that it reads a second time.
    duplicates: f64,
    /// Records before its offset that the target does not hold.
    missing: f64,
}

/// Both mirrors, round by round. Each round ends with the death of the active cluster.
pub(super) async fn figures(mut clusters: Clusters, plan: &Plan) -> Result<Vec<Figure>> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..plan.kafka.rounds {
        for side in [0, 1] {
            let topic = format!("read{side}-{round}");
            ends::create(&clusters.a, &topic, 1).await?;
            super::fill(&clusters, &topic, 10, 100, -1).await?;
            if side == 0 {
                let mirror = Ours::start(&clusters, &topic)?;
                ours.push(resume(&clusters, &topic, &mirror, plan.kafka.lag_seconds).await?);
            } else {
                let mirror = Maker::start(&clusters, &topic, 2000 + round)?;
                peer.push(resume(&clusters, &topic, &mirror, plan.kafka.lag_seconds).await?);
            }
            clusters.a.restart().await?;
        }
    }
    let of = |sides: &[Resumed], what: fn(&Resumed) -> f64| {
        Samples::new(sides.iter().map(what).collect()).context("nothing was measured")
    };
    let figure = |name, title: &str, what: fn(&Resumed) -> f64, goal| -> Result<Figure> {
        let (ours, samples) = (of(&ours, what)?, of(&peer, what)?);
        progress!("{name}: {:.0}, MirrorMaker 2 {:.0}", ours.median(), samples.median());
        let peer = Some(Peer { name: "MirrorMaker 2", samples });
        Ok(Figure { name, title: title.to_owned(), unit: "records", ours, peer, goal, note: None })
    };
    Ok(vec![
        figure(
            "kafka.read_twice",
            "records that a group reads twice after a failover, at 2,000/s",
            |r| r.duplicates,
            Goal::RatioAtMost(1.0),
        )?,
        figure(
            "kafka.read_missing",
            "records before a group's offset that the new cluster lacks",
            |r| r.missing,
            Goal::MaxAtMost(0.0),
        )?,
    ])
}

async fn resume(clusters: &Clusters, topic: &str, mirror: &impl Running, seconds: u64) -> Result<Resumed> {
    let group = format!("readers-{topic}");
    let mut source = Watched::new(&clusters.a, topic);
    let mut target = Watched::new(&clusters.b, mirror.topic());
    let until = Instant::now() + DEADLINE;
    let _writer = steady(clusters, topic, seconds)?;
    // The offsets of the group are carried over already when it counts.
    let mut read = 0;
    loop {
        read = source.records().await.max(read);
        commit(&clusters.a, &group, topic, read).await?;
        if committed(&clusters.b, &group, mirror.topic()).await?.is_some_and(|offset| offset > 10) {
            break;
        }
        ensure!(Instant::now() < until, "no offsets of {group} arrive: {}", mirror.process().log_tail(5));
        tokio::time::sleep(COMMIT_EVERY).await;
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(seconds) / 2 {
        read = source.records().await.max(read);
        commit(&clusters.a, &group, topic, read).await?;
        tokio::time::sleep(COMMIT_EVERY).await;
    }
    clusters.a.kill()?;
    // What a mirror still has in hand it may bring to its end; so may its offsets.
    let killed = Instant::now();
    let mut resumes_at = 0;
    while killed.elapsed() < SETTLES_WITHIN {
        resumes_at = committed(&clusters.b, &group, mirror.topic()).await?.unwrap_or(0);
        tokio::time::sleep(COMMIT_EVERY).await;
    }
    let held = target.records().await;
    mirror.process().kill()?;
    Ok(Resumed {
        duplicates: read.min(held).saturating_sub(resumes_at) as f64,
        missing: resumes_at.saturating_sub(held) as f64,
    })
}

async fn commit(cluster: &KafkaCluster, group: &str, topic: &str, offset: u64) -> Result<()> {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(i64::try_from(offset)?)
        .with_committed_leader_epoch(-1);
    let topic = OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let link = link(cluster)?;
    let answer = link.coordinator(Coordinating::Group, group).await?.call(&request, WITHIN).await?;
    let failed = answer.topics.iter().flat_map(|t| &t.partitions).find(|p| p.error_code != 0);
    ensure!(failed.is_none(), "{group} cannot commit: {failed:?}");
    Ok(())
}

/// What the group would go on from; none where it has nothing.
async fn committed(cluster: &KafkaCluster, group: &str, topic: &str) -> Result<Option<u64>> {
    let topics = OffsetFetchRequestTopics::default().with_name(name(topic)).with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_topics(Some(vec![topics]));
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let link = link(cluster)?;
    let answer = link.coordinator(Coordinating::Group, group).await?.call(&request, WITHIN).await?;
    let partitions = answer.groups.iter().flat_map(|g| &g.topics).flat_map(|t| &t.partitions);
    Ok(partitions.map(|p| p.committed_offset).find_map(|offset| u64::try_from(offset).ok()))
}
