//! The other story: two real Kafka clusters, a mirror between them, and what becomes of it when things die.
//!
//! The problem: "every record at its own offset" is a claim until somebody compares. The idea: Kafka's own programs write
//! and read, and both clusters are read from end to end when all is over.

use super::timeline::Timeline;
use crate::screen::Screen;
use crate::screen::table::{Table, Tone, left, right};
use crate::screen::units::{count, millis};
use anyhow::{Context, Result, anyhow, ensure};
use primacy_testbed::kafka::{Jvm, java};
use primacy_testbed::{
    Cluster, ClusterOptions, KafkaCluster, KafkaOptions, KafkaVersion, Process, Workdir, wait_for,
};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::{Duration, Instant};

const GROUP: &str = "events";
const TOPIC: &str = "orders";
const RECORDS_PER_SECOND: u32 = 2_000;
const CALM: Duration = Duration::from_secs(4);
const FROZEN: Duration = Duration::from_secs(3);
/// JVMs start slowly where other work is done.
const PATIENCE: Duration = Duration::from_mins(1);

/// Something that went wrong, and how the mirror came out of it.
#[derive(Debug, Serialize)]
struct Act {
    event: String,
    /// From the fault, or from its end, until the mirror was live.
    live_after_ms: f64,
    /// The most that the standby was seen to lack.
    lag_records_max: u64,
}

/// What both clusters hold.
#[derive(Debug, Serialize)]
struct Held {
    at_source: u64,
    at_standby: u64,
    /// At the same offset with the same bytes and time.
    equal: u64,
}

/// `demo --kafka -o json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    passed: bool,
    events: Vec<Act>,
    records: Held,
}

/// Two clusters, one node beside the first and two beside the second. Dropping it ends everything.
struct Stage {
    timeline: Timeline,
    writer: Process,
    nodes: Cluster,
    east: KafkaCluster,
    west: KafkaCluster,
    acts: Vec<Act>,
    // Last, so that the processes are gone before their data is.
    dir: Workdir,
}

/// Tells the whole story.
pub(super) async fn tell(timeline: &Timeline) -> Result<Report> {
    let mut stage = Stage::set(timeline).await?;
    stage.kill_owner().await?;
    stage.freeze_standby().await?;
    stage.kill_standby().await?;
    stage.finish().await
}

impl Report {
    /// What speaks against the promise.
    pub(super) fn problem(&self) -> Option<String> {
        let Held { at_source, at_standby, equal } = self.records;
        (!self.passed).then(|| {
            format!("of {at_source} records {equal} are on the standby as they should be, which holds {at_standby}")
        })
    }

    pub(super) fn text(&self, screen: Screen) -> String {
        let mut table = Table::new([left("EVENT"), right("LIVE AGAIN AFTER"), right("LAG AT MOST")]);
        for act in &self.events {
            let lag = format!("{} records", count(act.lag_records_max));
            let cells = [act.event.clone(), millis(act.live_after_ms), lag];
            table.row(cells.map(|cell| (cell, Tone::Plain)));
        }
        let Held { at_source, at_standby, equal } = self.records;
        let counted = format!(
            "{} records at the source, {} on the standby, {} of them at the same offset with the same bytes.",
            count(at_source),
            count(at_standby),
            count(equal)
        );
        let tone = if self.passed { Tone::Good } else { Tone::Bad };
        format!("\n{}\n{}\n", screen.text(&table), screen.tone(tone, &counted))
    }
}

