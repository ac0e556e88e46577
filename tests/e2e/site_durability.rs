//! `durability = "site"`: what a gate acknowledged survives the loss of the primary's whole site.
//!
//! The sites are 50 ms apart. The standbys are kept from what is written last, so that it is on no other Redis when the
//! site is lost: the copy that a node at another site holds is all there is.

use crate::harness::{self, GROUP, PATIENCE, transitions};
use anyhow::ensure;
use primacy_testbed::load::StaticLocate;
use primacy_testbed::{
    Deployment, Host, Ledger, Load, LoadOptions, PrimaryAnswer, RedisAddress, Target, Verdict, Wan,
    WanOptions, wait_for,
};
use serde_json::Value;
use std::time::{Duration, Instant};

const RTT: Duration = Duration::from_millis(50);
const WRITERS: u16 = 32;
/// How long the standbys are behind before the site is lost: shorter than anybody would notice.
const BEHIND: Duration = Duration::from_millis(300);

async fn start(wan: &Wan, settings: &[&str]) -> Deployment {
    let mut options = harness::options();
    options.cluster.gates = vec![GROUP.to_owned()];
    "wan".clone_into(&mut options.cluster.profile);
    options.cluster.wan = Some(wan.clone());
    let settings = ["max_loss = \"any\"", "durability = \"site\""].iter().chain(settings);
    options.group_settings = settings.map(|&line| line.to_owned()).collect();
    let d = Deployment::start_serving(options).await.unwrap();
    harness::at_rest(&d).await;
    d
}

/// Runs a test at three sites, with clients at the primary's that have an address of their own.
fn at_three_sites(test: impl AsyncFnOnce(Wan, Host) + Send) {
    let mut options = WanOptions::with_rtt(RTT);
    options.hosts = vec!["east/clients".to_owned()];
    Wan::run(&options, async |wan| {
        let clients = wan.host("east/clients").unwrap().clone();
        test(wan, clients).await;
    })
    .unwrap();
}

/// Writers at the primary's site, through the gate there.
fn write(d: &Deployment, clients: &Host, writers: u16) -> Load {
    let gate = Target::new("gate", d.cluster.node(1).unwrap().gate(GROUP).unwrap());
    let options = LoadOptions {
        writers,
        response_timeout: Duration::from_secs(10),
        retry_pause: Duration::from_millis(20),
        ..LoadOptions::default()
    };
    Load::start_at(clients, options, move || Ok(StaticLocate::new([gate]))).unwrap()
}

async fn wait_for_fence(d: &Deployment, what: &str, holds: impl Fn(&Value) -> bool) {
    wait_for(what, PATIENCE, async || {
        let fence = d.fence().await?;
        ensure!(holds(&fence), "{fence}");
        Ok(())
    })
    .await
    .unwrap();
}

/// The times from sending to acknowledgement, in order.
fn times(ledger: &Ledger) -> Vec<Duration> {
    let mut times: Vec<Duration> = ledger.acks().map(|ack| ack.at - ack.sent).collect();
    times.sort();
    times
}

async fn primary_elsewhere(d: &Deployment, old: &str) -> PrimaryAnswer {
    wait_for(&format!("another primary than {old}"), PATIENCE, async || {
        let primary = d.primary().await?;
        ensure!(primary.member.as_deref().is_some_and(|member| member != old), "{primary:?}");
        ensure!(primary.state == "serving", "{primary:?}");
        Ok(primary)
    })
    .await
    .unwrap()
}

#[test]
fn the_primarys_whole_site_is_lost() {
    at_three_sites(async |wan, clients| {
        let d = start(&wan, &[]).await;
        wait_for_fence(&d, "a holder", |fence| fence["holder_node"].is_u64()).await;
        let load = write(&d, &clients, WRITERS);
        harness::writes_go_on(&load, 3_000).await;
        let ledger = load.ledger();
        let times = times(&ledger);
        eprintln!(
            "FIGURE site at {RTT:?}: {WRITERS} clients, p50 {:?}, p99 {:?}, {} acknowledged",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            ledger.acked(),
        );
        assert!(times[0] >= RTT, "a reply came before another site could have said anything: {:?}", times[0]);

        let east = d.group.member("east-a").unwrap();
        let port = east.port();
        for other in ["north", "west"] {
            let keep_behind = move |h: &primacy_testbed::wan::Header| {
                if h.source.port() == port { Verdict::Drop } else { Verdict::Pass }
            };
            wan.filter("east", other, keep_behind).unwrap();
        }
        let behind = Instant::now();
        let before = load.progress().acked;
        harness::writes_go_on(&load, 100).await;
        tokio::time::sleep(BEHIND.saturating_sub(behind.elapsed())).await;
        wan.isolate("east").unwrap();
        east.kill().unwrap();
        d.cluster.node(1).unwrap().kill().unwrap();
        let fault = Instant::now();

        let primary = primary_elsewhere(&d, "east-a").await;
        eprintln!(
            "FIGURE site lost: {} is primary after {:?}",
            primary.member.as_deref().unwrap(),
            fault.elapsed()
        );
        let ledger = load.stop().await;
        let member = d.group.member(primary.member.as_deref().unwrap()).unwrap();
        let lost = ledger.lost(&RedisAddress::new(member.address())).await.unwrap();
        let all = transitions(&d, 2).await;
        let t = all.last().unwrap();
        eprintln!(
            "FIGURE site lost: {} acknowledged, {} of them while the standbys were behind, {} lost; {} {}, rescued {}, lost at most {}",
            ledger.acked(),
            ledger.acked() - before,
            lost.count(),
            t["cause"],
            t["proof"],
            t["rescued_bytes"],
            t["lost"],
        );
        assert_eq!(lost.count(), 0, "{:?}\n{t}", lost.records);
        assert!(
            t["rescued_bytes"].as_u64().unwrap() > 0,
            "the standbys were not behind, so nothing was shown: {t}"
        );
        assert!(ledger.acked() > before + 100, "nothing was written while they were");
    });
}

