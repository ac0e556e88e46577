//! The candidate's site is cut off while it takes over: at its beginning, in each later phase, and just after.

use super::{ByGate, GROUP, Scene, far_apart, fence_is_whole, over_a_wan, site};
use crate::harness::{PATIENCE, transitions};
use anyhow::anyhow;
use primacy_testbed::{Wan, wait_for};
use serde_json::Value;
use std::time::{Duration, Instant};

/// After somebody was chosen. From the intent to the open door go about 250 ms at these distances.
const AFTER: [Duration; 3] = [Duration::ZERO, Duration::from_millis(160), Duration::from_millis(400)];

/// Who is taking over from `old`, or has.
async fn chosen(scene: &Scene, old: &str) -> String {
    wait_for("a candidate", PATIENCE, async || {
        let status: Value = scene.d.cli(["status", GROUP, "-o", "json"]).await?.success()?.json()?;
        let group = &status["groups"][0];
        let to = group["transition"]["to"].as_str().or(group["primary"]["member"].as_str());
        to.filter(|member| *member != old).map(str::to_owned).ok_or_else(|| anyhow!("{group}"))
    })
    .await
    .unwrap()
}

async fn cut_candidate_off(scene: &mut Scene, wan: &Wan, after: Duration) {
    let old = scene.primary().await;
    let fault = Instant::now();
    scene.d.group.member(&old).unwrap().kill().unwrap();
    let candidate = chosen(scene, &old).await;
    // This is the fault: it comes so long after the choice.
    tokio::time::sleep(after).await;
    wan.isolate(site(&candidate)).unwrap();
    let cut = Instant::now();
    scene.written_at_the_third(cut, [&old, &candidate]).await;
    scene.writes_go_on(50).await;
    let outage = scene.outage(fault);
    wan.heal_all();
    scene.d.group.member_mut(&old).unwrap().restart().await.unwrap();
    scene.at_rest().await;
    let all = transitions(&scene.d, scene.transitions + 1).await;
    scene.transitions = all.len();
    let what = format!("candidate's site cut off {after:?} after it was chosen");
    outage.print_and_check(&what, all.last().unwrap());
    fence_is_whole(&scene.d, 2).await;
    scene.writes_go_on(200).await;
}

#[test]
fn the_candidates_site_is_cut_off_during_each_phase() {
    over_a_wan(&[], async |wan| {
        let mut scene = Scene::start(far_apart(&wan)).await;
        for after in AFTER {
            cut_candidate_off(&mut scene, &wan, after).await;
        }
        scene.reckon("candidate's site cut off", ByGate::WithinReport).await;
    });
}