impl Stage {
    async fn set(timeline: &Timeline) -> Result<Stage> {
        timeline.say("starting two Kafka clusters and three nodes: one at the site east, two at west");
        let dir = Workdir::create()?;
        let start = |name: &str| {
            let mut options = KafkaOptions::new(name, dir.path().join(name));
            options.config.push("num.partitions=3".to_owned());
            KafkaCluster::start(options)
        };
        let (east, west) = tokio::try_join!(start("east"), start("west"))?;
        let binary = std::env::current_exe().context("cannot find out where this program is")?;
        let mut options = ClusterOptions::new(binary);
        "demo".clone_into(&mut options.name);
        options.sites = ["east", "west", "west"].map(str::to_owned).to_vec();
        let nodes = Cluster::start(options).await?;
        let file = nodes.dir().join("groups.toml");
        std::fs::write(&file, groups_toml(&east, &west))?;
        let file = file.display().to_string();
        nodes.cli().run(["apply", "-f", &file]).await?.success()?;
        let writer = writer(&east, &dir)?;
        let acts = Vec::new();
        let stage = Stage { timeline: timeline.clone(), writer, nodes, east, west, acts, dir };
        let (owner, _) = stage.live(|_| true).await?;
        stage.timeline.say(&format!(
            "east is active and takes {} records a second; n{owner} mirrors it to west, live",
            count(RECORDS_PER_SECOND.into())
        ));
        Ok(stage)
    }

    async fn kill_owner(&mut self) -> Result<()> {
        let old = self.calm().await?;
        self.timeline.fault(&format!("kill -9 of n{old}, which mirrors"));
        let from = Instant::now();
        self.nodes.node(old)?.kill()?;
        let (new, lag) = self.live(|owner| owner != old).await?;
        self.act("kill -9 of the node that mirrors", from, lag);
        self.timeline.effect(&format!("n{new} goes on where the standby ends, and is live"));
        self.nodes.node_mut(old)?.restart(PATIENCE).await
    }

    async fn freeze_standby(&mut self) -> Result<()> {
        self.calm().await?;
        self.timeline.fault(&format!("the standby freezes for {} s", FROZEN.as_secs()));
        self.west.freeze()?;
        tokio::time::sleep(FROZEN).await;
        let before = self.lag().await?;
        self.west.thaw()?;
        let from = Instant::now();
        let (_, lag) = self.live(|_| true).await?;
        self.act("the standby was frozen", from, lag.max(before));
        self.timeline.effect("it catches up");
        Ok(())
    }

    async fn kill_standby(&mut self) -> Result<()> {
        self.calm().await?;
        self.timeline.fault("kill -9 of the standby's broker");
        self.west.kill()?;
        self.west.restart().await?;
        let before = self.lag().await?;
        let from = Instant::now();
        let (_, lag) = self.live(|_| true).await?;
        self.act("kill -9 of the standby, and its start", from, lag.max(before));
        self.timeline.effect("it catches up");
        Ok(())
    }

    /// Stops the writer, and compares.
    async fn finish(self) -> Result<Report> {
        self.calm().await?;
        self.timeline.say("stopping the writer, and reading both clusters from end to end");
        self.writer.kill()?;
        let records = wait_for("the standby to have everything", PATIENCE, async || {
            let group = self.status().await?;
            let end = |name: &str| member(&group, name)["cluster"]["end_records"].as_u64();
            let (east, west) = (end("east"), end("west"));
            ensure!(east.is_some() && east == west, "{east:?} and {west:?}");
            ensure!(member(&group, "west")["mirror"]["lag"]["records"] == 0, "it lags");
            east.ok_or_else(|| anyhow!("no end is known"))
        })
        .await?;
        let (east, west) = tokio::try_join!(self.read(&self.east, records), self.read(&self.west, records))?;
        let held = Held {
            at_source: east.len() as u64,
            at_standby: west.len() as u64,
            equal: east.intersection(&west).count() as u64,
        };
        let passed = held.at_source > 0 && held.at_source == held.equal && held.at_standby == held.equal;
        Ok(Report { passed, events: self.acts, records: held })
    }

    /// A quiet time; returns who mirrors after it.
    async fn calm(&self) -> Result<u64> {
        tokio::time::sleep(CALM).await;
        Ok(self.live(|_| true).await?.0)
    }

    /// Waits until a node that is wanted mirrors, and is live; returns it and the largest lag that was seen meanwhile.
    async fn live(&self, wanted: impl Fn(u64) -> bool) -> Result<(u64, u64)> {
        let largest = std::cell::Cell::new(0);
        let node = wait_for("a live mirror", PATIENCE, async || {
            let group = self.status().await?;
            let mirror = &member(&group, "west")["mirror"];
            let lag = mirror["lag"]["records"].as_u64().unwrap_or_default();
            largest.set(largest.get().max(lag));
            let node = mirror["node"].as_u64().filter(|node| wanted(*node));
            let live = mirror["running"] == true && mirror["mode"] == "live" && mirror["trouble"].is_null();
            // A second of what is written: then nothing is left of the fault.
            ensure!(live && lag < RECORDS_PER_SECOND.into(), "{mirror}");
            node.ok_or_else(|| anyhow!("{mirror}"))
        })
        .await?;
        Ok((node, largest.get()))
    }

