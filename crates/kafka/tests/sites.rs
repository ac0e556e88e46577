//! What lies between and beneath the clusters: a network that is cut, a rate that must be held, a disk that is full, and
//! topics whose settings change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{
    DEADLINE, Load, Pair, assert_same, consume, create_topic, group, progressed, set_on_topic,
    topic_settings, until, until_copied, write, write_to,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use primacy_kafka::mirror::TopicState;
use primacy_kafka::{Mirror, MirrorPlan, MirrorStatus, RateLimit};
use primacy_testbed::{Host, Wan, WanOptions, wait_for};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes a second that may cross, and what is to cross in each of two topics.
const RATE: u64 = 1 << 20;
const BYTES: usize = 4 << 20;

/// A mirror that runs at a host of a WAN.
struct AtHost {
    mirror: Mirror,
    runtime: Option<tokio::runtime::Runtime>,
}

impl AtHost {
    fn start(host: &Host, plan: MirrorPlan) -> AtHost {
        let start = move || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(1).enable_all().build().unwrap();
            let mirror = runtime.block_on(async { Mirror::start(plan) });
            AtHost { mirror, runtime: Some(runtime) }
        };
        // A thread that waits for no runtime of its own.
        std::thread::scope(|scope| scope.spawn(|| host.enter(start).unwrap()).join().unwrap())
    }
}

impl Drop for AtHost {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[test]
fn a_cut_between_the_sites_is_outlived() {
    let mut options = WanOptions::with_rtt(Duration::from_millis(20));
    options.hosts = vec!["west/kafka".to_owned()];
    Wan::run(&options, async |wan| {
        let (east, west) = (wan.host("east").unwrap().clone(), wan.host("west/kafka").unwrap().clone());
        let pair = Pair::start_as(|options| {
            let host = if options.name == "east" { &east } else { &west };
            options.hosts = vec![host.clone()];
        })
        .await;
        create_topic(&pair.a, "c-orders", 3, &[]).await;
        let load = Load::start(&pair.a, "c-orders", 3);
        let at_west = AtHost::start(wan.host("west").unwrap(), pair.plan("c-"));
        let mirror = &at_west.mirror;
        progressed(mirror).await;

        // Nobody hears that the network is gone: packets are lost, and that is all. The lab, and so the writer and the
        // judge, is not cut off.
        wan.cut("east", "west").unwrap();
        let cut = until(mirror, "the source is missed", |s| !s.source.reachable).await;
        assert!(cut.target.reachable, "{:?}", cut.target);
        assert!(cut.sampled.is_some(), "the last sample stays");
        consume(&pair.a, "c-orders", "c-readers", "classic", 100).await;
        let aged =
            until(mirror, "the sample ages", |s| s.age().is_some_and(|age| age > Duration::from_secs(2)));
        aged.await;
        wan.heal("east", "west").unwrap();
        progressed(mirror).await;

        // In one direction: requests arrive, and no answer does.
        wan.cut_one_way("east", "west").unwrap();
        until(mirror, "the source is missed again", |s| !s.source.reachable).await;
        wan.heal("east", "west").unwrap();
        progressed(mirror).await;

        assert!(load.stop().await > 1_000);
        write(&pair.a, "c-orders", 0, 1, 10, &[]).await;
        until_copied(mirror, &pair.a, "c-orders").await;
        assert_same(&pair, "c-orders").await;
        let wanted = group(&pair.a, "c-orders", "c-readers").await;
        assert!(!wanted.is_empty());
        wait_for("the offsets of the group", DEADLINE, async || {
            let found = group(&pair.b, "c-orders", "c-readers").await;
            anyhow::ensure!(found == wanted, "{found:?} of {wanted:?}");
            Ok(())
        })
        .await
        .unwrap();
        let healed = until(mirror, "all is well", |s| s.source.reachable && s.problems.is_empty()).await;
        assert_eq!((healed.unaligned().count(), &healed.source.error), (0, &None));
    })
    .unwrap();
}

/// A small disk, gone when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path, size: u64) -> Result<Disk, nix::Error> {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={size}");
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(Disk(path.to_owned()))
    }

    /// Writes until nothing more goes in.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.0.join("ballast")).unwrap();
        for size in [1 << 20, 4096, 1] {
            let block = vec![0; size];
            while ballast.write_all(&block).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// The standby's broker has two disks, of which one fills up: partitions on it stop, say why, and go on when there is room
/// again; the others never stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_at_the_standby_stops_what_is_on_it_and_nothing_else() {
    let dir = primacy_testbed::Workdir::create().unwrap();
    let disk = match Disk::mount(&dir.path().join("small"), 96 << 20) {
        Ok(disk) => disk,
        Err(reason) => return eprintln!("skipped: mounting a tmpfs takes root here ({reason})"),
    };
    let mut pair = Pair::start_as(|options| {
        if options.name == "west" {
            let large = options.dir.join("large");
            options.config.extend([
                format!("log.dirs={},{}", large.display(), disk.0.join("data").display()),
                format!("metadata.log.dir={}", large.display()),
            ]);
        }
    })
    .await;
    create_topic(&pair.a, "d-orders", 6, &[]).await;
    let mirror = Mirror::start(pair.plan("d-"));
    write_to(&pair.a, "d-orders", &[0, 1, 2, 3, 4, 5], 600, 100, &[]).await;
    until_copied(&mirror, &pair.a, "d-orders").await;
    let on_it = |partition: &i32| disk.0.join(format!("data/d-orders-{partition}")).exists();
    let (full, roomy): (Vec<i32>, Vec<i32>) = (0..6).partition(on_it);
    assert!(!full.is_empty() && !roomy.is_empty(), "{full:?} {roomy:?}");

    disk.fill();
    write_to(&pair.a, "d-orders", &[0, 1, 2, 3, 4, 5], 3_000, 1_000, &[]).await;
    let ends = common::ends(&pair.a, "d-orders").await;
    let reached = |s: &MirrorStatus, partition: &i32| {
        s.topics["d-orders"].partitions[partition].target_end == Some(ends[partition])
    };
    let told = until(&mirror, "the disk is named, and the others go on", |s| {
        s.problems.values().any(|why| why.contains("may be full")) && roomy.iter().all(|p| reached(s, p))
    })
    .await;
    assert!(full.iter().any(|p| !reached(&told, p)), "{told:?}");
    assert_eq!(told.unaligned().count(), 0, "{told:?}");
    assert!(told.lag.records > 0, "{told:?}");

    disk.free();
    pair.b.restart().await.unwrap();
    until_copied(&mirror, &pair.a, "d-orders").await;
    assert_same(&pair, "d-orders").await;
    let status = until(&mirror, "all is well", |s| s.problems.is_empty()).await;
    assert_eq!(status.topics["d-orders"].state, TopicState::Aligned);
    drop(mirror);
    // Before the disk is taken away beneath it.
    pair.b.kill().unwrap();
}

