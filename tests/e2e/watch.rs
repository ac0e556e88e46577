//! Watchers see every change of primary once, in order, whatever happens to the nodes.

use crate::harness::{GROUP, PATIENCE, can_go_to, client, deployment, ok, wait_leader};
use futures::StreamExt;
use primacy_core::Event;

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_has_no_gap_and_no_repeat_across_the_death_of_nodes() {
    let mut d = deployment().await;
    let start = d.primary().await.unwrap();
    let mut watch = Box::pin(client(&d).watch(vec![GROUP.to_owned()], Some(start.revision)));
    let mut expected = Vec::new();
    for (i, to) in ["north-a", "west-a", "north-a", "east-a"].into_iter().enumerate() {
        can_go_to(&d, to).await;
        ok(&d, &format!("switchover {GROUP} --to {to}")).await;
        expected.push((to.to_owned(), d.primary().await.unwrap().epoch));
        d.wait_settled(PATIENCE).await.unwrap();
        if i < 3 {
            let leader = wait_leader(&d, None).await;
            d.cluster.node(leader).unwrap().kill().unwrap();
            d.cluster.node_mut(leader).unwrap().restart(PATIENCE).await.unwrap();
        }
    }
    let (mut seen, mut revision) = (Vec::new(), start.revision);
    while seen.len() < expected.len() {
        let item = tokio::time::timeout(PATIENCE, watch.next()).await.expect("an event").expect("no end");
        let Ok(batch) = item else { continue };
        assert!(batch.revision.0 > revision, "revision {} after {revision}", batch.revision);
        revision = batch.revision.0;
        for event in batch.events {
            if let Event::PrimaryChanged { member, epoch, .. } = event {
                seen.push((member.to_string(), epoch.0));
            }
        }
    }
    assert_eq!(seen, expected);
}
