//! Three nodes in one process with real Redis servers: first primary, failover by kill -9, the way back, switchover,
//! failback, a node that leaves, and what the services answer meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use primacy_testbed::wait_for;
use primacy_wire::v1::Cause::{Death, Failback, Initial, Operator};
use primacy_wire::v1::transition_progress::News;
use primacy_wire::{Refusal, v1};
use std::time::{Duration, Instant};
use support::{Deployment, GROUP, SITES, consistency_of, watch_from};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_group_lives_through_failover_switchover_and_failback() {
    let mut d = Deployment::start().await;
    d.apply().await;
    let first = d.wait_serving("east-a").await;
    assert_eq!(first.site.as_deref(), Some("east"));
    d.group.wait_replicating("east-a", DEADLINE).await.unwrap();
    d.wait_settled().await;
    let mut watch = watch_from(&d, first.revision).await;

    // A killed primary is replaced.
    d.group.member("east-a").unwrap().kill().unwrap();
    let killed = Instant::now();
    let second = d.wait_other_than("east-a").await;
    tracing::info!(after = ?killed.elapsed(), "failover");
    assert!(second.epoch > first.epoch);

    // It comes back under the new one.
    d.group.member_mut("east-a").unwrap().restart().await.unwrap();
    let primary = second.member.clone().unwrap();
    d.group.wait_replicating(&primary, DEADLINE).await.unwrap();
    d.wait_settled().await;

    // A switchover tells its checks and phases, and ends settled.
    let other = if primary == "west-a" { "north-a" } else { "west-a" };
    let news = d.switchover(Some(other), false).await.unwrap();
    let words: Vec<&str> = news.iter().map(word).collect();
    assert_eq!(
        words,
        ["checks", "started", "phase", "phase", "phase", "phase", "phase", "ended"],
        "fence, rescue, promote, redirect, settle: {news:?}"
    );
    let Some(News::Ended(ended)) = news.last() else { panic!("it did not end: {news:?}") };
    assert_eq!(ended.outcome(), v1::TransitionOutcome::Settled);
    assert!(matches!(ended.lost.unwrap().amount, Some(v1::loss::Amount::ExactBytes(0))), "{:?}", ended.lost);
    d.wait_serving(other).await;

    // Back to the preferred member.
    d.group.wait_replicating(other, DEADLINE).await.unwrap();
    d.switchover(None, true).await.unwrap();
    let back = d.wait_serving("east-a").await;

    // The watch saw every change, in order, each revision once.
    let seen = watch.until(back.epoch, DEADLINE).await;
    assert_eq!(seen.primaries, [primary.as_str(), other, "east-a"]);
    assert!(seen.revisions.is_sorted_by(|a, b| a < b), "{:?}", seen.revisions);

    let history = d.history().await;
    let causes: Vec<v1::Cause> = history.iter().map(v1::Transition::cause).collect();
    assert_eq!(causes, [Initial, Death, Operator, Failback]);
    d.stop().await;
}