    async fn lag(&self) -> Result<u64> {
        let group = self.status().await?;
        Ok(member(&group, "west")["mirror"]["lag"]["records"].as_u64().unwrap_or_default())
    }

    async fn status(&self) -> Result<Value> {
        let answer: Value = self.nodes.cli().run(["status", GROUP, "-o", "json"]).await?.success()?.json()?;
        answer["groups"].get(0).cloned().ok_or_else(|| anyhow!("there is no group {GROUP}"))
    }

    fn act(&mut self, event: &str, from: Instant, lag_records_max: u64) {
        let live_after_ms = from.elapsed().as_secs_f64() * 1e3;
        self.acts.push(Act { event: event.to_owned(), live_after_ms, lag_records_max });
    }

    /// All records of a cluster by Kafka's own consumer, one a line with time, partition and offset.
    async fn read(&self, cluster: &KafkaCluster, records: u64) -> Result<BTreeSet<String>> {
        let log = self.dir.path().join(format!("{}.records", cluster.name()));
        let args = [
            ("--bootstrap-server", cluster.bootstrap().join(",")),
            ("--topic", TOPIC.to_owned()),
            ("--max-messages", records.to_string()),
            ("--timeout-ms", PATIENCE.as_millis().to_string()),
            ("--property", "print.timestamp=true".to_owned()),
            ("--property", "print.partition=true".to_owned()),
            ("--property", "print.offset=true".to_owned()),
        ];
        let args = args.into_iter().flat_map(|(key, value)| [OsString::from(key), value.into()]);
        let args = args.chain(["--from-beginning".into()]).collect();
        let tool = "org.apache.kafka.tools.consumer.ConsoleConsumer";
        let reader = java(KafkaVersion::V4_1, &Jvm::small(), tool, args, self.dir.path(), &log)?;
        let reader = Process::start(&reader)?;
        reader.wait_exit(2 * PATIENCE).await?;
        let text = std::fs::read_to_string(&log)?;
        Ok(text.lines().filter(|line| line.contains("Partition:")).map(str::to_owned).collect())
    }
}

fn member<'a>(group: &'a Value, name: &str) -> &'a Value {
    let members = group["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    members.iter().find(|m| m["member"] == name).unwrap_or(&Value::Null)
}

fn groups_toml(east: &KafkaCluster, west: &KafkaCluster) -> String {
    let member = |cluster: &KafkaCluster, priority: u32| {
        let (name, address) = (cluster.name(), cluster.bootstrap().join("\", \""));
        format!(
            "[[kafka.member]]\nname = \"{name}\"\nsite = \"{name}\"\nbootstrap = [\"{address}\"]\npriority = {priority}\n"
        )
    };
    let members = [member(east, 200), member(west, 100)].concat();
    format!("[[kafka]]\nname = \"{GROUP}\"\ntopics = [\"{TOPIC}\"]\n{members}")
}

/// Kafka's own load generator, until it is killed.
fn writer(cluster: &KafkaCluster, dir: &Workdir) -> Result<Process> {
    let bootstrap = cluster.bootstrap().join(",");
    let words = [
        "--topic",
        TOPIC,
        "--num-records",
        "100000000",
        "--record-size",
        "100",
        "--throughput",
        &RECORDS_PER_SECOND.to_string(),
        "--producer-props",
        &format!("bootstrap.servers={bootstrap}"),
        "acks=all",
    ];
    let tool = "org.apache.kafka.tools.ProducerPerformance";
    let (args, log) = (words.map(OsString::from).to_vec(), dir.path().join("writer.log"));
    Process::start(&java(KafkaVersion::V4_1, &Jvm::small(), tool, args, dir.path(), &log)?)
}
