//! The fastest switchover that loses nothing, with Redis's own commands and nobody who watches over them.
//!
//! Fence with `min-replicas-to-write`, wait for equal offsets, promote, re-point, unset. It keeps no record, checks
//! nothing, and would leave a group without a primary when it died in between.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use futures::future::{try_join, try_join_all};
use primacy_testbed::load::StaticLocate;
use primacy_testbed::{RedisGroup, RedisServer, Workdir};
use redis::aio::MultiplexedConnection;

use super::next_of;
use crate::outage::{self, Outage};

const EQUAL_DEADLINE: Duration = Duration::from_secs(5);

/// Three servers without a coordinator. Dropping it kills them and removes their data.
pub(super) struct RawDeployment {
    group: RedisGroup,
    settle: Duration,
    // Last, so that the processes are gone before their data is.
    _workdir: Workdir,
}

impl RawDeployment {
    pub(super) async fn start(settle: Duration) -> Result<Self> {
        let workdir = Workdir::create()?;
        let sites = ["east", "north", "west"];
        let group = RedisGroup::start_replicating("raw", &sites, workdir.path(), settle).await?;
        Ok(Self { group, settle, _workdir: workdir })
    }

    /// The longest wait of a writer, and how many acknowledged records are gone.
    pub(super) async fn switch_under_load(&self, key: String) -> Result<(Duration, u64)> {
        let primary = self.primary().await?;
        let names: Vec<&str> = self.group.servers().map(RedisServer::name).collect();
        let next = self.group.member(next_of(&names, primary.name())?)?;
        self.group.wait_replicating(primary.name(), self.settle).await?;
        let switch = Switch::prepare(&self.group, primary, next).await?;
        let trying = StaticLocate::new(self.group.targets());
        let Outage { longest, ledger, .. } =
            outage::measure(primary.name(), trying, key, switch.run()).await?;
        self.group.wait_replicating(next.name(), self.settle).await?;
        let lost = ledger.lost(next.redis_address()).await?.count();
        Ok((longest, lost))
    }

    async fn primary(&self) -> Result<&RedisServer> {
        for server in self.group.servers() {
            if server.info_field("role").await? == "master" {
                return Ok(server);
            }
        }
        Err(anyhow!("no server of the group is primary"))
    }
}

/// Open connections: nothing is set up while writes are refused.
struct Switch {
    old: MultiplexedConnection,
    new: MultiplexedConnection,
    others: Vec<MultiplexedConnection>,
    new_port: String,
}

impl Switch {
    async fn prepare(group: &RedisGroup, old: &RedisServer, new: &RedisServer) -> Result<Self> {
        let is_other = |server: &&RedisServer| server.name() != old.name() && server.name() != new.name();
        Ok(Self {
            old: old.connection().await?,
            new: new.connection().await?,
            others: try_join_all(group.servers().filter(is_other).map(RedisServer::connection)).await?,
            new_port: new.port().to_string(),
        })
    }

    async fn run(mut self) -> Result<()> {
        send(&mut self.old, &["CONFIG", "SET", "min-replicas-to-write", "100"]).await?;
        self.wait_for_equal_offsets().await?;
        send(&mut self.new, &["REPLICAOF", "NO", "ONE"]).await?;
        let repoint = ["REPLICAOF", "127.0.0.1", &self.new_port];
        try_join_all(self.others.iter_mut().chain([&mut self.old]).map(|member| send(member, &repoint)))
            .await?;
        send(&mut self.old, &["CONFIG", "SET", "min-replicas-to-write", "0"]).await
    }

    async fn wait_for_equal_offsets(&mut self) -> Result<()> {
        let until = Instant::now() + EQUAL_DEADLINE;
        loop {
            let of_old = offset(&mut self.old, "master_repl_offset");
            let of_new = offset(&mut self.new, "slave_repl_offset");
            let (old, new) = try_join(of_old, of_new).await?;
            if old == new {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the next primary stays at {new}, the old one is at {old}");
        }
    }
}

async fn send(connection: &mut MultiplexedConnection, words: &[&str]) -> Result<()> {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.exec_async(connection).await.with_context(|| words.join(" "))
}

async fn offset(connection: &mut MultiplexedConnection, field: &str) -> Result<u64> {
    let info: String = redis::cmd("INFO").arg("replication").query_async(connection).await?;
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).ok_or_else(|| anyhow!("INFO has no {field}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_loses_nothing_and_comes_round() {
        let raw = RawDeployment::start(Duration::from_secs(30)).await.unwrap();
        for round in 0..4 {
            let (wait, lost) = raw.switch_under_load(format!("raw-{round}")).await.unwrap();
            crate::progress!("{wait:?}");
            assert_eq!(lost, 0);
        }
    }
}