/// Kills both standbys: whatever a holder has then could be given to nobody.
fn kill_standbys(d: &Deployment) {
    for standby in ["north-a", "west-a"] {
        d.group.member(standby).unwrap().kill().unwrap();
    }
}

async fn restart_standbys(d: &mut Deployment) {
    for standby in ["north-a", "west-a"] {
        d.group.member_mut(standby).unwrap().restart().await.unwrap();
    }
}

async fn nothing_lost(d: &Deployment, load: Load) {
    let ledger = load.stop().await;
    let primary = d.wait_settled(PATIENCE).await.unwrap();
    let member = d.group.member(primary.member.as_deref().unwrap()).unwrap();
    let lost = ledger.lost(&RedisAddress::new(member.address())).await.unwrap();
    assert_eq!(lost.count(), 0, "{:?}", lost.records);
}

#[test]
fn another_node_holds_the_stream_and_without_any_the_gate_closes() {
    at_three_sites(async |wan, clients| {
        let mut d = start(&wan, &[]).await;
        harness::let_lead(&d, 1).await;
        wait_for_fence(&d, "a holder", |fence| fence["holder_node"].is_u64()).await;
        let load = write(&d, &clients, 8);
        harness::writes_go_on(&load, 300).await;

        let holder = d.fence().await.unwrap()["holder_node"].as_u64().unwrap();
        let fault = Instant::now();
        d.cluster.node(holder).unwrap().kill().unwrap();
        wait_for_fence(&d, "another holder", |fence| {
            fence["holder_node"].as_u64().is_some_and(|node| node != holder)
        })
        .await;
        harness::writes_go_on(&load, 300).await;
        let gap = load.ledger().longest_gap(fault..Instant::now()).length();
        eprintln!("FIGURE site: no reply for {gap:?} after the holder's node was killed");
        d.cluster.node_mut(holder).unwrap().restart(PATIENCE).await.unwrap();

        kill_standbys(&d);
        wait_for_fence(&d, "no holder", |fence| fence["holder_node"].is_null()).await;
        wait_for("the gate to close", PATIENCE, async || {
            let progress = load.progress();
            let shut = progress.last_ack.as_ref().is_none_or(|(at, _)| at.elapsed() > Duration::from_secs(5));
            ensure!(shut && progress.failures > 0, "{progress:?}");
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(d.fence().await.unwrap()["degraded"], false);
        restart_standbys(&mut d).await;
        harness::writes_go_on(&load, 300).await;
        nothing_lost(&d, load).await;
    });
}

#[test]
fn a_group_that_degrades_goes_on_without_a_holder_and_says_so() {
    at_three_sites(async |wan, clients| {
        let mut d = start(&wan, &["on_no_site = \"degrade\""]).await;
        wait_for_fence(&d, "a holder", |fence| fence["holder_node"].is_u64()).await;
        let load = write(&d, &clients, 8);
        harness::writes_go_on(&load, 300).await;
        let fault = Instant::now();
        kill_standbys(&d);
        wait_for_fence(&d, "a degraded group", |fence| fence["degraded"] == true).await;
        harness::writes_go_on(&load, 300).await;
        let gap = load.ledger().longest_gap(fault..Instant::now()).length();
        eprintln!("FIGURE site: no reply for {gap:?} after both standbys were killed, then degraded");
        let history = harness::ok(&d, &format!("status {GROUP}")).await;
        assert!(history.contains("no other site holds the stream"), "{history}");
        restart_standbys(&mut d).await;
        wait_for_fence(&d, "a holder that acknowledges", |fence| fence["degraded"] == false).await;
        harness::writes_go_on(&load, 300).await;
        nothing_lost(&d, load).await;
    });
}
