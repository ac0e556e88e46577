//! Sites that do not reach each other. The test itself reaches them all, and so do its clients.

use super::{
    ByGate, OUTAGE_MAX, Outage, SITES, Scene, far_apart, fence_is_whole, node_at, node_beside, over_a_wan,
    site,
};
use crate::harness::{let_lead, transitions};
use primacy_testbed::Wan;
use serde_json::Value;
use std::time::{Duration, Instant};

/// The primary was waited out, and nobody had to help.
fn check_waited_out(t: &Value, old: &str) {
    assert_eq!((&t["from"], &t["outcome"]), (&old.into(), &"settled".into()), "{t}");
    assert_eq!((&t["cause"], &t["proof"]), (&"silence".into(), &"expired".into()), "{t}");
    assert!(!t["proof_evidence"].as_array().unwrap().is_empty(), "{t}");
}

/// Cuts the primary's site off, waits for its successor, and heals.
pub(super) async fn isolate_primary(scene: &mut Scene, wan: &Wan, what: &str) {
    let old = scene.primary().await;
    let fault = Instant::now();
    wan.isolate(site(&old)).unwrap();
    scene.written_elsewhere(&old).await;
    scene.writes_go_on(50).await;
    let outage = scene.outage(fault);
    wan.heal_all();
    let t = scene.next_transition(1).await;
    outage.print_and_check(what, &t);
    check_waited_out(&t, &old);
    scene.at_rest().await;
}

#[test]
fn the_primarys_site_is_cut_off_with_and_without_the_leader() {
    over_a_wan(&[], async |wan| {
        let mut scene = Scene::start(far_apart(&wan)).await;
        let_lead(&scene.d, 2).await;
        isolate_primary(&mut scene, &wan, "primary's site cut off").await;

        fence_is_whole(&scene.d, 2).await;
        let primary = scene.primary().await;
        let_lead(&scene.d, node_beside(&scene.d, &primary)).await;
        isolate_primary(&mut scene, &wan, "primary's and leader's site cut off").await;
        scene.reckon("primary's site cut off", ByGate::WithinReport).await;
    });
}

#[test]
fn the_primarys_site_hears_and_is_not_heard_and_the_other_way_round() {
    over_a_wan(&[], async |wan| {
        let mut scene = Scene::start(far_apart(&wan)).await;
        for (outwards, what) in
            [(true, "nothing leaves the primary's site"), (false, "nothing reaches the primary's site")]
        {
            let old = scene.primary().await;
            let fault = Instant::now();
            for other in SITES.into_iter().filter(|other| *other != site(&old)) {
                let (from, to) = if outwards { (site(&old), other) } else { (other, site(&old)) };
                wan.cut_one_way(from, to).unwrap();
            }
            scene.written_elsewhere(&old).await;
            scene.writes_go_on(50).await;
            let outage = scene.outage(fault);
            wan.heal_all();
            let t = scene.next_transition(1).await;
            outage.print_and_check(what, &t);
            check_waited_out(&t, &old);
            scene.at_rest().await;
            fence_is_whole(&scene.d, 2).await;
        }
        scene.reckon("one-way cuts", ByGate::WithinReport).await;
    });
}

/// Which node leads while the primary's site and another do not reach each other.
#[derive(Clone, Copy, Debug)]
enum Leads {
    /// The one beside the primary.
    Beside,
    /// The one that reaches both.
    Between,
    /// The one that does not reach the primary.
    Beyond,
}

/// Cuts the link between the primary's site and the first of the two others for `time`; returns what was not written.
async fn cut_one_link(scene: &mut Scene, wan: &Wan, leads: Leads, time: Duration) -> Outage {
    let primary = scene.primary().await;
    let others: Vec<&str> = SITES.into_iter().filter(|name| *name != site(&primary)).collect();
    let (beyond, between) = (others[0], others[1]);
    let leader = match leads {
        Leads::Beside => site(&primary),
        Leads::Between => between,
        Leads::Beyond => beyond,
    };
    let_lead(&scene.d, node_at(&scene.d, leader)).await;
    fence_is_whole(&scene.d, 2).await;
    let fault = Instant::now();
    wan.cut(site(&primary), beyond).unwrap();
    while fault.elapsed() < time {
        scene.writes_go_on(100).await;
    }
    let outage = scene.outage(fault);
    wan.heal_all();
    scene.at_rest().await;
    outage
}

/// Two of three pairs of sites reach each other, and the leader reaches the primary: nothing happens.
#[test]
fn one_link_of_three_is_cut() {
    over_a_wan(&[], async |wan| {
        let mut scene = Scene::start(far_apart(&wan)).await;
        for leads in [Leads::Beside, Leads::Between] {
            // Longer than silence may last and than any lease.
            let outage = cut_one_link(&mut scene, &wan, leads, Duration::from_secs(6)).await;
            eprintln!("FIGURE one link cut, leader {leads:?}: {outage:?}");
            assert!(outage.direct < Duration::from_secs(1), "{outage:?}");
        }
        let all = transitions(&scene.d, scene.transitions).await;
        assert_eq!(all.len(), scene.transitions, "{:?}", all.last());
        scene.reckon("one link of three cut", ByGate::Nothing).await;
    });
}

/// The leader does not reach the primary, and the third site reaches both: writes go on, or go on soon.
#[test]
fn the_primarys_site_is_cut_off_from_the_leader_only() {
    over_a_wan(&[], async |wan| {
        let mut scene = Scene::start(far_apart(&wan)).await;
        let outage = cut_one_link(&mut scene, &wan, Leads::Beyond, Duration::from_secs(12)).await;
        eprintln!("FIGURE one link cut, leader beyond it: {outage:?}");
        assert!(outage.direct < OUTAGE_MAX && outage.gated < OUTAGE_MAX, "{outage:?}");
        fence_is_whole(&scene.d, 2).await;
        scene.reckon("cut off from the leader only", ByGate::WithinReport).await;
    });
}

#[test]
fn a_member_is_lost_for_long_and_then_the_primarys_site_is_cut_off() {
    over_a_wan(&[], async |wan| {
        let mut scene = Scene::start(far_apart(&wan)).await;
        let_lead(&scene.d, 2).await;
        scene.d.group.member("west-a").unwrap().kill().unwrap();
        scene.writes_go_on(100).await;
        // Without it the fence is the witness and one replica, of which the replica alone keeps the primary open.
        fence_is_whole(&scene.d, 1).await;
        let fault = Instant::now();
        wan.isolate("east").unwrap();
        assert_eq!(scene.written_elsewhere("east-a").await, "north-a");
        scene.writes_go_on(50).await;
        let outage = scene.outage(fault);
        wan.heal_all();
        scene.d.group.member_mut("west-a").unwrap().restart().await.unwrap();
        let t = scene.next_transition(1).await;
        outage.print_and_check("a member lost for long, then the primary's site", &t);
        check_waited_out(&t, "east-a");
        scene.at_rest().await;
        fence_is_whole(&scene.d, 2).await;
        scene.reckon("a member lost for long, then the primary's site", ByGate::WithinReport).await;
    });
}
