//! kill -9 of the primary: alone, while it saves, and together with the node at its site.

use super::{ByGate, GROUP, SITES, Scene, far_apart, fence_is_whole, node_beside, options, over_a_wan, site};
use crate::harness::{
    PATIENCE, at_rest, crowd, lost_bytes, ok, reckon, transitions, wait_other, writes_go_on,
};
use anyhow::ensure;
use primacy_testbed::{Deployment, RedisAddress, RedisGroup, wait_for};
use serde_json::Value;
use std::time::Instant;

fn check_death(t: &Value, old: &str) {
    assert_eq!((&t["from"], &t["outcome"]), (&old.into(), &"settled".into()), "{t}");
    assert_eq!((&t["cause"], &t["proof"]), (&"death".into(), &"detached".into()), "{t}");
}

/// Has the primary save for long, by a child that holds its connections open beyond its death.
async fn begin_to_save(scene: &Scene, primary: &str) {
    let server = scene.d.group.member(primary).unwrap();
    // Half a second a key, of which there is one for each client at least. After its first key the child reports to its
    // parent, and ends where that is gone; one whose parent was killed later saves on, and holds the connections.
    let mut ours = server.connection().await.unwrap();
    let slowly = ["SET", "rdb-key-save-delay", "500000"];
    redis::cmd("CONFIG").arg(&slowly).query_async::<()>(&mut ours).await.unwrap();
    let mut client = RedisAddress::new(server.address()).connect().await.unwrap();
    redis::cmd("BGSAVE").query_async::<()>(&mut client).await.unwrap();
    wait_for("the child to save", PATIENCE, async || {
        let saving = scene.d.group.member(primary)?.info_field("rdb_bgsave_in_progress").await?;
        ensure!(saving == "1", "{saving}");
        Ok(())
    })
    .await
    .unwrap();
}

/// The connections of a primary that saved end with its child: before `down_after` or after it.
fn check_death_or_silence(t: &Value, old: &str) {
    assert_eq!((&t["from"], &t["outcome"]), (&old.into(), &"settled".into()), "{t}");
    assert!(t["cause"] == "death" || t["cause"] == "silence", "{t}");
    assert_eq!(t["proof"], "detached", "{t}");
}

/// Kills the primary, and its node with it where asked; waits for its successor; starts again what was killed.
async fn kill_primary(scene: &mut Scene, with_node: bool, what: &str, check: fn(&Value, &str)) {
    let old = scene.primary().await;
    let node = node_beside(&scene.d, &old);
    let fault = Instant::now();
    if with_node {
        scene.d.cluster.node(node).unwrap().kill().unwrap();
    }
    scene.d.group.member(&old).unwrap().kill().unwrap();
    scene.written_elsewhere(&old).await;
    scene.writes_go_on(50).await;
    let outage = scene.outage(fault);
    if with_node {
        scene.d.cluster.node_mut(node).unwrap().restart(PATIENCE).await.unwrap();
    }
    scene.d.group.member_mut(&old).unwrap().restart().await.unwrap();
    let t = scene.next_transition(1).await;
    outage.print_and_check(what, &t);
    check(&t, &old);
    scene.at_rest().await;
}

/// Back to the member that the gates' clients are nearest to.
async fn fail_back(scene: &mut Scene) {
    fence_is_whole(&scene.d, 2).await;
    ok(&scene.d, &format!("failback {GROUP}")).await;
    scene.next_transition(1).await;
    scene.at_rest().await;
    fence_is_whole(&scene.d, 2).await;
    scene.writes_go_on(200).await;
}

async fn kill_in_all_ways(mut scene: Scene, far: &str) {
    kill_primary(&mut scene, false, &format!("primary killed{far}"), check_death).await;
    fail_back(&mut scene).await;
    let primary = scene.primary().await;
    begin_to_save(&scene, &primary).await;
    let what = format!("primary killed while it saves{far}");
    kill_primary(&mut scene, false, &what, check_death_or_silence).await;
    scene.nothing_lost_by_gate().await;
    fail_back(&mut scene).await;
    let primary = scene.primary().await;
    let what = format!("primary and the node at {} killed{far}", site(&primary));
    kill_primary(&mut scene, true, &what, check_death).await;
    // The witness died with what it held.
    scene.reckon(&format!("primary killed{far}"), ByGate::WithinReport).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_killed_near_by() {
    kill_in_all_ways(Scene::start(options()).await, "").await;
}

#[test]
fn the_primary_is_killed_far_away() {
    over_a_wan(&[], async |wan| {
        kill_in_all_ways(Scene::start(far_apart(&wan)).await, ", 50 ms RTT").await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_killed_idle_and_under_two_hundred_clients() {
    let mut d = Deployment::start_serving(options()).await.unwrap();
    for clients in [0, 200] {
        at_rest(&d).await;
        let load = (clients > 0).then(|| crowd(&d, clients));
        if let Some(load) = &load {
            writes_go_on(load, 2_000).await;
        }
        let before = transitions(&d, 1).await.len();
        let old = d.primary().await.unwrap().member.unwrap();
        d.group.member(&old).unwrap().kill().unwrap();
        wait_other(&d, &old).await;
        if let Some(load) = &load {
            writes_go_on(load, 500).await;
        }
        d.group.member_mut(&old).unwrap().restart().await.unwrap();
        let all = transitions(&d, before + 1).await;
        check_death(&all[before], &old);
        at_rest(&d).await;
        if let Some(load) = load {
            reckon(&d, load, all[before..].iter().map(lost_bytes).sum()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_standby_is_killed_and_no_write_is_refused() {
    let mut scene = Scene::start(options()).await;
    let primary = scene.primary().await;
    for standby in SITES.map(RedisGroup::member_name).into_iter().filter(|member| *member != primary) {
        let (refused, fault) = (scene.direct.progress().failures, Instant::now());
        scene.d.group.member(&standby).unwrap().kill().unwrap();
        scene.writes_go_on(500).await;
        let outage = scene.outage(fault);
        assert_eq!(scene.direct.progress().failures, refused, "{standby}: {:?}", scene.direct.progress());
        eprintln!("FIGURE {standby} killed: no write for {outage:?}");
        scene.d.group.member_mut(&standby).unwrap().restart().await.unwrap();
        fence_is_whole(&scene.d, 2).await;
        scene.at_rest().await;
    }
    let all = transitions(&scene.d, scene.transitions).await;
    assert_eq!(all.len(), scene.transitions, "{:?}", all.last());
    scene.reckon("standbys killed", ByGate::Nothing).await;
}
