//! The wall clock of a site's machines is stepped by an hour, each way: nobody may rely on it, and Redis does.
//!
//! Redis counts how long it has not heard from its replicas by the time of day. Ahead, it misses them for a second; back,
//! it would count them for an hour after they were gone, and a primary that is cut off would stay open.

use super::cut_off::isolate_primary;
use super::{ByGate, SITES, Scene, far_apart, fence_is_whole, over_a_wan, site};
use crate::harness::transitions;
use primacy_testbed::{FaultPlan, Shim, Wan, Workdir};
use std::time::Instant;

const HOUR_MS: i64 = 3_600_000;

/// The clocks of the machines at each site.
struct Clocks {
    plans: Vec<(String, FaultPlan)>,
    _dir: Workdir,
}

impl Clocks {
    /// Of the node and of the server at a site.
    fn step(&self, at: &str, ahead_ms: i64) {
        for (_, plan) in self.plans.iter().filter(|(of, _)| of == at) {
            plan.set_clock_ahead_ms(ahead_ms).unwrap();
        }
    }
}

async fn start(wan: &Wan) -> (Scene, Clocks) {
    let dir = Workdir::create().unwrap();
    let shim = Shim::create(dir.path()).unwrap();
    let mut options = far_apart(wan);
    let mut plans = Vec::new();
    for (id, at) in (1..).zip(SITES) {
        let [node, server] = ["node", "server"].map(|kind| shim.plan(&format!("{kind}-{at}")).unwrap());
        options.cluster.node_env.push((id, node.env()));
        options.member_env.push((at.to_owned(), server.env()));
        plans.extend([(at.to_owned(), node), (at.to_owned(), server)]);
    }
    (Scene::start(options).await, Clocks { plans, _dir: dir })
}

#[test]
fn clocks_that_are_stepped_move_nobody_and_keep_nobody_open() {
    over_a_wan(&[], async |wan| {
        let (mut scene, clocks) = start(&wan).await;
        for (ahead_ms, what) in [(HOUR_MS, "an hour ahead"), (-HOUR_MS, "an hour back")] {
            let primary = scene.primary().await;
            let at = site(&primary).to_owned();
            let before = scene.transitions;
            let fault = Instant::now();
            clocks.step(&at, ahead_ms);
            scene.writes_go_on(1_000).await;
            eprintln!("FIGURE clocks at the primary's site {what}: no write for {:?}", scene.outage(fault));
            assert_eq!(transitions(&scene.d, 1).await.len(), before, "{what}: nobody moves");
            assert_eq!(scene.primary().await, primary, "{what}");
            fence_is_whole(&scene.d, 2).await;
            isolate_primary(&mut scene, &wan, &format!("primary's site cut off, its clocks {what}")).await;
            clocks.step(&at, 0);
            scene.at_rest().await;
            fence_is_whole(&scene.d, 2).await;
            scene.writes_go_on(200).await;
        }
        scene.reckon("clocks stepped by an hour", ByGate::WithinReport).await;
    });
}
