//! The two that are compared, as processes.

use anyhow::{Context, Result};
use primacy_testbed::kafka::{Jvm, java};
use primacy_testbed::process::ProcessSpec;
use primacy_testbed::{KafkaVersion, Process};

use super::Clusters;

/// A mirror at work.
pub(crate) trait Running {
    fn process(&self) -> &Process;
    /// What the copied topic is called on the target.
    fn topic(&self) -> &str;
}

pub(crate) struct Ours {
    process: Process,
    topic: String,
}

impl Ours {
    pub(crate) fn start(clusters: &Clusters, topic: &str) -> Result<Ours> {
        let dir = clusters.dir.path();
        let args = ["--mirror", &clusters.a.bootstrap().join(","), &clusters.b.bootstrap().join(","), topic];
        let spec = ProcessSpec {
            name: "mirror".to_owned(),
            program: std::env::current_exe().context("which program is this?")?,
            args: args.iter().map(std::ffi::OsString::from).collect(),
            env: Vec::new(),
            dir: dir.to_owned(),
            log: dir.join("mirror.log"),
        };
        let process = Process::start_at(clusters.mirrors_at.as_ref(), &spec)?;
        Ok(Ours { process, topic: topic.to_owned() })
    }
}

impl Running for Ours {
    fn process(&self) -> &Process {
        &self.process
    }

    fn topic(&self) -> &str {
        &self.topic
    }
}

/// MirrorMaker 2 with what its documentation recommends: larger fetches and batches, short refreshes, tasks enough.
pub(crate) struct Maker {
    process: Process,
    topic: String,
}

impl Maker {
    /// Each start is under a name of its own, so that it begins from nothing.
    pub(crate) fn start(clusters: &Clusters, topic: &str, round: usize) -> Result<Maker> {
        let dir = clusters.dir.path();
        let alias = format!("m{round}-{topic}");
        let properties = format!(
            "clusters = {alias}, b\n\
             {alias}.bootstrap.servers = {}\n\
             b.bootstrap.servers = {}\n\
             {alias}->b.enabled = true\n\
             {alias}->b.topics = {topic}\n\
             b->{alias}.enabled = false\n\
             replication.factor = 1\n\
             checkpoints.topic.replication.factor = 1\n\
             heartbeats.topic.replication.factor = 1\n\
             offset-syncs.topic.replication.factor = 1\n\
             offset.storage.replication.factor = 1\n\
             status.storage.replication.factor = 1\n\
             config.storage.replication.factor = 1\n\
             emit.heartbeats.enabled = false\n\
             sync.group.offsets.enabled = true\n\
             sync.group.offsets.interval.seconds = 1\n\
             emit.checkpoints.interval.seconds = 1\n\
             refresh.groups.interval.seconds = 1\n\
             tasks.max = 6\n\
             {alias}.consumer.auto.offset.reset = earliest\n\
             {alias}.consumer.max.poll.records = 5000\n\
             {alias}.consumer.fetch.min.bytes = 1\n\
             {alias}.consumer.max.partition.fetch.bytes = 4194304\n\
             b.producer.batch.size = 262144\n\
             b.producer.linger.ms = 5\n",
            clusters.a.bootstrap().join(","),
            clusters.b.bootstrap().join(","),
        );
        let file = dir.join(format!("{alias}.properties"));
        std::fs::write(&file, properties).with_context(|| format!("cannot write {}", file.display()))?;
        let log = dir.join(format!("{alias}.log"));
        let class = "org.apache.kafka.connect.mirror.MirrorMaker";
        let spec = java(KafkaVersion::V4_1, &Jvm::fast(1024), class, vec![file.into()], dir, &log)?;
        let process = Process::start_at(clusters.mirrors_at.as_ref(), &spec)?;
        Ok(Maker { process, topic: format!("{alias}.{topic}") })
    }
}

impl Running for Maker {
    fn process(&self) -> &Process {
        &self.process
    }

    fn topic(&self) -> &str {
        &self.topic
    }
}
