//! The mirror between sites that are far apart, over a line of a known rate: whether it fills the line, beside one plain
//! stream of bytes over the same line, and how far behind it is, beside MirrorMaker 2. Brokers leave their windows to the
//! kernel, as the stream does.

use anyhow::{Context, Result, ensure};
use primacy_testbed::{Host, Wan, WanLink, WanOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::ends;
use super::mirrors::Ours;
use super::{Clusters, Places, behind, copy, fill, lag};
use crate::fault::RTT;
use crate::figure::{Figure, Goal, Peer, Samples};
use crate::plan::Plan;
use crate::progress;

/// Bytes a second of the line: what two JVMs and a router leave of two cores is more.
const LINE: u64 = 25 << 20;
/// A router that keeps what comes within a round trip.
const QUEUE: u64 = LINE / 20;
const RECORD: usize = 1024;
const PARTITIONS: i32 = 6;

/// Measures rate and lag.
pub(crate) fn figures(plan: &Plan) -> Result<Vec<Figure>> {
    let mut options = WanOptions::with_rtt(RTT);
    options.link = WanLink { rate_bytes: Some(LINE), queue_bytes: QUEUE, ..WanLink::with_rtt(RTT) };
    options.hosts = vec!["west/kafka".to_owned()];
    tokio::task::block_in_place(|| Wan::run(&options, async |wan| measure(plan, &wan).await))?
}

async fn measure(plan: &Plan, wan: &Wan) -> Result<Vec<Figure>> {
    progress!("kafka-far: starting two clusters");
    let (east, west) = (wan.host("east")?, wan.host("west")?);
    // Writers are where the lab is, which no line is between.
    let places = Places { a: east, b: wan.host("west/kafka")?, mirrors: west, writers: wan.lab() };
    let clusters = Clusters::start(Some(places)).await?;
    let records = plan.kafka.records / 5;
    let topic = "far";
    ends::create(&clusters.a, topic, PARTITIONS).await?;
    fill(&clusters, topic, records, RECORD, -1).await?;
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..plan.kafka.rounds {
        let copied = copy(&clusters, topic, records, &Ours::start(&clusters, topic)?).await?;
        ends::delete(&clusters.b, &[topic]).await?;
        ours.push(copied.records_per_second * RECORD as f64 / f64::from(1 << 20));
        plain.push(stream(east, west, records * RECORD as u64)? / f64::from(1 << 20));
    }
    let samples = |values| Samples::new(values).context("nothing was measured");
    let (ours, plain) = (samples(ours)?, samples(plain)?);
    progress!("kafka.far_rate: {:.1} MiB/s, a plain stream {:.1}", ours.median(), plain.median());
    let mut figures = vec![Figure {
        name: "kafka.far_rate",
        title: format!("MiB/s, sites {} ms apart, {} MiB/s between them", RTT.as_millis(), LINE >> 20),
        unit: "MiB/s",
        ours,
        peer: Some(Peer { name: "one TCP stream", samples: plain }),
        goal: Goal::RatioAtLeast(0.9),
        note: None,
    }];
    let [p50, p99] = lag(&clusters, plan).await?;
    let within = Goal::MedianAtMost(RTT.as_secs_f64() * 1e3 + 5.0);
    figures.push(behind(
        "kafka.far_lag_p50",
        "the same sites: ms behind at 2,000 records/s, p50",
        p50,
        within,
    )?);
    let third = Goal::RatioAtMost(1.0 / 3.0);
    figures.push(behind(
        "kafka.far_lag_p99",
        "the same sites: ms behind at 2,000 records/s, p99",
        p99,
        third,
    )?);
    Ok(figures)
}

/// Bytes a second of one stream whose windows the kernel chooses, from its first byte to its last.
fn stream(from: &Host, to: &Host, bytes: u64) -> Result<f64> {
    let listener = from.enter(|| TcpListener::bind(SocketAddr::new(from.address().into(), 0)))??;
    let address = listener.local_addr()?;
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<()> {
            let (mut peer, _) = listener.accept()?;
            let block = vec![7; 256 << 10];
            let mut left = bytes;
            while left > 0 {
                let part = left.min(block.len() as u64) as usize;
                peer.write_all(&block[..part])?;
                left -= part as u64;
            }
            Ok(())
        });
        let mut reader = to.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))??;
        let mut block = vec![0; 256 << 10];
        let first = reader.read(&mut block)?;
        let (started, mut read) = (Instant::now(), 0);
        loop {
            match reader.read(&mut block)? {
                0 => break,
                n => read += n as u64,
            }
        }
        let took = started.elapsed().as_secs_f64();
        sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        ensure!(first as u64 + read == bytes, "{} of {bytes} bytes arrived", first as u64 + read);
        Ok(read as f64 / took)
    })
}
