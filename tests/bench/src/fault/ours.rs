//! Primacy, with a gate at each node.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use primacy_client::Client;
use primacy_testbed::{Deployment, DeploymentOptions, RedisGroup, Wan, wait_for};
use primacy_wire::v1::HistoryRequest;
use primacy_wire::v1::loss::Amount;

use super::{Crowd, SETTLE_DEADLINE, Side, Writers, site_of};
use crate::fleet::cluster_options;
use crate::locate::SdkLocate;

/// More transitions than any round makes.
const HISTORY: u32 = 50;
/// How long a member that is waited out may have answered, nobody knows beforehand.
const ANY_LOSS: &str = "max_loss = \"any\"";

/// A deployment that is looked at from outside.
pub(crate) struct Ours {
    pub(crate) deployment: Deployment,
    /// The epoch of the last transition whose loss was asked for.
    counted: u64,
    members: usize,
}

/// Options of a deployment with a gate at each node and lines of its group in groups.toml.
pub(crate) fn options(binary: &Path, settings: &[&str]) -> DeploymentOptions {
    let mut options = DeploymentOptions::new(binary);
    options.cluster = cluster_options(binary);
    options.cluster.gates = vec![options.group.clone()];
    options.group_settings = settings.iter().map(|&line| line.to_owned()).collect();
    options
}

/// The same, with the timings of a WAN and at its sites.
pub(crate) fn options_over(binary: &Path, wan: &Wan, settings: &[&str]) -> DeploymentOptions {
    let mut options = options(binary, settings);
    "wan".clone_into(&mut options.cluster.profile);
    options.cluster.wan = Some(wan.clone());
    options
}

impl Ours {
    /// Three nodes, three members, all on this machine.
    pub(crate) async fn start(binary: &Path, settings: &[&str]) -> Result<Self> {
        Self::start_with(options(binary, settings)).await
    }

    /// Three sites, of which the first `members` have one; with timings that differ from those of a WAN.
    pub(crate) async fn start_over(
        binary: &Path,
        wan: &Wan,
        members: usize,
        timings: &[(&str, &str)],
    ) -> Result<Self> {
        let mut options = options_over(binary, wan, &[ANY_LOSS]);
        options.cluster.timings =
            timings.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        options.member_sites = options.cluster.sites.iter().take(members).cloned().collect();
        Self::start_with(options).await
    }

    /// The same for faults that are waited out.
    pub(crate) async fn start_patient(binary: &Path, more: &[&str]) -> Result<Self> {
        let settings: Vec<&str> = std::iter::once(ANY_LOSS).chain(more.iter().copied()).collect();
        Self::start(binary, &settings).await
    }

    /// Starts it, and returns when nothing is left to be done.
    pub(crate) async fn start_with(options: DeploymentOptions) -> Result<Self> {
        let deployment = Deployment::start_serving(options).await?;
        let members = deployment.group.servers().count();
        let mut ours = Self { deployment, counted: 0, members };
        ours.ready().await?;
        ours.reported_bytes().await?;
        Ok(ours)
    }

    /// Makes the node beside the primary the leader, or one at another site where none of these leads already.
    pub(crate) async fn let_lead(&self, at_primary: bool) -> Result<()> {
        let primary = self.deployment.wait_settled(SETTLE_DEADLINE).await?.member;
        let primary = primary.context("the group serves without a primary")?;
        let wanted = |id: &u64| Ok::<_, anyhow::Error>((self.site(*id)? == site_of(&primary)) == at_primary);
        let leader = self.deployment.cluster.leader().await?;
        if wanted(&leader)? {
            return Ok(());
        }
        for id in self.nodes() {
            if wanted(&id)? {
                return self.lead(id).await;
            }
        }
        bail!("no node is where it should be")
    }

