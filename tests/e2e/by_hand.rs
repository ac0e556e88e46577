//! What waits for an operator: a group that is failed over by hand, and a loss beyond the budget.

use crate::harness::{
    GROUP, PATIENCE, at_rest, in_full_swing, last_transition, load, lost_bytes, ok, options, reckon, refused,
    wait_state, writes_go_on,
};
use primacy_testbed::{Deployment, RedisSentinel, SentinelOptions, Workdir, wait_for};

async fn deployment_with(setting: &str) -> Deployment {
    let mut options = options();
    options.group_settings = vec![setting.to_owned()];
    let d = Deployment::start_serving(options).await.unwrap();
    at_rest(&d).await;
    d
}

/// Waits until the group is blocked by the rule `code`, with a remedy.
async fn wait_blocked(d: &Deployment, code: &str) {
    wait_for(&format!("the group to be blocked by {code}"), PATIENCE, async || {
        let output = d.cli(["status", GROUP]).await?.success()?;
        anyhow::ensure!(output.stdout.contains(code), "{}", output.stdout);
        Ok(())
    })
    .await
    .unwrap();
    let primary = wait_state(d, "blocked").await;
    assert!(primary["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{primary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_is_replaced_by_hand() {
    let mut d = deployment_with("failover = \"manual\"").await;
    let load = load(&d);
    in_full_swing(&load).await;
    d.group.member("east-a").unwrap().freeze().unwrap();
    wait_blocked(&d, "manual_failover").await;
    assert_eq!(d.primary().await.unwrap().member.as_deref(), Some("east-a"), "nothing happens by itself");
    // How much is lost is not known to the byte after a freeze, so the operator says that it may be.
    ok(&d, &format!("failover {GROUP} --to west-a --allow-data-loss --reason drill")).await;
    assert_eq!(d.primary().await.unwrap().member.as_deref(), Some("west-a"));
    writes_go_on(&load, 100).await;
    d.group.member_mut("east-a").unwrap().thaw().unwrap();
    at_rest(&d).await;
    let t = last_transition(&d, 2).await;
    assert_eq!((&t["cause"], &t["reason"]), (&"operator".into(), &"drill".into()), "{t}");
    assert!(t["requested_by"].as_str().is_some_and(|by| !by.is_empty()), "{t}");
    reckon(&d, load, lost_bytes(&t)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_over_the_budget_waits_for_consent() {
    let mut d = deployment_with("max_loss = \"0 bytes\"").await;
    let load = load(&d);
    in_full_swing(&load).await;
    d.group.member("east-a").unwrap().kill().unwrap();
    wait_blocked(&d, "loss_over_budget").await;
    let said = refused(&d, &format!("failover {GROUP}"), 3).await;
    assert!(said.contains("loss_over_budget") && said.contains("--allow-data-loss"), "{said}");
    assert_eq!(d.primary().await.unwrap().member.as_deref(), Some("east-a"), "a refusal changes nothing");
    ok(&d, &format!("failover {GROUP} --allow-data-loss")).await;
    writes_go_on(&load, 100).await;
    d.group.member_mut("east-a").unwrap().restart().await.unwrap();
    at_rest(&d).await;
    let t = last_transition(&d, 2).await;
    assert!(lost_bytes(&t) > 0, "{t}");
    reckon(&d, load, lost_bytes(&t)).await;
}

/// Two failovers on one group undo each other, so the operator must hear of the other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_sentinel_at_work_is_named() {
    let d = Deployment::start_serving(options()).await.unwrap();
    at_rest(&d).await;
    let watched = |text: &str| text.contains("Redis Sentinel watches") && text.contains("east-a by 1");
    let before = ok(&d, &format!("status {GROUP}")).await;
    assert!(!watched(&before), "{before}");
    let dir = Workdir::create().unwrap();
    let address = d.group.member("east-a").unwrap().address().to_owned();
    let sentinel =
        RedisSentinel::start(SentinelOptions::new("sentinel", dir.path().join("sentinel"), GROUP, address));
    let sentinel = sentinel.await.unwrap();
    let said_so = async |expected: bool| {
        wait_for("status to follow the Sentinel", PATIENCE, async || {
            let output = d.cli(["status", GROUP]).await?.success()?;
            anyhow::ensure!(watched(&output.stdout) == expected, "{}", output.stdout);
            Ok(())
        })
        .await
        .unwrap();
    };
    said_so(true).await;
    drop(sentinel);
    said_so(false).await;
}
