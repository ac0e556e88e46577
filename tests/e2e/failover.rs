//! Unplanned: the primary is killed, frozen, or killed twice over.

use crate::harness::{
    GROUP, PATIENCE, at_rest, deployment, in_full_swing, last_transition, let_lead, load, lost_bytes, ok,
    options, reckon, refused, transitions, wait_leader, wait_other, wait_state, writes_go_on,
};
use primacy_testbed::Deployment;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_is_replaced_and_comes_back_as_a_replica() {
    let mut d = deployment().await;
    let load = load(&d);
    in_full_swing(&load).await;

    d.group.member("east-a").unwrap().kill().unwrap();
    let new = wait_other(&d, "east-a").await;
    writes_go_on(&load, 200).await;
    d.group.member_mut("east-a").unwrap().restart().await.unwrap();
    d.wait_settled(PATIENCE).await.unwrap();

    let t = last_transition(&d, 2).await;
    assert_eq!((&t["cause"], &t["outcome"]), (&"death".into(), &"settled".into()), "{t}");
    assert_eq!((&t["from"], &t["to"]), (&"east-a".into(), &new.as_str().into()), "{t}");
    assert!(!t["evidence"].as_array().unwrap().is_empty(), "{t}");
    let phases: Vec<_> =
        t["phases"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(phases, ["fence", "rescue", "promote", "redirect", "settle"], "{t}");
    assert!(t["outage_ms"].as_f64().unwrap() > 0.0, "{t}");
    reckon(&d, load, lost_bytes(&t)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_is_waited_out() {
    let mut options = options();
    // It may have answered until it noticed that it was alone, for all that can be known.
    options.group_settings = vec!["max_loss = \"any\"".to_owned()];
    let d = Deployment::start_serving(options).await.unwrap();
    at_rest(&d).await;
    let load = load(&d);
    in_full_swing(&load).await;

    d.group.member("east-a").unwrap().freeze().unwrap();
    wait_other(&d, "east-a").await;
    writes_go_on(&load, 100).await;

    // It wakes up, is shut, and follows.
    d.group.member("east-a").unwrap().thaw().unwrap();
    d.wait_settled(PATIENCE).await.unwrap();
    let t = last_transition(&d, 2).await;
    assert_eq!((&t["cause"], &t["proof"]), (&"silence".into(), &"expired".into()), "{t}");
    assert!(t["proof_evidence"].to_string().contains("taken away"), "{t}");
    reckon(&d, load, lost_bytes(&t)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_cannot_be_waited_out_blocks_the_group_until_it_is_killed() {
    let mut d = deployment().await;
    let load = load(&d);
    in_full_swing(&load).await;

    // With nobody there to be taken away from it, nothing proves that the primary is shut.
    for standby in ["north-a", "west-a"] {
        d.group.member(standby).unwrap().freeze().unwrap();
    }
    d.group.member("east-a").unwrap().freeze().unwrap();
    let blocked = wait_state(&d, "blocked").await;
    assert!(blocked["reason"].as_str().unwrap().contains("nothing proves"), "{blocked}");
    let status = ok(&d, &format!("status {GROUP}")).await;
    assert!(status.contains("kill -9"), "the remedy is missing: {status}");
    let said = refused(&d, &format!("failover {GROUP}"), 3).await;
    assert!(said.contains("fence_unproven"), "{said}");

    // All wake up, and it serves as before.
    for member in ["north-a", "west-a", "east-a"] {
        d.group.member(member).unwrap().thaw().unwrap();
    }
    wait_state(&d, "serving").await;
    writes_go_on(&load, 100).await;
    at_rest(&d).await;

    d.group.member("east-a").unwrap().kill().unwrap();
    wait_other(&d, "east-a").await;
    writes_go_on(&load, 100).await;
    d.group.member_mut("east-a").unwrap().restart().await.unwrap();
    d.wait_settled(PATIENCE).await.unwrap();
    let t = last_transition(&d, 2).await;
    reckon(&d, load, lost_bytes(&t)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_failovers_with_the_first_primary_back_in_between() {
    let mut d = deployment().await;
    let load = load(&d);
    in_full_swing(&load).await;

    d.group.member("east-a").unwrap().kill().unwrap();
    let second = wait_other(&d, "east-a").await;
    writes_go_on(&load, 50).await;
    d.group.member_mut("east-a").unwrap().restart().await.unwrap();
    // Not waited for: it may or may not have completed its link when the second one dies.
    d.group.member(&second).unwrap().kill().unwrap();
    wait_other(&d, &second).await;
    writes_go_on(&load, 50).await;
    d.group.member_mut(&second).unwrap().restart().await.unwrap();
    d.wait_settled(PATIENCE).await.unwrap();

    let reported = transitions(&d, 3).await.iter().map(lost_bytes).sum();
    reckon(&d, load, reported).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_automatic_happens_to_a_paused_group() {
    let d = deployment().await;
    let load = load(&d);
    in_full_swing(&load).await;
    ok(&d, &format!("pause {GROUP} --reason disks")).await;
    d.group.member("east-a").unwrap().kill().unwrap();
    primacy_testbed::wait_for("every site to find it dead", PATIENCE, async || {
        let output = d.cli(["status", GROUP, "-o", "json"]).await?.success()?;
        anyhow::ensure!(output.stdout.contains("\"dead\""), "{}", output.stdout);
        anyhow::ensure!(output.stdout.contains("\"paused\""), "{}", output.stdout);
        Ok(())
    })
    .await
    .unwrap();
    let primary = d.primary().await.unwrap();
    assert_eq!((primary.member.as_deref(), primary.state.as_str()), (Some("east-a"), "paused"));

    ok(&d, &format!("resume {GROUP}")).await;
    wait_other(&d, "east-a").await;
    writes_go_on(&load, 100).await;
    let mut d = d;
    d.group.member_mut("east-a").unwrap().restart().await.unwrap();
    d.wait_settled(PATIENCE).await.unwrap();
    let t = last_transition(&d, 2).await;
    reckon(&d, load, lost_bytes(&t)).await;
}

/// The primary and the node that leads are at one site, and it is lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_and_the_primary_die_together() {
    let mut d = deployment().await;
    at_rest(&d).await;
    let_lead(&d, 1).await;
    let load = load(&d);
    in_full_swing(&load).await;
    assert_eq!(wait_leader(&d, None).await, 1);
    d.cluster.node(1).unwrap().kill().unwrap();
    d.group.member("east-a").unwrap().kill().unwrap();
    wait_other(&d, "east-a").await;
    writes_go_on(&load, 200).await;
    d.group.member_mut("east-a").unwrap().restart().await.unwrap();
    d.cluster.node_mut(1).unwrap().restart(PATIENCE).await.unwrap();
    at_rest(&d).await;
    let t = last_transition(&d, 2).await;
    reckon(&d, load, lost_bytes(&t)).await;
}
