//! Planned: nothing is lost, and what cannot be done is rolled back.

use crate::harness::{
    GROUP, PATIENCE, at_rest, can_go_to, deployment, last_transition, load, ok, reckon, refused, wait_state,
    writes_go_on,
};
use primacy_testbed::{Deployment, RedisAddress, wait_for};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn switchovers_under_load_lose_nothing() {
    let d = deployment().await;
    let load = load(&d);
    writes_go_on(&load, 200).await;
    can_go_to(&d, "north-a").await;
    assert_eq!(d.primary().await.unwrap().member.as_deref(), Some("east-a"), "a dry run changes nothing");
    for to in ["north-a", "west-a"] {
        can_go_to(&d, to).await;
        let said = ok(&d, &format!("switchover {GROUP} --to {to}")).await;
        assert!(said.contains("0 lost"), "{said}");
        writes_go_on(&load, 200).await;
    }
    can_go_to(&d, "east-a").await;
    ok(&d, &format!("failback {GROUP}")).await;
    assert_eq!(d.primary().await.unwrap().member.as_deref(), Some("east-a"));
    writes_go_on(&load, 200).await;
    let t = last_transition(&d, 4).await;
    assert_eq!((&t["cause"], &t["lost"]["exact"]), (&"failback".into(), &true.into()), "{t}");
    let ledger = reckon(&d, load, 0).await;
    for member in ["north-a", "west-a"] {
        assert!(ledger.acks().any(|a| a.member == member), "no writer followed to {member}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_to_a_member_that_stops_answering_is_rolled_back() {
    let d = deployment().await;
    let load = load(&d);
    writes_go_on(&load, 100).await;
    // Frozen this very moment: the checks may still find it well, or not any more.
    d.group.member("north-a").unwrap().freeze().unwrap();
    let output = crate::harness::run(&d, &format!("switchover {GROUP} --to north-a")).await;
    assert!(matches!(output.status, Some(1 | 3)), "{output:?}");
    let primary = wait_state(&d, "serving").await;
    assert_eq!(primary["member"], "east-a");
    writes_go_on(&load, 100).await;
    let said = refused(&d, &format!("switchover {GROUP} --to north-a"), 3).await;
    assert!(said.contains("north-a"), "{said}");
    d.group.member("north-a").unwrap().thaw().unwrap();
    reckon(&d, load, 0).await;
}

/// A member as applications reach it: not as Primacy's own user.
fn as_client(d: &Deployment, member: &str) -> RedisAddress {
    RedisAddress::new(d.group.member(member).unwrap().address())
}

/// How many full copies the members have served: each is a resync that was not partial.
async fn full_copies(d: &Deployment) -> u64 {
    let mut copies = 0;
    for server in d.group.servers() {
        copies += server.info_field("sync_full").await.unwrap().parse::<u64>().unwrap();
    }
    copies
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_expire_and_a_slow_script_do_not_disturb_a_switchover() {
    let d = deployment().await;
    at_rest(&d).await;
    let load = load(&d);
    writes_go_on(&load, 200).await;
    let before = full_copies(&d).await;

    // Thousands of keys expire while the door is shut: each would move the end that the candidate must reach.
    let mut east = as_client(&d, "east-a").connect().await.unwrap();
    let mut volatile = redis::pipe();
    for n in 0..20_000 {
        volatile.cmd("SET").arg(format!("volatile:{n}")).arg(n).arg("PX").arg(50 + n / 10).ignore();
    }
    let () = volatile.query_async(&mut east).await.unwrap();
    let said = ok(&d, &format!("switchover {GROUP} --to north-a")).await;
    assert!(said.contains("0 lost"), "{said}");
    writes_go_on(&load, 200).await;

    // A script that began before the fence goes on writing until it ends; what it wrote is there.
    let north = as_client(&d, "north-a");
    let script = tokio::spawn(async move {
        let mut connection = north.connect().await?;
        let slow = "local n = 0 local t = redis.call('TIME') local ends = t[1] * 1000000 + t[2] + 700000 \
                    repeat n = n + 1 redis.call('SET', 'script', n) t = redis.call('TIME') \
                    until t[1] * 1000000 + t[2] > ends return n";
        redis::cmd("EVAL")
            .arg(slow)
            .arg(0)
            .query_async::<u64>(&mut connection)
            .await
            .map_err(anyhow::Error::from)
    });
    wait_for("the script to hold the server up", PATIENCE, async || {
        let asked = tokio::time::timeout(Duration::from_millis(50), d.group.member("north-a")?.info()).await;
        anyhow::ensure!(asked.is_err() || script.is_finished(), "it still answers");
        Ok(())
    })
    .await
    .unwrap();
    let said = ok(&d, &format!("switchover {GROUP} --to west-a")).await;
    assert!(said.contains("0 lost"), "{said}");
    let written = script.await.unwrap().unwrap();
    let mut west = as_client(&d, "west-a").connect().await.unwrap();
    let found: u64 = redis::cmd("GET").arg("script").query_async(&mut west).await.unwrap();
    assert_eq!(found, written, "the script was told that it had written what is not there");
    writes_go_on(&load, 200).await;
    at_rest(&d).await;
    assert_eq!(full_copies(&d).await, before, "somebody needed a full copy");
    reckon(&d, load, 0).await;
}
