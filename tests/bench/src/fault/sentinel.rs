//! Redis Sentinel, as a careful operator sets it up: three Sentinels, two replicas, quorum 2, and
//! `down-after-milliseconds 1000`.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use primacy_testbed::load::SentinelLocate;
use primacy_testbed::{RedisGroup, RedisSentinel, SentinelOptions, Target, Wan, Workdir, wait_for};

use super::{Crowd, SETTLE_DEADLINE, Side, Writers};

const GROUP: &str = "features";
const DOWN_AFTER: Duration = Duration::from_secs(1);
const SITES: [&str; 3] = ["east", "north", "west"];

/// Three Redis servers and three Sentinels. Dropping it kills them and removes their data.
pub(crate) struct SentinelDeployment {
    group: RedisGroup,
    sentinels: Vec<RedisSentinel>,
    // Last, so that the processes are gone before their data is.
    _workdir: Workdir,
}

impl SentinelDeployment {
    /// One server and one Sentinel at each of three sites, when there is a WAN; all on this machine when not.
    pub(crate) async fn start(wan: Option<&Wan>) -> Result<Self> {
        let workdir = Workdir::create()?;
        let dir = workdir.path();
        let group = RedisGroup::start_replicating_over(wan, GROUP, &SITES, dir, SETTLE_DEADLINE).await?;
        let primary = group.servers().next().context("the group has no server")?.address().to_owned();
        let mut sentinels = Vec::new();
        for site in SITES {
            let name = format!("sentinel-{site}");
            let mut options = SentinelOptions::new(&name, dir.join(&name), GROUP, &primary);
            options.down_after = DOWN_AFTER;
            options.host = wan.map(|wan| wan.host(site).cloned()).transpose()?;
            sentinels.push(RedisSentinel::start(options).await?);
        }
        let deployment = Self { group, sentinels, _workdir: workdir };
        deployment.wait_discovered().await?;
        Ok(deployment)
    }

    async fn wait_discovered(&self) -> Result<()> {
        for sentinel in &self.sentinels {
            sentinel.wait_discovered(2, SITES.len() as u32 - 1, SETTLE_DEADLINE).await?;
        }
        Ok(())
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
}

impl Side for SentinelDeployment {
    async fn ready(&mut self) -> Result<String> {
        let primary = wait_for("the Sentinels to agree", SETTLE_DEADLINE, || self.primary()).await?;
        self.wait_discovered().await?;
        Ok(primary)
    }

    fn group(&self) -> &RedisGroup {
        &self.group
    }

    fn group_mut(&mut self) -> &mut RedisGroup {
        &mut self.group
    }

    /// Clients know addresses only.
    fn called(&self, member: &str) -> Result<String> {
        Ok(self.group.member(member)?.address().to_owned())
    }

    async fn crowd(&self, writers: Writers, key_prefix: &str) -> Result<Crowd> {
        let sentinels = self.sentinels.iter().map(|sentinel| sentinel.address().to_owned());
        let locate = SentinelLocate::new(GROUP, sentinels);
        let members = self.group.servers().map(|server| Target::new(server.address(), server.address()));
        // It has no gates: all who would go through them reach the primary as the others do.
        let writers = Writers { gated: 0, ..writers };
        Crowd::start(writers, key_prefix, locate, members.collect(), Vec::new())
    }

    async fn settled(&mut self, old: &str) -> Result<String> {
        // Asked anew each time: on a busy machine the Sentinels may have gone on to yet another one meanwhile.
        wait_for("all to follow the primary of the Sentinels", SETTLE_DEADLINE, async || {
            let now = self.primary().await?;
            ensure!(now != old, "the Sentinels still name {now}");
            self.group.wait_replicating(&now, Duration::from_millis(200)).await?;
            Ok(now)
        })
        .await
    }

    async fn reported_bytes(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::{Fault, bear, count};
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes half a minute, and only the benches need it"]
    async fn sentinel_fails_over_twice() {
        let mut sentinel = SentinelDeployment::start(None).await.unwrap();
        for round in 0..2 {
            let key = format!("round-{round}");
            let trial = bear(&mut sentinel, Fault::Kill, Writers::at_full_speed(), &key).await.unwrap();
            let outage = count(&mut sentinel, &trial).await.unwrap().outage;
            crate::progress!("{outage:?}");
            assert!(outage > DOWN_AFTER && outage < Duration::from_secs(10), "{outage:?}");
        }
    }
}
