use super::{Ask, failure_of, invalid_file, understood};
use crate::exit::Failure;
use clap::Args;
use primacy_core::{GroupName, GroupSpec, MemberName};
use primacy_node::config::{GroupsFile, NodeConfig};
use primacy_redis::ConfSecrets;
use primacy_wire::{WireError, v1};
use std::path::{Path, PathBuf};

/// Prints the lines that a member's redis.conf needs
///
/// With them a server that boots is nobody's primary and refuses writes: Primacy opens it at run time and never
/// rewrites the file. Append them to redis.conf, or include them from it.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy redis-conf --group features --member east-a                    as the cluster knows the group
  primacy redis-conf --group features --member east-a -f groups.toml     before the group is applied
  primacy redis-conf --group features --member east-a -f groups.toml -c node.toml
                                                                         with the ACL user of node.toml")]
pub(crate) struct RedisConfArgs {
    /// The group
    #[arg(long, value_name = "GROUP")]
    group: String,

    /// The member
    #[arg(long, value_name = "MEMBER")]
    member: String,

    /// Take the group from this file and ask no node
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Take the user and password of the members from this node's configuration
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Whom Primacy logs in as, where no configuration says otherwise.
const USERNAME: &str = "primacy";

pub(crate) async fn run(args: RedisConfArgs, ask: &Ask) -> Result<(), Failure> {
    let spec = match &args.file {
        Some(path) => from_file(path, &args.group)?,
        None => from_cluster(&args.group, ask).await?,
    };
    let member: MemberName =
        args.member.parse().map_err(|error| Failure::usage(format!("--member: {error}")))?;
    let secrets = secrets(args.config.as_deref(), &spec.name)?;
    let lines = primacy_redis::redis_conf(&spec, &member, &secrets);
    ask.screen.write(&lines.map_err(|error| Failure::usage(error.to_string()))?)?;
    Ok(())
}

fn from_file(path: &Path, group: &str) -> Result<GroupSpec, Failure> {
    let groups = GroupsFile::load(path).map_err(|problems| invalid_file(path, &problems))?;
    let known: Vec<&str> = groups.iter().map(|spec| spec.name.as_str()).collect();
    let unknown = format!("{} has no group {group}; it has {}", path.display(), known.join(", "));
    groups.into_iter().find(|spec| spec.name.as_str() == group).ok_or_else(|| Failure::usage(unknown))
}

async fn from_cluster(group: &str, ask: &Ask) -> Result<GroupSpec, Failure> {
    let request = v1::StatusRequest { group: Some(group.to_owned()) };
    let answer = ask.client.admin().status(request).await.map_err(|error| failure_of(&error))?;
    let spec = answer.groups.into_iter().find_map(|status| status.spec);
    understood(spec.ok_or_else(|| WireError::missing("groups.spec")).and_then(GroupSpec::try_from))
}

fn secrets(config: Option<&Path>, group: &GroupName) -> Result<ConfSecrets, Failure> {
    let Some(path) = config else {
        return Ok(ConfSecrets { username: USERNAME.to_owned(), password: None });
    };
    let config = NodeConfig::load(path).map_err(|problems| invalid_file(path, &problems))?;
    let credentials = config.redis.of(group);
    Ok(ConfSecrets {
        username: credentials.username.clone().unwrap_or_else(|| USERNAME.to_owned()),
        password: credentials.password.as_ref().map(|password| password.expose().to_owned()),
    })
}
