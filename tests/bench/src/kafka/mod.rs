//! Kafka's mirror, beside MirrorMaker 2: the same brokers, the same topics, in turns.
//!
//! Ours runs as a process of its own, so that its memory and time on the CPU are its own. What is timed is what the
//! target holds, asked of the target: from its first record to its last, so that nobody's start counts.

mod child;
mod ends;
mod far;
mod mirrors;
mod readers;

pub(crate) use child::run as run_child;
pub(crate) use far::figures as far_figures;

use anyhow::{Context, Result};
use ends::Watched;
use mirrors::{Maker, Ours, Running};
use primacy_testbed::kafka::{Jvm, java};
use primacy_testbed::{Host, KafkaCluster, KafkaOptions, KafkaVersion, Process, Workdir};
use std::time::{Duration, Instant};

use crate::figure::{Figure, Goal, Peer, Samples};
use crate::plan::Plan;
use crate::progress;

/// No copy takes longer.
const DEADLINE: Duration = Duration::from_mins(4);

/// Two clusters of one broker each.
pub(crate) struct Clusters {
    pub(crate) a: KafkaCluster,
    pub(crate) b: KafkaCluster,
    /// Where mirrors and writers run; in this process's own network when that is `None`.
    pub(crate) mirrors_at: Option<Host>,
    writers_at: Option<Host>,
    pub(crate) dir: Workdir,
}

/// Where everything is when sites are far apart.
pub(crate) struct Places<'a> {
    pub(crate) a: &'a Host,
    pub(crate) b: &'a Host,
    pub(crate) mirrors: &'a Host,
    pub(crate) writers: &'a Host,
}

impl Clusters {
    async fn start(places: Option<Places<'_>>) -> Result<Clusters> {
        let dir = Workdir::create()?;
        let options = |name: &str, host: Option<&Host>| {
            let mut options = KafkaOptions::new(name, dir.path().join(name));
            options.jvm = Jvm::fast(768);
            options.hosts = host.into_iter().cloned().collect();
            if host.is_some() {
                // By default a broker sends no more than 100 KiB ahead, which far away is what bounds everybody.
                options.config.extend([
                    "socket.send.buffer.bytes=-1".to_owned(),
                    "socket.receive.buffer.bytes=-1".to_owned(),
                ]);
            }
            options
        };
        let (at_a, at_b) = (places.as_ref().map(|p| p.a), places.as_ref().map(|p| p.b));
        let (a, b) = tokio::try_join!(
            KafkaCluster::start(options("a", at_a)),
            KafkaCluster::start(options("b", at_b))
        )?;
        let (mirrors_at, writers_at) = places.map(|p| (p.mirrors.clone(), p.writers.clone())).unzip();
        Ok(Clusters { a, b, mirrors_at, writers_at, dir })
    }
}

/// What one copy took.
struct Copy {
    records_per_second: f64,
    cpu_seconds_per_million: f64,
    resident_mib: f64,
}

