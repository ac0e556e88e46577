//! A firewall between the nodes and the primary that answers with resets, as a dead server does.

use super::{ByGate, SITES, Scene, far_apart, fence_is_whole, over_a_wan};
use crate::harness::transitions;
use primacy_testbed::{Reject, Verdict, Wan};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Longer than silence may last, and than a lease does.
const LONG: Duration = Duration::from_secs(6);

/// Answers what the nodes send to the Redis server of the east site.
fn raise(wan: &Wan, what: Reject) {
    let target = wan.host("east/redis").unwrap().address();
    let nodes: Vec<Ipv4Addr> = SITES.map(|site| wan.host(site).unwrap().address()).to_vec();
    for from in SITES {
        let nodes = nodes.clone();
        wan.filter(from, "east", move |header| {
            let ours = nodes.contains(header.source.ip()) && *header.target.ip() == target;
            match what {
                Reject::Everything if ours => Verdict::RejectBoth,
                Reject::NewConnections if ours && header.tcp.is_some_and(|tcp| tcp.opens()) => {
                    Verdict::Reject
                }
                Reject::Everything | Reject::NewConnections => Verdict::Pass,
            }
        })
        .unwrap();
    }
}

#[test]
fn a_firewall_that_resets_is_no_death() {
    over_a_wan(&["east/redis", "north/redis", "west/redis"], async |wan| {
        let mut options = far_apart(&wan);
        options.member_hosts = SITES.map(|site| (site.to_owned(), format!("{site}/redis"))).to_vec();
        let mut scene = Scene::start(options).await;
        let old = scene.primary().await;
        assert_eq!(old, "east-a");

        let fault = Instant::now();
        raise(&wan, Reject::NewConnections);
        while fault.elapsed() < LONG {
            scene.writes_go_on(100).await;
        }
        let outage = scene.outage(fault);
        wan.heal_all();
        eprintln!("FIGURE new connections are reset: {outage:?}");
        scene.at_rest().await;
        let all = transitions(&scene.d, scene.transitions).await;
        assert_eq!(all.len(), scene.transitions, "{:?}", all.last());
        assert!(outage.direct < Duration::from_secs(1), "{outage:?}");
        fence_is_whole(&scene.d, 2).await;
        scene.nothing_lost_by_gate().await;

        // Clients still reach it, and so do its replicas, until these are taken away from it.
        let fault = Instant::now();
        raise(&wan, Reject::Everything);
        scene.written_elsewhere(&old).await;
        scene.writes_go_on(50).await;
        let outage = scene.outage(fault);
        wan.heal_all();
        let t = scene.next_transition(1).await;
        outage.print_and_check("everything from the nodes is reset", &t);
        assert_eq!((&t["proof"], &t["outcome"]), (&"expired".into(), &"settled".into()), "{t}");
        scene.at_rest().await;
        fence_is_whole(&scene.d, 2).await;
        scene.reckon("a firewall that resets", ByGate::WithinReport).await;
    });
}
