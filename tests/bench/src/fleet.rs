//! A cluster that looks after many small groups, each with servers of its own.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use primacy_testbed::{
    Cluster, ClusterOptions, Credentials, RedisGroup, RedisOptions, RedisServer, Workdir, ports, wait_for,
};
use primacy_wire::v1;
use primacy_wire::v1::directory_client::DirectoryClient;

/// Servers that are started at the same time.
const STARTS_MAX: usize = 8;
/// Until all groups have a primary and all standbys follow.
const SERVING_DEADLINE: Duration = Duration::from_mins(2);

/// How many groups, and what kind.
#[derive(Clone, Debug)]
pub(crate) struct FleetOptions {
    pub(crate) cluster: ClusterOptions,
    pub(crate) groups: usize,
    /// In each group, one at each of the first sites.
    pub(crate) members: usize,
    /// Lines of each group in groups.toml.
    pub(crate) group_settings: Vec<String>,
    /// Lines of each server's redis.conf after those that `primacy redis-conf` prints.
    pub(crate) redis_config: Vec<String>,
}

/// Three nodes at three sites that connect to Redis as the user whose rights `primacy redis-conf` prints.
pub(crate) fn cluster_options(binary: &Path) -> ClusterOptions {
    let (username, password) = ("primacy".to_owned(), "bench-secret".to_owned());
    ClusterOptions { redis: Some(Credentials { username, password }), ..ClusterOptions::new(binary) }
}

/// Nodes and servers. Dropping it kills all and removes their data.
pub(crate) struct Fleet {
    pub(crate) cluster: Cluster,
    _servers: Vec<RedisServer>,
    groups: Vec<String>,
    // Last, so that the processes are gone before their data is.
    _workdir: Workdir,
}

struct MemberPlan {
    group: String,
    site: String,
    port: u16,
}

impl MemberPlan {
    fn name(&self) -> String {
        RedisGroup::member_name(&self.site)
    }
}

impl Fleet {
    /// Starts all, applies the groups, and returns when each has its primary and its standbys.
    pub(crate) async fn start(options: FleetOptions) -> Result<Self> {
        let workdir = Workdir::create()?;
        let groups: Vec<String> = (0..options.groups).map(|index| format!("group-{index:03}")).collect();
        let members = plan_members(&options, &groups)?;
        let cluster = Cluster::start(options.cluster.clone()).await?;
        let file = workdir.path().join("groups.toml");
        std::fs::write(&file, groups_toml(&members, &options.group_settings))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let starting = members.iter().map(|member| {
            let (cluster, cluster_options, file, workdir, lines) =
                (&cluster, &options.cluster, &file, &workdir, &options.redis_config);
            async move {
                let dir = workdir.path().join(format!("{}-{}", member.group, member.name()));
                let mut redis = RedisOptions::new(format!("{}/{}", member.group, member.name()), dir);
                redis.port = Some(member.port);
                redis.credentials = cluster_options.redis.clone();
                redis.config = printed_config(cluster, file, member).await?;
                redis.config.extend(lines.iter().cloned());
                RedisServer::start(redis).await
            }
        });
        let servers = stream::iter(starting).buffer_unordered(STARTS_MAX).try_collect().await?;
        let apply = ["apply".into(), "-f".into(), file.into_os_string()];
        cluster.cli().run(apply).await?.success()?;
        let fleet = Self { cluster, _servers: servers, groups, _workdir: workdir };
        fleet.wait_serving().await?;
        Ok(fleet)
    }

    /// The names of the groups.
    pub(crate) fn groups(&self) -> &[String] {
        &self.groups
    }

    async fn wait_serving(&self) -> Result<()> {
        let what = format!("{} groups to serve with all standbys", self.groups.len());
        let leader = self.cluster.leader().await?;
        let address = format!("http://{}", self.cluster.node(leader)?.address());
        wait_for(&what, SERVING_DEADLINE, async || {
            let mut directory = DirectoryClient::connect(address.clone()).await?;
            let listed = directory.list_groups(v1::ListGroupsRequest::default()).await?.into_inner();
            let ready = listed.groups.iter().filter(|group| is_ready(group)).count();
            let waiting = listed.groups.iter().find(|group| !is_ready(group));
            ensure!(ready == self.groups.len(), "{ready} are ready; the first that is not: {waiting:?}");
            Ok(())
        })
        .await
    }
}

fn is_ready(group: &v1::GroupSummary) -> bool {
    group.state() == v1::GroupState::Serving && group.standbys_ready == Some(group.standbys_total)
}

fn plan_members(options: &FleetOptions, groups: &[String]) -> Result<Vec<MemberPlan>> {
    let sites = &options.cluster.sites;
    ensure!(options.members <= sites.len(), "{} members need as many sites", options.members);
    let mut members = Vec::new();
    for group in groups {
        for site in sites.iter().take(options.members) {
            members.push(MemberPlan { group: group.clone(), site: site.clone(), port: ports::free()? });
        }
    }
    Ok(members)
}

fn groups_toml(members: &[MemberPlan], settings: &[String]) -> String {
    let mut text = String::new();
    for group in members.chunk_by(|a, b| a.group == b.group) {
        // Writing to a string cannot fail.
        let name = group.first().map_or("", |member| &member.group);
        let _ = writeln!(text, "[[redis]]\nname = {name:?}");
        for line in settings {
            let _ = writeln!(text, "{line}");
        }
        for (member, priority) in group.iter().zip((1..=100).rev().step_by(10)) {
            let (name, site, port) = (member.name(), &member.site, member.port);
            let _ = writeln!(
                text,
                "[[redis.member]]\nname = {name:?}\nsite = {site:?}\naddress = \"127.0.0.1:{port}\"\npriority = {priority}"
            );
        }
    }
    text
}

async fn printed_config(cluster: &Cluster, file: &Path, member: &MemberPlan) -> Result<Vec<String>> {
    // Any node's file tells the users and their passwords.
    let node = cluster.nodes().first().context("the cluster has no node")?.dir().join("node.toml");
    let name = member.name();
    let args: [&OsStr; 9] = [
        "redis-conf".as_ref(),
        "--group".as_ref(),
        member.group.as_ref(),
        "--member".as_ref(),
        name.as_ref(),
        "-f".as_ref(),
        file.as_ref(),
        "-c".as_ref(),
        node.as_ref(),
    ];
    let output = cluster.cli().run(args).await?.success()?;
    Ok(output.stdout.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn each_group_is_a_table_with_its_members() {
        let member =
            |group: &str, site: &str, port| MemberPlan { group: group.into(), site: site.into(), port };
        let members = [member("g0", "east", 1), member("g0", "west", 2), member("g1", "east", 3)];
        let text = groups_toml(&members, &["failover = \"manual\"".to_owned()]);
        let expected = r#"[[redis]]
name = "g0"
failover = "manual"
[[redis.member]]
name = "east-a"
site = "east"
address = "127.0.0.1:1"
priority = 100
[[redis.member]]
name = "west-a"
site = "west"
address = "127.0.0.1:2"
priority = 90
[[redis]]
name = "g1"
failover = "manual"
[[redis.member]]
name = "east-a"
site = "east"
address = "127.0.0.1:3"
priority = 100
"#;
        assert_eq!(text, expected);
    }
}
