//! Planned: nothing is lost, and what cannot be done is rolled back.

use crate::harness::{
    GROUP, deployment, last_transition, load, ok, reckon, refused, wait_state, writes_go_on,
};

#[tokio::test(flavor = "multi_thread")]
async fn switchovers_under_load_lose_nothing() {
    let d = deployment().await;
    let load = load(&d);
    writes_go_on(&load, 200).await;
    ok(&d, &format!("switchover {GROUP} --to north-a --dry-run")).await;
    assert_eq!(d.primary().await.unwrap().member.as_deref(), Some("east-a"), "a dry run changes nothing");
    for to in ["north-a", "west-a"] {
        let said = ok(&d, &format!("switchover {GROUP} --to {to}")).await;
        assert!(said.contains("0 lost"), "{said}");
        writes_go_on(&load, 200).await;
    }
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