/// Measures throughput, frugality, memory and lag.
pub(crate) async fn figures(plan: &Plan) -> Result<Vec<Figure>> {
    progress!("kafka: starting two clusters");
    let clusters = Clusters::start(None).await?;
    let mut figures = Vec::new();
    for (name, cpu, size, partitions, records) in [
        ("kafka.rate_100_1", "kafka.cpu_100_1", 100, 1, plan.kafka.records),
        ("kafka.rate_100_6", "kafka.cpu_100_6", 100, 6, plan.kafka.records),
        ("kafka.rate_1k_1", "kafka.cpu_1k_1", 1024, 1, plan.kafka.records / 5),
        ("kafka.rate_1k_6", "kafka.cpu_1k_6", 1024, 6, plan.kafka.records / 5),
    ] {
        let topic = format!("t{size}-{partitions}");
        ends::create(&clusters.a, &topic, partitions).await?;
        fill(&clusters, &topic, records, size, -1).await?;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for round in 0..plan.kafka.rounds {
            ours.push(copy(&clusters, &topic, records, &Ours::start(&clusters, &topic)?).await?);
            ends::delete(&clusters.b, &[&topic]).await?;
            let maker = Maker::start(&clusters, &topic, round)?;
            peer.push(copy(&clusters, &topic, records, &maker).await?);
            ends::delete(&clusters.b, &[maker.topic()]).await?;
        }
        figures.push(figure(
            name,
            &format!("records/s, {size} B, {partitions} partitions"),
            "1/s",
            &ours,
            &peer,
            Goal::RatioAtLeast(5.0),
            |c| c.records_per_second,
        )?);
        figures.push(figure(
            cpu,
            &format!("CPU s a million records, {size} B, {partitions} partitions"),
            "s",
            &ours,
            &peer,
            Goal::RatioAtMost(0.1),
            |c| c.cpu_seconds_per_million,
        )?);
    }
    figures.push(memory(&clusters, plan).await?);
    let [p50, p99] = lag(&clusters, plan).await?;
    let third = Goal::RatioAtMost(1.0 / 3.0);
    figures.push(behind("kafka.lag_p50", "ms behind at 2,000 records/s, p50", p50, third)?);
    figures.push(behind("kafka.lag_p99", "ms behind at 2,000 records/s, p99", p99, third)?);
    figures.extend(readers::figures(clusters, plan).await?);
    Ok(figures)
}

fn figure(
    name: &'static str,
    title: &str,
    unit: &'static str,
    ours: &[Copy],
    peer: &[Copy],
    goal: Goal,
    of: impl Fn(&Copy) -> f64,
) -> Result<Figure> {
    let samples =
        |copies: &[Copy]| Samples::new(copies.iter().map(&of).collect()).context("nothing was measured");
    let (ours, peer) = (samples(ours)?, samples(peer)?);
    progress!("{name}: {:.2} {unit}, MirrorMaker 2 {:.2}", ours.median(), peer.median());
    let peer = Some(Peer { name: "MirrorMaker 2", samples: peer });
    Ok(Figure { name, title: title.to_owned(), unit, ours, peer, goal, note: None })
}