    /// Makes a node the leader.
    pub(crate) async fn lead(&self, id: u64) -> Result<()> {
        wait_for(&format!("n{id} to lead"), SETTLE_DEADLINE, async || {
            if self.deployment.cluster.leader().await? != id {
                self.deployment.cli(["cluster", "transfer", "--to", &id.to_string()]).await?.success()?;
                let leader = self.deployment.cluster.leader().await?;
                ensure!(leader == id, "n{leader} leads");
            }
            Ok(())
        })
        .await
    }

    /// The ids of the nodes.
    pub(crate) fn nodes(&self) -> Vec<u64> {
        self.deployment.cluster.nodes().iter().map(primacy_testbed::Node::id).collect()
    }

    /// The site of a node.
    pub(crate) fn site(&self, id: u64) -> Result<&str> {
        Ok(self.deployment.cluster.node(id)?.site())
    }

    /// The gate at a site.
    pub(crate) fn gate_at(&self, site: &str) -> Result<&str> {
        let node = self.deployment.cluster.nodes().iter().find(|node| node.site() == site);
        node.and_then(|node| node.gate(self.deployment.group.name())).context("there is no gate")
    }

    /// No transition is under way, every check of a switchover passes, and the fence is whole.
    async fn at_rest(&self) -> Result<()> {
        let check = self.deployment.cli(["switchover", self.deployment.group.name(), "--dry-run"]).await?;
        check.success()?;
        // The witness and, of the replicas, a majority of all.
        let min_replicas = if self.members > 2 { 2 } else { 1 };
        self.deployment.fence_is_whole(min_replicas).await
    }
}

impl Side for Ours {
    async fn ready(&mut self) -> Result<String> {
        let primary = self.deployment.wait_settled(SETTLE_DEADLINE).await?;
        wait_for("the group to be at rest", SETTLE_DEADLINE, || self.at_rest()).await?;
        primary.member.context("the group serves without a primary")
    }

    fn group(&self) -> &RedisGroup {
        &self.deployment.group
    }

    fn group_mut(&mut self) -> &mut RedisGroup {
        &mut self.deployment.group
    }

    fn called(&self, member: &str) -> Result<String> {
        Ok(member.to_owned())
    }

    async fn crowd(&self, writers: Writers, key_prefix: &str) -> Result<Crowd> {
        let Deployment { cluster, group, .. } = &self.deployment;
        let primary = self.deployment.primary().await?.site.context("the group has no primary")?;
        let locate = SdkLocate::new(cluster.endpoints(), group.name()).await?;
        // The nearest first, as a client at the primary's site would.
        let mut nodes: Vec<_> = cluster.nodes().iter().collect();
        nodes.sort_by_key(|node| node.site() != primary);
        let gates = nodes.iter().filter_map(|node| Some(node.gate(group.name())?.to_owned()));
        Crowd::start(writers, key_prefix, locate, group.targets(), gates.collect())
    }

    async fn settled(&mut self, _old: &str) -> Result<String> {
        let primary = self.deployment.wait_settled(SETTLE_DEADLINE).await?;
        wait_for("the transition to end", SETTLE_DEADLINE, || self.at_rest()).await?;
        primary.member.context("the group serves without a primary")
    }

    async fn reported_bytes(&mut self) -> Result<Option<u64>> {
        let client = Client::connect(self.deployment.cluster.endpoints()).await?;
        let request = HistoryRequest { group: self.deployment.group.name().to_owned(), last: HISTORY };
        let all = client.admin().history(request).await?.transitions;
        let since = all.iter().filter(|transition| transition.epoch > self.counted);
        let lost =
            since.map(|transition| match transition.lost.as_ref().and_then(|lost| lost.amount.as_ref()) {
                Some(Amount::ExactBytes(bytes) | Amount::AtMostBytes(bytes)) => Some(*bytes),
                Some(Amount::Unknown(_)) | None => None,
            });
        let lost = lost.sum();
        self.counted = all.iter().map(|transition| transition.epoch).fold(self.counted, u64::max);
        Ok(lost)
    }
}
