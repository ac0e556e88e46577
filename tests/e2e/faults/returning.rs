//! Old primaries that come back early, and new ones that die early.

use super::{ByGate, Scene, fence_is_whole, options};
use crate::harness::{PATIENCE, transitions};
use anyhow::bail;
use primacy_testbed::wait_for;
use std::time::Instant;

/// A supervisor starts it again at once, and it has lost its data.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_a_supervisor_restarts_empty_wipes_nobody() {
    let mut scene = Scene::start(options()).await;
    let old = scene.primary().await;
    let fault = Instant::now();
    scene.d.group.member_mut(&old).unwrap().restart().await.unwrap();
    let restarted = fault.elapsed();
    scene.writes_go_on(200).await;
    let outage = scene.outage(fault);
    let t = scene.next_transition(1).await;
    outage.print_and_check(&format!("primary restarted empty within {restarted:?}"), &t);
    assert_eq!(
        (&t["from"], &t["cause"], &t["outcome"]),
        (&old.as_str().into(), &"death".into(), &"settled".into()),
        "{t}"
    );
    scene.at_rest().await;
    fence_is_whole(&scene.d, 2).await;
    scene.reckon("primary restarted empty", ByGate::Nothing).await;
}

/// Kills the first member that is found promoted; returns its name.
async fn kill_whoever_is_promoted(scene: &Scene, old: &str) -> String {
    wait_for("a member to be promoted", PATIENCE, async || {
        for server in scene.d.group.servers().filter(|server| server.name() != old) {
            if server.info_field("role").await? == "master" {
                server.kill()?;
                return Ok(server.name().to_owned());
            }
        }
        bail!("all follow")
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_primary_is_killed_before_it_is_settled() {
    let mut scene = Scene::start(options()).await;
    let old = scene.primary().await;
    let fault = Instant::now();
    scene.d.group.member(&old).unwrap().kill().unwrap();
    let second = kill_whoever_is_promoted(&scene, &old).await;
    scene.written_at_the_third(fault, [&old, &second]).await;
    scene.writes_go_on(50).await;
    let outage = scene.outage(fault);
    for member in [&old, &second] {
        scene.d.group.member_mut(member).unwrap().restart().await.unwrap();
    }
    scene.at_rest().await;
    let all = transitions(&scene.d, scene.transitions + 1).await;
    scene.transitions = all.len();
    outage.print_and_check("new primary killed in Redirect", all.last().unwrap());
    fence_is_whole(&scene.d, 2).await;
    scene.reckon("new primary killed in Redirect", ByGate::Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_primary_is_back_during_the_next_failover() {
    let mut scene = Scene::start(options()).await;
    let old = scene.primary().await;
    scene.d.group.member(&old).unwrap().kill().unwrap();
    let second = scene.written_elsewhere(&old).await;
    scene.writes_go_on(50).await;
    fence_is_whole(&scene.d, 1).await;
    let fault = Instant::now();
    scene.d.group.member(&second).unwrap().kill().unwrap();
    scene.d.group.member_mut(&old).unwrap().restart().await.unwrap();
    scene.written_elsewhere(&second).await;
    scene.writes_go_on(50).await;
    let outage = scene.outage(fault);
    scene.d.group.member_mut(&second).unwrap().restart().await.unwrap();
    scene.at_rest().await;
    let t = scene.next_transition(2).await;
    outage.print_and_check("old primary back during the next failover", &t);
    fence_is_whole(&scene.d, 2).await;
    scene.reckon("old primary back during the next failover", ByGate::Nothing).await;
}