/// Settings that are changed at the source come over, and what they allow is copied, however soon it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_settings_are_followed_and_the_rate_is_held_and_shared() {
    let pair = Pair::start().await;
    create_topic(&pair.a, "s-orders", 1, &[("retention.ms", "7200000"), ("max.message.bytes", "1000000")])
        .await;
    write(&pair.a, "s-orders", 0, 100, 10, &[]).await;
    let mirror = Mirror::start(pair.plan("s-"));
    until_copied(&mirror, &pair.a, "s-orders").await;
    assert_eq!(topic_settings(&pair.b, "s-orders").await, topic_settings(&pair.a, "s-orders").await);
    set_on_topic(&pair.a, "s-orders", "retention.ms", "3600000").await;
    set_on_topic(&pair.a, "s-orders", "max.message.bytes", "4000000").await;
    write(&pair.a, "s-orders", 0, 2, 3_000_000, &[]).await;
    until_copied(&mirror, &pair.a, "s-orders").await;
    assert_same(&pair, "s-orders").await;
    wait_for("the settings to follow", DEADLINE, async || {
        let (a, b) = (topic_settings(&pair.a, "s-orders").await, topic_settings(&pair.b, "s-orders").await);
        anyhow::ensure!(a == b && a["retention.ms"] == "3600000", "{a:?} {b:?}");
        Ok(())
    })
    .await
    .unwrap();
    mirror.stop().await;

    // One topic with one partition, one with twelve, of equal size, through one limit.
    create_topic(&pair.a, "few-orders", 1, &[]).await;
    create_topic(&pair.a, "many-orders", 12, &[]).await;
    let none = [("compression.type", "none")];
    write_to(&pair.a, "few-orders", &[0], BYTES / 1_000, 1_000, &none).await;
    write_to(&pair.a, "many-orders", &(0..12).collect::<Vec<_>>(), BYTES / 1_000, 1_000, &none).await;
    let limit = RateLimit::new(RATE);
    let started = Instant::now();
    let [few, many] = ["few-", "many-"]
        .map(|topics| Mirror::start(MirrorPlan { rate: Some(limit.clone()), ..pair.plan(topics) }));
    let copied = |mirror: &Mirror| -> i64 {
        let status = mirror.status();
        status.topics.values().flat_map(|t| t.partitions.values()).filter_map(|p| p.target_end).sum()
    };
    let all = i64::try_from(BYTES / 1_000).unwrap();
    // From when both have begun they take turns, until the first has everything; a turn brings a batch at least, and the
    // batches of one partition are larger than those of twelve.
    let mut begun = None;
    let (first, other) = loop {
        let (few, many) = (copied(&few), copied(&many));
        if few.min(many) > 0 {
            begun.get_or_insert((few, many));
        }
        if few.max(many) >= all {
            let (few_begun, many_begun) = begun.expect("both at work");
            let (few, many) = (few - few_begun, many - many_begun);
            break (few.max(many), few.min(many));
        }
        assert!(started.elapsed() < DEADLINE, "{few} and {many} of {all}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    eprintln!("while one got {first} records, the other got {other}");
    assert!(other * 3 > first, "{other} of {first}");
    until_copied(&few, &pair.a, "few-orders").await;
    until_copied(&many, &pair.a, "many-orders").await;
    // Six of seven values are there; keys and headers come on top. A slow machine takes longer, never less.
    let least = Duration::from_secs_f64(2.0 * BYTES as f64 * 6.0 / 7.0 / RATE as f64 * 0.9);
    let took = started.elapsed();
    eprintln!("{} bytes at {RATE} bytes/s took {took:?}", 2 * BYTES);
    assert!(took >= least, "{took:?} instead of {least:?}: faster than the rate allows");
    assert_same(&pair, "few-orders").await;
    assert_same(&pair, "many-orders").await;
}