/// Has the perf tool of Kafka write so many records, as fast as it can or at a rate; returns when it has.
async fn fill(clusters: &Clusters, topic: &str, records: u64, size: usize, rate: i64) -> Result<()> {
    let writer = writer(clusters, topic, records, size, rate)?;
    let until = Instant::now() + DEADLINE;
    while writer.is_running() {
        anyhow::ensure!(Instant::now() < until, "the writer does not end: {}", writer.log_tail(5));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn writer(clusters: &Clusters, topic: &str, records: u64, size: usize, rate: i64) -> Result<Process> {
    let bootstrap = clusters.a.bootstrap().join(",");
    let mut args: Vec<std::ffi::OsString> = Vec::new();
    for (key, value) in [
        ("--topic", topic.to_owned()),
        ("--num-records", records.to_string()),
        ("--record-size", size.to_string()),
        ("--throughput", rate.to_string()),
    ] {
        args.extend([key.into(), value.into()]);
    }
    args.extend([
        "--producer-props".into(),
        format!("bootstrap.servers={bootstrap}").into(),
        "acks=all".into(),
    ]);
    let dir = clusters.dir.path();
    let log = dir.join(format!("writer-{topic}.log"));
    let tool = "org.apache.kafka.tools.ProducerPerformance";
    let spec = java(KafkaVersion::V4_1, &Jvm::fast(256), tool, args, dir, &log)?;
    Process::start_at(clusters.writers_at.as_ref(), &spec)
}

/// Waits until a mirror has copied a topic, and says what that took. The mirror ends with it.
async fn copy(clusters: &Clusters, topic: &str, records: u64, mirror: &impl Running) -> Result<Copy> {
    let mut target = Watched::new(&clusters.b, mirror.topic());
    let until = Instant::now() + DEADLINE;
    let mut first = None;
    loop {
        anyhow::ensure!(Instant::now() < until, "{topic} is not copied: {}", mirror.process().log_tail(5));
        let held = target.records().await;
        let now = Instant::now();
        let cpu = crate::usage::cpu_time(mirror.process().pid())?;
        if held > 0 && first.is_none() {
            first = Some((now, held, cpu));
        }
        if let Some((since, from, before)) = first.filter(|_| held >= records) {
            let resident = crate::usage::resident_bytes(mirror.process().pid())?;
            // All of it may be there at the first look; then the look itself is the bound.
            let seconds = now.duration_since(since).as_secs_f64().max(0.01);
            let copied = if held > from { held - from } else { held };
            mirror.process().kill()?;
            return Ok(Copy {
                records_per_second: copied as f64 / seconds,
                cpu_seconds_per_million: cpu.saturating_sub(before).as_secs_f64() / (copied as f64 / 1e6),
                resident_mib: resident as f64 / f64::from(1 << 20),
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Memory with 200 partitions full of records.
async fn memory(clusters: &Clusters, plan: &Plan) -> Result<Figure> {
    let topic = "wide";
    ends::create(&clusters.a, topic, 200).await?;
    fill(clusters, topic, plan.kafka.records, 1024, -1).await?;
    let mut ours = Vec::new();
    for _ in 0..plan.kafka.rounds {
        ours.push(
            copy(clusters, topic, plan.kafka.records, &Ours::start(clusters, topic)?).await?.resident_mib,
        );
        ends::delete(&clusters.b, &[topic]).await?;
    }
    let ours = Samples::new(ours).context("nothing was measured")?;
    progress!("kafka.memory_200: {:.1} MiB", ours.max());
    Ok(Figure {
        name: "kafka.memory_200",
        title: "resident MiB after copying 200 partitions".to_owned(),
        unit: "MiB",
        ours,
        peer: None,
        goal: Goal::MaxAtMost(64.0),
        note: None,
    })
}

/// How much later than at the source a record is at the target, at 2,000 a second: the median and the 99th percentile of
/// each round, ours and MirrorMaker 2's.
async fn lag(clusters: &Clusters, plan: &Plan) -> Result<[(Vec<f64>, Vec<f64>); 2]> {
    let mut samples = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for round in 0..plan.kafka.rounds {
        for side in [0, 1] {
            let topic = format!("lag{side}-{round}");
            ends::create(&clusters.a, &topic, 1).await?;
            fill(clusters, &topic, 10, 100, -1).await?;
            let seconds = plan.kafka.lag_seconds;
            let lags = if side == 0 {
                ends::lags(clusters, &topic, &Ours::start(clusters, &topic)?, seconds).await?
            } else {
                ends::lags(clusters, &topic, &Maker::start(clusters, &topic, 1000 + round)?, seconds).await?
            };
            for (share, (ours, peer)) in [0.5, 0.99].into_iter().zip(&mut samples) {
                let of_side = if side == 0 { ours } else { peer };
                of_side.push(ends::quantile(&lags, share));
            }
        }
    }
    Ok(samples)
}

fn behind(name: &'static str, title: &str, (ours, peer): (Vec<f64>, Vec<f64>), goal: Goal) -> Result<Figure> {
    let ours = Samples::new(ours).context("nothing was measured")?;
    let samples = Samples::new(peer).context("nothing was measured")?;
    progress!("{name}: {:.1} ms, MirrorMaker 2 {:.1}", ours.median(), samples.median());
    let peer = Some(Peer { name: "MirrorMaker 2", samples });
    let note = Some("by the ends of both logs, asked in turns".to_owned());
    Ok(Figure { name, title: title.to_owned(), unit: "ms", ours, peer, goal, note })
}

/// Starts the writer of the lag measurement.
fn steady(clusters: &Clusters, topic: &str, seconds: u64) -> Result<Process> {
    writer(clusters, topic, 2_000 * (seconds + 3), 100, 2_000)
}
