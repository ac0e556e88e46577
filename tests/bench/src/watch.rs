//! What a node takes of its machine while it watches many groups and nothing happens.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow};
use tokio::time::sleep;

use crate::figure::{Figure, Goal, Samples};
use crate::fleet::{Fleet, FleetOptions, cluster_options};
use crate::plan::{Plan, WatchPlan};
use crate::{progress, usage};

const MEMORY_GOAL: Goal = Goal::MaxAtMost(64.0);
const CPU_GOAL: Goal = Goal::MedianAtMost(5.0);

/// Samples of the nodes in one role.
#[derive(Default)]
struct Role {
    cpu_percent: Vec<f64>,
    memory_mib: Vec<f64>,
}

/// Measures memory and CPU of the leader and of the followers.
pub(crate) async fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    let watch = plan.watch;
    progress!("watch: starting {} servers", watch.groups * watch.members);
    let fleet = Fleet::start(FleetOptions {
        cluster: cluster_options(binary),
        groups: watch.groups,
        members: watch.members,
        group_settings: Vec::new(),
        // Idle servers leave more of the machine to what is measured.
        redis_config: vec!["hz 1".to_owned(), "dynamic-hz no".to_owned()],
    })
    .await?;
    progress!("watch: {} groups serve", watch.groups);
    sleep(watch.settle).await;
    let (leader, followers) = look(&fleet, watch).await?;
    let note = format!(
        "{} groups of {} members, {} servers on loopback, {} windows of {:?}",
        watch.groups,
        watch.members,
        watch.groups * watch.members,
        watch.windows,
        watch.window
    );
    let figure = |name, title: &str, unit, values: Vec<f64>, goal| {
        let ours = Samples::new(values).ok_or_else(|| anyhow!("nothing was measured of {title}"))?;
        let title = format!("{} groups watched: {title}", watch.groups);
        Ok(Figure { name, title, unit, ours, peer: None, goal, note: Some(note.clone()) })
    };
    [
        figure("watch100.memory_leader", "memory of the leader", "MiB", leader.memory_mib, MEMORY_GOAL),
        figure("watch100.memory_follower", "memory of a follower", "MiB", followers.memory_mib, MEMORY_GOAL),
        figure("watch100.cpu_leader", "CPU of the leader", "% of a core", leader.cpu_percent, CPU_GOAL),
        figure("watch100.cpu_follower", "CPU of a follower", "% of a core", followers.cpu_percent, CPU_GOAL),
    ]
    .into_iter()
    .collect()
}

async fn look(fleet: &Fleet, watch: WatchPlan) -> Result<(Role, Role)> {
    let (mut leader, mut followers) = (Role::default(), Role::default());
    for _ in 0..watch.windows {
        let leads = fleet.cluster.leader().await?;
        let began = Instant::now();
        let pids: Vec<(u64, u32)> =
            fleet.cluster.nodes().iter().map(|node| (node.id(), node.process().pid())).collect();
        let before = pids.iter().map(|(_, pid)| usage::cpu_time(*pid)).collect::<Result<Vec<_>>>()?;
        sleep(watch.window).await;
        for ((id, pid), before) in pids.into_iter().zip(before) {
            let used = usage::cpu_time(pid)?.saturating_sub(before);
            let role = if id == leads { &mut leader } else { &mut followers };
            role.cpu_percent.push(used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0);
            role.memory_mib.push(usage::resident_bytes(pid)? as f64 / f64::from(1 << 20));
        }
    }
    Ok((leader, followers))
}