fn word(news: &News) -> &'static str {
    match news {
        News::Checks(_) => "checks",
        News::Started(_) => "started",
        News::Phase(_) => "phase",
        News::Ended(_) => "ended",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn operators_are_answered_and_refused_with_reasons() {
    let d = Deployment::start().await;

    // What cannot work changes nothing and says why.
    let bad = d.groups_toml().replace("site = \"north\"", "site = \"moon\"");
    let answer = d.apply_text(&bad, false).await.unwrap();
    assert_eq!(answer.problems[0].key, "redis.features.member.north-a.site");
    assert_eq!(answer.problems[0].reason, "no node is at site moon");
    let dead = d.groups_toml().replace(d.group.member("north-a").unwrap().address(), "127.0.0.1:9");
    let answer = d.apply_text(&dead, false).await.unwrap();
    assert_eq!(answer.problems.len(), 1, "{:?}", answer.problems);
    assert_eq!(answer.problems[0].key, "redis.features.member.north-a.address");
    let dry = d.apply_text(&d.groups_toml(), true).await.unwrap();
    assert_eq!((dry.problems.len(), dry.changes[0].kind()), (0, v1::ChangeKind::Created));
    assert_eq!(d.list().await.groups.len(), 0, "nothing was changed so far");

    let refused = d.admin(0).await.pause(pause("nothing")).await.unwrap_err();
    assert!(matches!(Refusal::from_status(&refused), Some(Refusal::NotFound { .. })), "{refused:?}");

    d.apply().await;
    d.wait_serving("east-a").await;
    d.wait_settled().await;
    let again = d.apply_text(&d.groups_toml(), false).await.unwrap();
    assert_eq!(again.changes[0].kind(), v1::ChangeKind::Unchanged);

    // A dry run changes nothing, a wish that a rule forbids names the rule.
    let before = d.primary(0, v1::Consistency::Linearizable).await.unwrap();
    let news = d.dry_switchover("west-a").await.unwrap();
    assert!(
        matches!(news.as_slice(), [News::Checks(checks)] if checks.checks.iter().all(|c| c.passed)),
        "{news:?}"
    );
    let refused = d.switchover(Some("east-a"), false).await.unwrap_err();
    let refusal = Refusal::from_status(&refused);
    assert!(matches!(&refusal, Some(Refusal::Rule { code, .. }) if code == "already_primary"), "{refusal:?}");
    let after = d.primary(0, v1::Consistency::Linearizable).await.unwrap();
    assert_eq!((before.epoch, before.member), (after.epoch, after.member));

    // Any node answers, at each consistency.
    for node in 0..SITES.len() {
        for consistency in [v1::Consistency::Linearizable, v1::Consistency::Lease, v1::Consistency::Local] {
            let answer = d.primary(node, consistency).await.unwrap();
            assert_eq!(answer.member.as_deref(), Some("east-a"));
            assert_eq!(consistency_of(&answer), consistency);
        }
        let status = d.status(node).await;
        assert!(status.cluster.unwrap().leader.is_some());
        assert_eq!(status.groups[0].members.len(), 3);
        assert!(status.groups[0].members.iter().all(|m| m.reachable_from.len() == 3), "{:?}", status.groups);
    }

    // Paused: nothing automatic happens; resumed: it does.
    d.admin(1).await.pause(pause(GROUP)).await.unwrap();
    assert_eq!(d.primary(2, v1::Consistency::Linearizable).await.unwrap().state(), v1::GroupState::Paused);
    d.group.member("east-a").unwrap().kill().unwrap();
    wait_for("the death to be seen", DEADLINE, async || {
        let status = d.status(0).await;
        let health = status.groups[0].members[0].health.clone();
        anyhow::ensure!(health == "dead", "{health}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(d.primary(0, v1::Consistency::Linearizable).await.unwrap().member.as_deref(), Some("east-a"));
    let resume = v1::ResumeRequest { group: GROUP.into(), requested_by: "test".into() };
    d.admin(2).await.resume(resume).await.unwrap();
    d.wait_other_than("east-a").await;
    d.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_that_is_asked_for_ahead_comes_with_the_promotion() {
    const WAIT: Duration = Duration::from_secs(1);
    let d = Deployment::start().await;
    d.apply_text(&d.group.toml(&["max_loss = \"any\"".to_owned()]), false).await.unwrap();
    let first = d.wait_serving("east-a").await;
    d.group.wait_replicating("east-a", DEADLINE).await.unwrap();
    d.wait_settled().await;

    // Nothing proves the silence of a primary that needs nobody.
    wait_for("the fence", DEADLINE, async || {
        let fence = d.status(0).await.groups[0].fence.clone();
        anyhow::ensure!(fence.as_ref().is_some_and(|f| f.min_replicas == 2), "{fence:?}");
        Ok(())
    })
    .await
    .unwrap();
    // It takes seconds to wait a frozen primary out.
    d.group.member("east-a").unwrap().freeze().unwrap();
    let epoch = wait_for("the intent", DEADLINE, async || {
        let epoch = d.status(0).await.groups[0].epoch;
        anyhow::ensure!(epoch > first.epoch, "none yet");
        Ok(epoch)
    })
    .await
    .unwrap();
    assert!(d.renew(epoch, Duration::ZERO).await.is_empty(), "nobody is promoted yet");
    assert!(d.renew(first.epoch, WAIT).await.is_empty(), "never after the intent");

    let mut asked = FuturesUnordered::new();
    let (mut ahead, mut early, mut newest) = (0, 0, Instant::now());
    loop {
        tokio::select! {
            Some(grants) = asked.next() => {
                let grants: Vec<v1::LeaseGrant> = grants;
                if let [grant] = grants.as_slice() {
                    assert_eq!(grant.epoch, epoch);
                    break;
                }
                early += 1;
            }
            () = tokio::time::sleep(WAIT / 4) => {
                let now = d.primary(0, v1::Consistency::Linearizable).await.unwrap();
                assert!(now.epoch < epoch || !asked.is_empty(), "promoted, and nobody was told");
                if now.epoch < epoch {
                    asked.push(d.renew(epoch, WAIT));
                    (ahead, newest) = (ahead + 1, Instant::now());
                }
            }
        }
    }
    assert!(ahead > 0 && early < ahead, "{early} of {ahead} were answered before the promotion");
    // Those that were asked last are not kept for as long as they would wait.
    while let Some(grants) = asked.next().await {
        assert_eq!(grants.len(), 1);
    }
    assert!(newest.elapsed() < WAIT, "{:?}", newest.elapsed());
    drop(asked);
    d.stop().await;
}

fn pause(group: &str) -> v1::PauseRequest {
    v1::PauseRequest { group: group.into(), reason: Some("maintenance".into()), requested_by: "test".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_that_leaves_hands_over_and_a_failover_still_works() {
    let mut d = Deployment::start().await;
    d.apply().await;
    d.wait_serving("east-a").await;
    d.wait_settled().await;
    d.stop_leader().await;
    d.wait_serving("east-a").await;
    d.group.member("east-a").unwrap().kill().unwrap();
    let killed = Instant::now();
    d.wait_other_than("east-a").await;
    tracing::info!(after = ?killed.elapsed(), "failover with two nodes");
    d.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn http_answers_for_load_balancers_and_probes() {
    let d = Deployment::start().await;
    wait_for("a healthy node", DEADLINE, async || {
        let (code, body) = d.http(0, "/healthz").await;
        anyhow::ensure!(code == 200, "{code} {body}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(d.http(0, "/primary/features").await.0, 404);
    d.apply().await;
    d.wait_serving("east-a").await;
    d.wait_settled().await;
    let (code, body) = wait_for("the primary over HTTP", DEADLINE, async || {
        let (code, body) = d.http(1, "/primary/features").await;
        anyhow::ensure!(code == 200, "{code} {body}");
        Ok((code, body))
    })
    .await
    .unwrap();
    assert_eq!(code, 200);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((body["member"].as_str(), body["state"].as_str()), (Some("east-a"), Some("serving")));
    assert_eq!(d.http(1, "/primary/features?member=west-a").await.0, 503);
    assert_eq!(d.http(1, "/primary/features?member=east-a").await.0, 200);
    assert_eq!(d.http(1, "/standby/features?member=west-a").await.0, 200);
    assert_eq!(d.http(1, "/standby/features?member=east-a").await.0, 503);
    assert_eq!(d.http(1, "/readyz").await.0, 200);
    let (code, metrics) = d.http(0, "/metrics").await;
    assert_eq!(code, 200);
    for name in ["primacy_groups{state=\"serving\"} 1", "primacy_build_info", "primacy_transitions_total"] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    let (code, status) = d.http(2, "/v1/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, status["groups"][0]["primary"].as_str()), (200, Some("east-a")));
    d.stop().await;
}
