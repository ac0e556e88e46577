//! The leader dies at each point of a transition; the next one finishes it or rolls it back.

use crate::harness::{
    GROUP, PATIENCE, at_rest, deployment, last_transition, let_lead, load, lost_bytes, ok, reckon, run,
    transitions, wait_leader, wait_other, writes_go_on,
};
use primacy_testbed::Deployment;

const SWITCHOVER: [&str; 9] = [
    "crash_after:start_transition",
    "crash_before_action:fence",
    "crash_after_action:fence",
    "crash_after:confirm_fence",
    "crash_before_action:promote",
    "crash_after_action:promote",
    "crash_after:confirm_promotion",
    "crash_after_action:open",
    "crash_after:confirm_open",
];

const FAILOVER: [&str; 6] = [
    "crash_after:start_transition",
    "crash_before_action:promote",
    "crash_after_action:promote",
    "crash_after:confirm_promotion",
    "crash_after_action:open",
    "crash_after:confirm_open",
];

/// Restarts the leader with a fault point set, so that it is the one that leads and will die.
async fn arm(d: &mut Deployment, fault: &str) -> u64 {
    let leader = wait_leader(d, None).await;
    let node = d.cluster.node_mut(leader).unwrap();
    node.set_env(vec![("PRIMACY_FAULT".to_owned(), fault.to_owned())]);
    node.restart(PATIENCE).await.unwrap();
    // Leadership may have moved while it was away.
    let_lead(d, leader).await;
    leader
}

async fn disarm(d: &mut Deployment, node: u64) {
    let node = d.cluster.node_mut(node).unwrap();
    node.process().wait_exit(PATIENCE).await.unwrap();
    node.set_env(vec![]);
    node.restart(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_survives_the_death_of_its_leader_at_every_point() {
    let mut d = deployment().await;
    let load = load(&d);
    for (done, fault) in SWITCHOVER.into_iter().enumerate() {
        eprintln!("== {fault}");
        let leader = arm(&mut d, fault).await;
        at_rest(&d).await;
        writes_go_on(&load, 50).await;
        // The stream of progress ends with the leader; what came of it is read from the history.
        let output = run(&d, &format!("switchover {GROUP}")).await;
        assert!(matches!(output.status, Some(0 | 1 | 4 | 5)), "{fault}: {output:?}");
        disarm(&mut d, leader).await;
        at_rest(&d).await;
        writes_go_on(&load, 50).await;
        let t = last_transition(&d, done + 2).await;
        assert_eq!(t["lost"]["bytes"], 0, "{fault}: {t}");
        assert!(matches!(t["outcome"].as_str(), Some("settled" | "rolled_back")), "{fault}: {t}");
    }
    reckon(&d, load, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_survives_the_death_of_its_leader_at_every_point() {
    let mut d = deployment().await;
    let load = load(&d);
    for fault in FAILOVER {
        eprintln!("== {fault}");
        let leader = arm(&mut d, fault).await;
        at_rest(&d).await;
        writes_go_on(&load, 50).await;
        let old = d.primary().await.unwrap().member.unwrap();
        d.group.member(&old).unwrap().kill().unwrap();
        d.cluster.node(leader).unwrap().process().wait_exit(PATIENCE).await.unwrap();
        wait_other(&d, &old).await;
        writes_go_on(&load, 50).await;
        d.group.member_mut(&old).unwrap().restart().await.unwrap();
        disarm(&mut d, leader).await;
        at_rest(&d).await;
    }
    let reported = transitions(&d, 1 + FAILOVER.len()).await.iter().map(lost_bytes).sum();
    reckon(&d, load, reported).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_up_late_changes_nothing() {
    let mut d = deployment().await;
    let load = load(&d);
    let leader = arm(&mut d, "freeze_before_action:open").await;
    at_rest(&d).await;
    writes_go_on(&load, 50).await;
    let cli = d.cluster.cli();
    let asked = tokio::spawn(async move { cli.run(["switchover", GROUP]).await });
    // The leader stops before it opens the new primary; its successor opens it and the group moves on.
    wait_leader(&d, Some(leader)).await;
    at_rest(&d).await;
    writes_go_on(&load, 50).await;
    ok(&d, &format!("switchover {GROUP}")).await;
    writes_go_on(&load, 50).await;
    let before = d.primary().await.unwrap();
    d.cluster.node(leader).unwrap().thaw().unwrap();
    let _ = asked.await.unwrap();
    d.cluster.node(leader).unwrap().wait_ready(PATIENCE).await.unwrap();
    writes_go_on(&load, 200).await;
    let after = d.primary().await.unwrap();
    let history = transitions(&d, 3).await;
    assert_eq!((before.member, before.epoch), (after.member, after.epoch), "{:#?}", history.last());
    reckon(&d, load, 0).await;
}
