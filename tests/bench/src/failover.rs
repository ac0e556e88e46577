//! Failover by kill -9, beside Redis Sentinel.
//!
//! Sentinel gets what a careful operator gives it: three Sentinels, two replicas, quorum 2, and
//! `down-after-milliseconds 1000`. The writers are the same; each side's find the primary in that side's own way.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use primacy_testbed::load::SentinelLocate;
use primacy_testbed::{
    Deployment, DeploymentOptions, RedisGroup, RedisSentinel, SentinelOptions, Signal, Workdir, wait_for,
};

use crate::figure::{Figure, Goal, Peer, Samples};
use crate::fleet::cluster_options;
use crate::locate::SdkLocate;
use crate::outage::{self, Outage};
use crate::phases::{Phases, last_transition};
use crate::plan::Plan;
use crate::progress;

const GROUP: &str = "features";
const DOWN_AFTER: Duration = Duration::from_secs(1);
const SENTINELS: u32 = 3;
/// Sentinel takes ten seconds and more to make a replica of a primary that came back.
const SETTLE_DEADLINE: Duration = Duration::from_mins(2);

/// Measures the outage of both.
pub(crate) async fn figures(binary: &Path, plan: &Plan) -> Result<Vec<Figure>> {
    progress!("failover: starting a deployment of primacy and one of Redis Sentinel");
    let mut ours = Deployment::start_serving(DeploymentOptions {
        cluster: cluster_options(binary),
        ..DeploymentOptions::new(binary)
    })
    .await?;
    let mut peer = SentinelDeployment::start().await?;
    let (mut ours_ms, mut peer_ms, mut phases) = (Vec::new(), Vec::new(), Phases::default());
    for round in 0..plan.failover_rounds {
        let ours_took = kill_ours(&mut ours, round, &mut phases).await?;
        let peer_took = peer.kill_primary(round).await?;
        progress!("primary killed: outage {ours_took:.1?}, peer {peer_took:.1?}");
        ours_ms.push(ours_took.as_secs_f64() * 1_000.0);
        peer_ms.push(peer_took.as_secs_f64() * 1_000.0);
    }
    let samples = |values| Samples::new(values).ok_or_else(|| anyhow!("no primary was killed"));
    Ok(vec![Figure {
        name: "failover.outage",
        title: "primary killed: longest wait of a writer".to_owned(),
        unit: "ms",
        ours: samples(ours_ms)?,
        peer: Some(Peer { name: "Sentinel", samples: samples(peer_ms)? }),
        goal: Goal::RatioAtMost(1.0 / 20.0),
        note: phases.text(),
    }])
}

async fn kill_ours(ours: &mut Deployment, round: usize, phases: &mut Phases) -> Result<Duration> {
    let primary =
        ours.wait_settled(SETTLE_DEADLINE).await?.member.context("the group serves without a primary")?;
    let locate = SdkLocate::new(ours.cluster.endpoints(), ours.group.name()).await?;
    let outage = kill(&ours.group, &primary, &primary, locate, round).await?;
    ours.group.member_mut(&primary)?.restart().await?;
    ours.wait_settled(SETTLE_DEADLINE).await?;
    phases.add(outage.caused_us, &last_transition(ours).await?);
    Ok(outage.longest)
}

/// `called` is what the writers call the primary.
async fn kill(
    group: &RedisGroup,
    primary: &str,
    called: &str,
    locate: impl primacy_testbed::Locate + 'static,
    round: usize,
) -> Result<Outage> {
    let process = group.member(primary)?.process();
    // Only the signal: to wait for the end here would hold up the writers.
    let change = async { process.signal(Signal::SIGKILL) };
    outage::measure(called, locate, format!("failover-{round}"), change).await
}

/// Three Redis servers and three Sentinels. Dropping it kills them and removes their data.
struct SentinelDeployment {
    group: RedisGroup,
    sentinels: Vec<RedisSentinel>,
    // Last, so that the processes are gone before their data is.
    _workdir: Workdir,
}

impl SentinelDeployment {
    async fn start() -> Result<Self> {
        let workdir = Workdir::create()?;
        let sites = ["east", "north", "west"];
        let group = RedisGroup::start_replicating(GROUP, &sites, workdir.path(), SETTLE_DEADLINE).await?;
        let primary = group.servers().next().context("the group has no server")?.address().to_owned();
        let mut sentinels = Vec::new();
        for index in 0..SENTINELS {
            let name = format!("s{index}");
            let mut options = SentinelOptions::new(&name, workdir.path().join(&name), GROUP, &primary);
            options.down_after = DOWN_AFTER;
            sentinels.push(RedisSentinel::start(options).await?);
        }
        let deployment = Self { group, sentinels, _workdir: workdir };
        deployment.wait_discovered().await?;
        Ok(deployment)
    }

    async fn wait_discovered(&self) -> Result<()> {
        for sentinel in &self.sentinels {
            sentinel.wait_discovered(2, SENTINELS - 1, SETTLE_DEADLINE).await?;
        }
        Ok(())
    }

    fn locate(&self) -> SentinelLocate {
        SentinelLocate::new(GROUP, self.sentinels.iter().map(|sentinel| sentinel.address().to_owned()))
    }

    /// The name of the member that all Sentinels call primary.
    async fn primary(&self) -> Result<String> {
        let mut known = Vec::new();
        for sentinel in &self.sentinels {
            let (host, port): (String, u16) = redis::cmd("SENTINEL")
                .arg("get-master-addr-by-name")
                .arg(GROUP)
                .query_async(&mut sentinel.connection().await?)
                .await?;
            known.push(format!("{host}:{port}"));
        }
        let agreed = known.iter().all(|address| Some(address) == known.first());
        let server = self.group.servers().find(|server| agreed && server.address() == known[0]);
        server.map(|server| server.name().to_owned()).ok_or_else(|| anyhow!("the Sentinels say {known:?}"))
    }

    async fn kill_primary(&mut self, round: usize) -> Result<Duration> {
        let primary = self.primary().await?;
        let address = self.group.member(&primary)?.address().to_owned();
        let outage = kill(&self.group, &primary, &address, self.locate(), round).await?.longest;
        self.group.member_mut(&primary)?.restart().await?;
        // Asked anew each time: on a busy machine the Sentinels may have gone on to yet another one meanwhile.
        wait_for("all to follow the primary of the Sentinels", SETTLE_DEADLINE, async || {
            let now = self.primary().await?;
            ensure!(now != primary, "the Sentinels still name {now}");
            self.group.wait_replicating(&now, Duration::from_millis(200)).await
        })
        .await?;
        self.wait_discovered().await?;
        Ok(outage)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes half a minute, and only the benches need it"]
    async fn sentinel_fails_over_twice() {
        let mut sentinel = SentinelDeployment::start().await.unwrap();
        for round in 0..2 {
            let outage = sentinel.kill_primary(round).await.unwrap();
            crate::progress!("{outage:?}");
            assert!(outage > DOWN_AFTER && outage < Duration::from_secs(10), "{outage:?}");
        }
    }
}
