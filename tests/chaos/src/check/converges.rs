//! Once faults stop, the group has one primary, all others follow it, all nodes agree, and writes go on, within a bound.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use primacy_testbed::{PrimaryAnswer, wait_for};

use super::Violation;
use crate::clients::Clients;
use crate::fault::SITES;
use crate::operator;
use crate::record::Record;
use crate::world::{GROUP, World};

/// Generous: the machine may have others to serve. What it takes is in the report.
pub(crate) const BOUND: Duration = Duration::from_mins(2);
/// So many writes of each kind show that they go on.
const WRITES: u64 = 30;

/// Waits until all is well; the answer, or what was not well.
pub(crate) async fn check(
    world: &World,
    clients: &Clients,
    record: &Record,
) -> Result<PrimaryAnswer, Violation> {
    let began = Instant::now();
    match settle(world, clients, record, began).await {
        Ok(primary) => Ok(primary),
        Err(error) => {
            let status = world.d.cli(["--timeout", "5s", "status", GROUP]).await;
            let status =
                status.map_or_else(|error| format!("{error:#}"), |output| output.stdout + &output.stderr);
            Err(Violation::at("converges", began, format!("{error:#}\n{status}")))
        }
    }
}

async fn settle(world: &World, clients: &Clients, record: &Record, began: Instant) -> Result<PrimaryAnswer> {
    let left = || BOUND.saturating_sub(began.elapsed());
    for site in 0..SITES.len() {
        world.node(site)?.wait_ready(left()).await?;
    }
    operator::follow_remedy(&world.d.cluster.cli(), record).await?;
    let primary = wait_for("a group at rest", left(), async || {
        let primary = world.d.wait_settled(Duration::from_secs(2)).await?;
        let checks = world.d.cli(["--timeout", "5s", "switchover", GROUP, "--dry-run"]).await?;
        ensure!(
            checks.status == Some(0),
            "a switchover would be refused: {}{}",
            checks.stdout,
            checks.stderr
        );
        for site in 0..SITES.len() {
            let local = world.local_primary(site).await?;
            let agrees = (&local.member, local.epoch) == (&primary.member, primary.epoch);
            ensure!(agrees, "n{} says {local:?}, not {primary:?}", world.node_id(site));
        }
        Ok(primary)
    })
    .await?;
    for (load, kind) in [(&clients.direct, "direct"), (&clients.gated, "gated")] {
        let before = load.progress().acked;
        wait_for(&format!("{kind} writes to go on"), left(), async || {
            let progress = load.progress();
            ensure!(progress.acked >= before + WRITES, "{progress:?}");
            Ok(())
        })
        .await?;
    }
    // Writes may have shown what the group did meanwhile; what is judged next is the primary of now.
    let now = world.d.primary().await.context("the primary is not known any more")?;
    ensure!(now.member == primary.member, "{primary:?} became {now:?} although nothing was wrong");
    Ok(now)
}
