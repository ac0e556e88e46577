//! Three sites on this machine: a cluster of nodes and one Redis group that it looks after.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::CliOutput;
use crate::coordinator::{Cluster, ClusterOptions};
use crate::load::Target;
use crate::redis_group::{RedisGroup, groups_toml};
use crate::redis_server::RedisOptions;
use crate::wait::wait_for;
use crate::wan::Host;
use crate::{ports, workdir::Workdir};

const SETTLE_DEADLINE: Duration = Duration::from_secs(30);

/// Where the lines of the members' redis.conf come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberConfig {
    /// `primacy redis-conf` prints them, as for an operator: fenced on disk.
    Printed,
    /// These lines, the same for each member.
    Lines(Vec<String>),
}

/// How a deployment is set up.
#[derive(Clone, Debug)]
pub struct DeploymentOptions {
    /// The nodes; the group has the credentials of `cluster.redis`.
    pub cluster: ClusterOptions,
    /// The group's name.
    pub group: String,
    /// Lines of the group in groups.toml, such as `failover = "manual"`.
    pub group_settings: Vec<String>,
    /// The members' redis.conf.
    pub member_config: MemberConfig,
    /// The sites that have a member, the most preferred first; all sites of the nodes when empty.
    pub member_sites: Vec<String>,
    /// With `cluster.wan`: (site, host) where the member of a site is not at the host of its node, such as
    /// `("east", "east/redis")`.
    pub member_hosts: Vec<(String, String)>,
    /// (site, variables) of the member of a site.
    pub member_env: Vec<(String, Vec<(String, String)>)>,
}

impl DeploymentOptions {
    /// Three nodes and the group `features` with the members east-a, north-a and west-a.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            cluster: ClusterOptions::new(binary),
            group: "features".to_owned(),
            group_settings: Vec::new(),
            member_config: MemberConfig::Printed,
            member_sites: Vec::new(),
            member_hosts: Vec::new(),
            member_env: Vec::new(),
        }
    }

    fn member_sites(&self) -> &[String] {
        if self.member_sites.is_empty() { &self.cluster.sites } else { &self.member_sites }
    }

    fn member_host(&self, site: &str) -> Result<Option<Host>> {
        let elsewhere = self.member_hosts.iter().find(|(of, _)| of == site);
        self.cluster.host(elsewhere.map_or(site, |(_, host)| host))
    }
}

/// What `primacy primary` answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PrimaryAnswer {
    /// The group.
    pub group: String,
    /// The primary member, when there is one.
    #[serde(default)]
    pub member: Option<String>,
    /// Its site.
    #[serde(default)]
    pub site: Option<String>,
    /// Its address.
    #[serde(default)]
    pub address: Option<String>,
    /// The epoch that authorised it.
    #[serde(default)]
    pub epoch: u64,
    /// The revision of the answer.
    #[serde(default)]
    pub revision: u64,
    /// `serving`, `switching`, `blocked`, ...
    pub state: String,
    /// Why it is not serving.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Nodes, Redis servers, and the files between them. Dropping it kills all and removes their data.
#[derive(Debug)]
pub struct Deployment {
    /// The nodes.
    pub cluster: Cluster,
    /// The Redis servers.
    pub group: RedisGroup,
    group_settings: Vec<String>,
    // Last, so that the processes are gone before their data is.
    workdir: Workdir,
}

impl Deployment {
    /// Starts all processes; the nodes do not know the group yet.
    pub async fn start(options: DeploymentOptions) -> Result<Self> {
        let workdir = Workdir::create()?;
        let mut members = Vec::new();
        for site in options.member_sites() {
            let name = RedisGroup::member_name(site);
            let mut member = RedisOptions::new(name.clone(), workdir.path().join(name));
            member.port = Some(ports::free()?);
            member.credentials.clone_from(&options.cluster.redis);
            member.host = options.member_host(site)?;
            let of_member = options.member_env.iter().filter(|(of, _)| of == site);
            member.env = of_member.flat_map(|(_, env)| env).cloned().collect();
            members.push((site.clone(), member));
        }
        let DeploymentOptions { cluster, group, group_settings, member_config, .. } = options;
        let cluster = Cluster::start(cluster).await?;
        configure(&cluster, &workdir, &group, &group_settings, &member_config, &mut members).await?;
        let group = RedisGroup::start(group, members).await?;
        Ok(Self { cluster, group, group_settings, workdir })
    }

