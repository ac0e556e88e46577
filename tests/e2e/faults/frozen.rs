//! SIGSTOP of the primary, of the node beside it, and of both, for longer and for less than a lease lasts.

use super::{ByGate, Scene, fence_is_whole, node_beside, options};
use crate::harness::{PATIENCE, transitions};
use primacy_testbed::{RedisAddress, wait_for};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Less than it takes to call a member silent.
const SHORT: Duration = Duration::from_millis(700);
/// More than a lease lasts near by.
const LONG: Duration = Duration::from_secs(5);

fn any_loss() -> primacy_testbed::DeploymentOptions {
    let mut options = options();
    options.group_settings = vec!["max_loss = \"any\"".to_owned()];
    options
}

/// Longer than `time`, in which `scene`'s direct clients go on.
async fn direct_writes_go_on_for(scene: &Scene, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        crate::harness::writes_go_on(&scene.direct, 100).await;
    }
}

fn check_silence(t: &Value, old: &str) {
    assert_eq!((&t["from"], &t["outcome"]), (&old.into(), &"settled".into()), "{t}");
    assert_eq!((&t["cause"], &t["proof"]), (&"silence".into(), &"expired".into()), "{t}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_frozen_for_long_follows_when_it_wakes_up() {
    let mut scene = Scene::start(any_loss()).await;
    let old = scene.primary().await;
    let fault = Instant::now();
    scene.d.group.member(&old).unwrap().freeze().unwrap();
    scene.written_elsewhere(&old).await;
    scene.writes_go_on(50).await;
    let outage = scene.outage(fault);
    scene.d.group.member(&old).unwrap().thaw().unwrap();
    let t = scene.next_transition(1).await;
    outage.print_and_check("primary frozen", &t);
    check_silence(&t, &old);
    scene.at_rest().await;
    fence_is_whole(&scene.d, 2).await;
    scene.reckon("primary frozen", ByGate::Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_frozen_for_a_moment_goes_on() {
    let mut scene = Scene::start(any_loss()).await;
    let old = scene.primary().await;
    let member = || scene.d.group.member(&old).unwrap();
    let fault = Instant::now();
    member().freeze().unwrap();
    // This is the fault: it lasts so long.
    tokio::time::sleep(SHORT).await;
    member().thaw().unwrap();
    scene.writes_go_on(200).await;
    scene.at_rest().await;
    let all = transitions(&scene.d, scene.transitions).await;
    assert_eq!(all.len(), scene.transitions, "{:?}", all.last());

    // Just found silent: what was begun against it is undone, or finished, and either loses nothing.
    let member = || scene.d.group.member(&old).unwrap();
    member().freeze().unwrap();
    tokio::time::sleep(2 * SHORT).await;
    member().thaw().unwrap();
    scene.writes_go_on(200).await;
    scene.at_rest().await;
    let outage = scene.outage(fault);
    let all = transitions(&scene.d, scene.transitions).await;
    scene.transitions = all.len();
    outage.print_and_check("primary frozen for 1.4 s", all.last().unwrap());
    fence_is_whole(&scene.d, 2).await;
    scene.reckon("primary frozen for a moment", ByGate::Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_beside_the_primary_is_frozen_alone_and_with_it() {
    let mut scene = Scene::start(any_loss()).await;
    let old = scene.primary().await;
    let node = node_beside(&scene.d, &old);
    let (refused, fault) = (scene.direct.progress().failures, Instant::now());
    scene.d.cluster.node(node).unwrap().freeze().unwrap();
    direct_writes_go_on_for(&scene, LONG).await;
    let outage = scene.outage(fault);
    eprintln!("FIGURE node beside the primary frozen: {outage:?}");
    assert!(outage.direct < Duration::from_secs(1), "{outage:?}");
    assert_eq!(scene.direct.progress().failures, refused, "{:?}", scene.direct.progress());
    scene.d.cluster.node(node).unwrap().thaw().unwrap();
    scene.writes_go_on(200).await;
    scene.at_rest().await;
    let all = transitions(&scene.d, scene.transitions).await;
    assert_eq!(all.len(), scene.transitions, "{:?}", all.last());
    fence_is_whole(&scene.d, 2).await;
    scene.nothing_lost_by_gate().await;

    let fault = Instant::now();
    scene.d.cluster.node(node).unwrap().freeze().unwrap();
    scene.d.group.member(&old).unwrap().freeze().unwrap();
    scene.written_elsewhere(&old).await;
    scene.writes_go_on(50).await;
    let outage = scene.outage(fault);
    scene.d.group.member(&old).unwrap().thaw().unwrap();
    scene.d.cluster.node(node).unwrap().thaw().unwrap();
    let t = scene.next_transition(1).await;
    outage.print_and_check("primary and the node beside it frozen", &t);
    check_silence(&t, &old);
    scene.at_rest().await;
    fence_is_whole(&scene.d, 2).await;
    scene.reckon("node beside the primary frozen, alone and with it", ByGate::WithinReport).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_is_killed_where_the_group_allows_it() {
    let mut options = any_loss();
    options.group_settings.push("may_kill = true".to_owned());
    let mut scene = Scene::start(options).await;
    let old = scene.primary().await;
    let fault = Instant::now();
    scene.d.group.member(&old).unwrap().freeze().unwrap();
    scene.written_elsewhere(&old).await;
    scene.writes_go_on(50).await;
    let outage = scene.outage(fault);
    assert!(!scene.d.group.member(&old).unwrap().process().is_running());
    scene.d.group.member_mut(&old).unwrap().restart().await.unwrap();
    let t = scene.next_transition(1).await;
    outage.print_and_check("primary frozen, may_kill", &t);
    assert_eq!((&t["cause"], &t["outcome"]), (&"silence".into(), &"settled".into()), "{t}");
    scene.at_rest().await;
    fence_is_whole(&scene.d, 2).await;
    scene.reckon("primary frozen, may_kill", ByGate::Nothing).await;
}

/// A script holds the primary up for longer than it takes to wait it out. What it writes last is acknowledged by a server
/// that is not the primary any more, or is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_five_seconds_is_waited_out_like_a_freeze() {
    const SCRIPT: &str = "local t = redis.call('TIME') local ends = t[1] + 5 \
                          repeat t = redis.call('TIME') until t[1] + t[2] / 1000000 > ends \
                          return redis.call('SET', 'script', 'done')";
    let scene = Scene::start(any_loss()).await;
    let old = scene.primary().await;
    let client = RedisAddress::new(scene.d.group.member(&old).unwrap().address());
    let mut connection = client.connect().await.unwrap();
    let fault = Instant::now();
    let script = tokio::spawn(async move {
        redis::cmd("EVAL").arg(SCRIPT).arg(0).query_async::<redis::Value>(&mut connection).await
    });
    wait_for("the script to end", PATIENCE, async || {
        anyhow::ensure!(script.is_finished(), "it runs");
        Ok(())
    })
    .await
    .unwrap();
    assert!(fault.elapsed() >= Duration::from_secs(4), "it held nobody up: {:?}", script.await);
    scene.writes_go_on(50).await;
    let all = transitions(&scene.d, scene.transitions + 1).await;
    let t = all.last().unwrap();
    scene.outage(fault).print_and_check("a script of 5 s", t);
    assert_eq!((&t["from"], &t["cause"]), (&old.into(), &"silence".into()), "{t}");
    assert!(t["outcome"] == "settled" || t["outcome"] == "rolled_back", "{t}");
    scene.at_rest().await;
    fence_is_whole(&scene.d, 2).await;
    scene.reckon("a script of 5 s", ByGate::Nothing).await;
}
