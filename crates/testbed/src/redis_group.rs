//! The Redis servers of one group, one at each site.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use futures::future::try_join_all;

use crate::load::Target;
use crate::redis_server::{RedisOptions, RedisServer};
use crate::wait::wait_for;
use crate::wan::Wan;

/// Running members. The first is the most preferred.
#[derive(Debug)]
pub struct RedisGroup {
    name: String,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    site: String,
    server: RedisServer,
}

impl RedisGroup {
    /// The name of the member at a site.
    pub fn member_name(site: &str) -> String {
        format!("{site}-a")
    }

    /// Starts one server for each (site, options), at the same time.
    pub async fn start(name: impl Into<String>, members: Vec<(String, RedisOptions)>) -> Result<Self> {
        let starting = members.into_iter().map(|(site, options)| async {
            Ok::<_, anyhow::Error>(Member { site, server: RedisServer::start(options).await? })
        });
        Ok(Self { name: name.into(), members: try_join_all(starting).await? })
    }

    /// Starts a group without any coordinator: the first member writable, the others its replicas. Returns when
    /// their links are up.
    pub async fn start_replicating(
        name: impl Into<String>,
        sites: &[&str],
        dir: &Path,
        deadline: Duration,
    ) -> Result<Self> {
        Self::start_replicating_over(None, name, sites, dir, deadline).await
    }

    /// Like [`RedisGroup::start_replicating`], each server at the host of its site when there is a WAN.
    pub async fn start_replicating_over(
        wan: Option<&Wan>,
        name: impl Into<String>,
        sites: &[&str],
        dir: &Path,
        deadline: Duration,
    ) -> Result<Self> {
        let member = |site: &str| {
            let mut options = RedisOptions::new(Self::member_name(site), dir.join(Self::member_name(site)));
            options.host = wan.map(|wan| wan.host(site).cloned()).transpose()?;
            Ok::<_, anyhow::Error>(options)
        };
        let (first, others) = sites.split_first().ok_or_else(|| anyhow!("a group needs a site"))?;
        let mut group = Self::start(name, vec![((*first).to_owned(), member(first)?)]).await?;
        let address = group.members.first().map(|first| first.server.address()).unwrap_or_default();
        let replica_of = format!("replicaof {}", address.replace(':', " "));
        let mut replicas = Vec::new();
        for site in others {
            let mut options = member(site)?;
            options.config.push(replica_of.clone());
            replicas.push(((*site).to_owned(), options));
        }
        let replicas = Self::start("", replicas).await?;
        group.members.extend(replicas.members);
        let primary = group.members.first().map(|first| first.server.name().to_owned()).unwrap_or_default();
        group.wait_replicating(&primary, deadline).await?;
        Ok(group)
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The members' servers, the most preferred first.
    pub fn servers(&self) -> impl Iterator<Item = &RedisServer> {
        self.members.iter().map(|member| &member.server)
    }

    /// A member's server by its name.
    pub fn member(&self, name: &str) -> Result<&RedisServer> {
        self.servers().find(|server| server.name() == name).ok_or_else(|| self.unknown(name))
    }

    /// A member's server by its name, to restart it.
    pub fn member_mut(&mut self, name: &str) -> Result<&mut RedisServer> {
        let unknown = self.unknown(name);
        self.members
            .iter_mut()
            .map(|member| &mut member.server)
            .find(|server| server.name() == name)
            .ok_or(unknown)
    }

    /// All members as targets of a load.
    pub fn targets(&self) -> Vec<Target> {
        self.servers().map(|server| Target::new(server.name(), server.address())).collect()
    }

    /// Waits until all other members replicate from `primary` with their link up.
    pub async fn wait_replicating(&self, primary: &str, deadline: Duration) -> Result<()> {
        let port = self.member(primary)?.port().to_string();
        for standby in self.servers().filter(|server| server.name() != primary) {
            wait_for(&format!("{} to replicate from {primary}", standby.name()), deadline, async || {
                let info = standby.info().await?;
                let field = |name: &str| info.get(name).map_or("", String::as_str);
                let (role, link, of) = (field("role"), field("master_link_status"), field("master_port"));
                ensure!(link == "up" && of == port, "role {role}, link {link:?} to port {of:?}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// The group as a table of groups.toml; `settings` are lines such as `failover = "manual"`.
    pub fn toml(&self, settings: &[String]) -> String {
        let members = self.members.iter().map(|member| (member.site.as_str(), member.server.address()));
        groups_toml(&self.name, settings, members)
    }

    fn unknown(&self, member: &str) -> anyhow::Error {
        anyhow!("group {} has no member {member}", self.name)
    }
}

/// Text of groups.toml for one group with members (site, address), the most preferred first.
pub(crate) fn groups_toml<'a>(
    name: &str,
    settings: &[String],
    members: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut text = format!("[[redis]]\nname = {name:?}\n");
    // Writing to a string cannot fail.
    for line in settings {
        let _ = writeln!(text, "{line}");
    }
    for (index, (site, address)) in members.enumerate() {
        let member = RedisGroup::member_name(site);
        let priority = 100_usize.saturating_sub(index * 10).max(1);
        let _ = write!(
            text,
            "\n[[redis.member]]\nname = {member:?}\nsite = {site:?}\naddress = {address:?}\npriority = {priority}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_file_is_as_the_contract_says() {
        let members = [("east", "127.0.0.1:1"), ("north", "127.0.0.1:2")];
        let text = groups_toml("features", &["failover = \"manual\"".to_owned()], members.into_iter());
        let expected = r#"[[redis]]
name = "features"
failover = "manual"

[[redis.member]]
name = "east-a"
site = "east"
address = "127.0.0.1:1"
priority = 100

[[redis.member]]
name = "north-a"
site = "north"
address = "127.0.0.1:2"
priority = 90
"#;
        assert_eq!(text, expected);
    }
}