    /// Starts all, applies the group, and returns when it serves and all standbys replicate.
    pub async fn start_serving(options: DeploymentOptions) -> Result<Self> {
        let deployment = Self::start(options).await?;
        deployment.apply().await?.success()?;
        deployment.wait_settled(SETTLE_DEADLINE).await?;
        Ok(deployment)
    }

    /// `primacy apply -f groups.toml` with the group of this deployment.
    pub async fn apply(&self) -> Result<CliOutput> {
        let path = self.groups_toml()?;
        self.cli(["apply".into(), "-f".into(), path.into_os_string()]).await
    }

    /// Writes groups.toml and returns where it is.
    pub fn groups_toml(&self) -> Result<PathBuf> {
        write_groups_toml(&self.workdir, &self.group.toml(&self.group_settings))
    }

    /// Runs `primacy --endpoints ... ARGS`.
    pub async fn cli<A: Into<std::ffi::OsString>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<CliOutput> {
        self.cluster.cli().run(args).await
    }

    /// What the group's status says of its fence.
    pub async fn fence(&self) -> Result<Value> {
        let status: Value = self.cli(["status", self.group.name(), "-o", "json"]).await?.success()?.json()?;
        Ok(status["groups"][0]["fence"].clone())
    }

    /// The primary stays open only while `min_replicas` of witness and replicas are attached, and they are.
    ///
    /// # Errors
    /// The fence as it is, when it is another one.
    pub async fn fence_is_whole(&self, min_replicas: u64) -> Result<()> {
        let fence = self.fence().await?;
        let whole = fence["min_replicas"] == min_replicas
            && fence["min_replicas_in_force"] == min_replicas
            && fence["attached"].as_u64() >= Some(min_replicas)
            && fence["witness"]["attached"] == true;
        ensure!(whole, "{fence}");
        Ok(())
    }

    /// The present primary as the cluster says, linearizable.
    pub async fn primary(&self) -> Result<PrimaryAnswer> {
        self.cli(["primary", self.group.name(), "-o", "json"]).await?.success()?.json()
    }

    /// Waits until the cluster says that `member` serves.
    pub async fn wait_primary(&self, member: &str, deadline: Duration) -> Result<PrimaryAnswer> {
        wait_for(&format!("{member} to be primary"), deadline, async || {
            let primary = self.primary().await?;
            ensure!(primary.member.as_deref() == Some(member) && primary.state == "serving", "{primary:?}");
            Ok(primary)
        })
        .await
    }

    /// Waits until the group serves and all other members replicate from its primary.
    pub async fn wait_settled(&self, deadline: Duration) -> Result<PrimaryAnswer> {
        let what = format!("group {} to serve with all standbys", self.group.name());
        wait_for(&what, deadline, async || {
            let primary = self.primary().await?;
            match &primary.member {
                Some(member) if primary.state == "serving" => {
                    self.group.wait_replicating(member, Duration::from_millis(200)).await?;
                    Ok(primary)
                }
                _ => bail!("{primary:?}"),
            }
        })
        .await
    }

    /// All members as targets of a load.
    pub fn targets(&self) -> Vec<Target> {
        self.group.targets()
    }
}

/// Gives the members the lines of their redis.conf.
async fn configure(
    cluster: &Cluster,
    workdir: &Workdir,
    group: &str,
    settings: &[String],
    config: &MemberConfig,
    members: &mut [(String, RedisOptions)],
) -> Result<()> {
    let addresses: Vec<(String, String)> = members
        .iter()
        .map(|(site, options)| {
            (site.clone(), format!("{}:{}", options.ip(), options.port.unwrap_or_default()))
        })
        .collect();
    let described = addresses.iter().map(|(site, address)| (site.as_str(), address.as_str()));
    let path = write_groups_toml(workdir, &groups_toml(group, settings, described))?;
    for (_, options) in members {
        options.config = match config {
            MemberConfig::Lines(lines) => lines.clone(),
            MemberConfig::Printed => {
                let args = ["redis-conf", "--group", group, "--member", &options.name, "-f"].map(Into::into);
                let args = args.into_iter().chain([path.clone().into_os_string()]);
                let output = cluster.cli().run(args.chain(cluster.user_args())).await?.success()?;
                output.stdout.lines().map(str::to_owned).collect()
            }
        };
    }
    Ok(())
}

fn write_groups_toml(workdir: &Workdir, text: &str) -> Result<PathBuf> {
    let path = workdir.path().join("groups.toml");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
