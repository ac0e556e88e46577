//! Looking a server over before it becomes a member.
//!
//! The problem: a server that is a Sentinel, a cluster node, somebody else's replica, or that refuses one of our
//! commands, is found out in the middle of the first failover unless it is found out before. The idea: ask it all
//! that matters once, and try each right by a call that changes nothing: rights are checked before arguments are.

use crate::boot;
use crate::hand::PROBE_KEY;
use crate::link::{DialError, Session};
use crate::{Access, info, reply};
use primacy_core::Address;
use primacy_core::view::{BootFence, MemberRole};
use redis::{Pipeline, Value};
use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

const NAME_INSPECT: &str = "primacy-inspect";
/// What a member that is fenced on disk points at when it starts.
const FENCED_TARGET: (&str, u16) = ("127.0.0.1", 1);
const VERSION_MIN: (u32, u32) = (6, 2);

/// A server that can be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its own version: Valkey's, where it is Valkey.
    pub version: String,
    /// What it is at the moment.
    pub role: MemberRole,
    /// The replication id of its history.
    pub replid: String,
    /// Changes with each start; the same on two addresses means one server behind both.
    pub run_id: String,
    /// Keys in all databases.
    pub keys: u64,
    /// Path of its configuration; none when it was started without.
    pub config_file: Option<String>,
    /// `maxmemory` in bytes, 0 for no limit.
    pub maxmemory_bytes: u64,
    /// `min-replicas-to-write` at the moment.
    pub min_replicas: u64,
    /// What becomes of it when it restarts, as far as that can be seen from this host.
    pub boot: BootFence,
}

/// A server that cannot be a member, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}; {remedy}")]
pub struct InspectError {
    /// Its address.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

struct Finding {
    reason: String,
    remedy: &'static str,
}

fn found(reason: impl Into<String>, remedy: &'static str) -> Finding {
    Finding { reason: reason.into(), remedy }
}

impl From<DialError> for Finding {
    fn from(error: DialError) -> Self {
        found(error.to_string(), error.remedy())
    }
}

/// Looks a server over, changing nothing. `group` are the addresses of all members: a replica of one of them, or of
/// the target that a fenced configuration names, is fine.
///
/// # Errors
/// The first reason why it cannot be a member, or why that cannot be found out within that time.
pub async fn inspect(
    address: &Address,
    access: &Access,
    group: &[Address],
    within: Duration,
) -> Result<Inspection, InspectError> {
    let looked = primacy_runtime::timeout(within, look_over(address, access, group, within)).await;
    let late = || {
        Err(found(format!("it answered only in part within {within:?}"), "check the server and the network"))
    };
    looked.unwrap_or_else(|_| late()).map_err(|f| InspectError {
        key: address.to_string(),
        reason: f.reason,
        remedy: f.remedy.to_owned(),
    })
}

async fn look_over(
    address: &Address,
    access: &Access,
    group: &[Address],
    within: Duration,
) -> Result<Inspection, Finding> {
    // Less than the whole, so that it is known what took so long.
    let session = Session::open(address, access, NAME_INSPECT, within * 4 / 5).await?;
    let gone = |e: crate::link::AskError| found(e.to_string(), "check the server's log");
    let answers = session.ask(&questions()).await.map_err(gone)?;
    let server = what_it_is(&answers)?;
    let rights = session.ask(&rights()).await.map_err(gone)?;
    check_rights(&rights)?;
    let boot = boot::look(&server, address).await;
    let inspection = what_it_does(&answers, server, boot)?;
    check_source(&inspection.role, group).await?;
    check_sentinel(&session.ask(&clients()).await.map_err(gone)?)?;
    Ok(inspection)
}

const SECTIONS: [&str; 3] = ["server", "replication", "keyspace"];
const SETTINGS: [&str; 6] = [
    "min-replicas-to-write",
    "min-replicas-max-lag",
    "replica-read-only",
    "cluster-enabled",
    "maxmemory",
    "repl-ping-replica-period",
];

fn questions() -> Pipeline {
    let mut pipeline = redis::pipe();
    for section in SECTIONS {
        pipeline.cmd("INFO").arg(section);
    }
    for setting in SETTINGS {
        pipeline.cmd("CONFIG").arg("GET").arg(setting);
    }
    pipeline
}

fn section<'a>(answers: &'a [Value], name: &str) -> Result<&'a str, Finding> {
    let answer = SECTIONS.iter().position(|s| *s == name).and_then(|i| answers.get(i)).unwrap_or(&Value::Nil);
    match reply::refusal(answer) {
        Some(refused) => Err(found(format!("INFO is refused: {}", refused.line), RIGHTS)),
        None => {
            reply::text(answer).ok_or_else(|| found(format!("INFO is answered by {answer:?}"), NOT_REDIS))
        }
    }
}

fn setting<'a>(answers: &'a [Value], name: &str) -> Result<&'a str, Finding> {
    let index = SETTINGS.iter().position(|s| *s == name).map(|i| SECTIONS.len() + i);
    let answer = index.and_then(|i| answers.get(i)).unwrap_or(&Value::Nil);
    match reply::refusal(answer) {
        Some(refused) => Err(found(format!("CONFIG GET is refused: {}", refused.line), RIGHTS)),
        None => reply::setting(answer).ok_or_else(|| found(format!("it has no setting {name}"), NOT_REDIS)),
    }
}

const RIGHTS: &str = "give the user the rights that `primacy redis-conf` prints";
const NOT_REDIS: &str = "correct the address: it must be that of a Redis or Valkey server from 6.2 on";

fn what_it_is(answers: &[Value]) -> Result<info::Server, Finding> {
    let server = info::Server::parse(section(answers, "server")?);
    match server.mode.as_str() {
        "sentinel" => {
            return Err(found(
                "it is a Sentinel",
                "name the servers that it watches, on their own ports (usually 6379)",
            ));
        }
        "cluster" => return Err(found("it runs in cluster mode", CLUSTER)),
        _ => {}
    }
    let mut numbers = server.redis_version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if server.run_id.is_empty() || version == (0, 0) {
        return Err(found("its INFO names no run id or version", NOT_REDIS));
    }
    if version < VERSION_MIN {
        let reason =
            format!("its version is {}, and 6.2 is the oldest that can be fenced", server.redis_version);
        return Err(found(reason, "upgrade it"));
    }
    Ok(server)
}

const CLUSTER: &str =
    "Redis Cluster fails over by itself; set cluster-enabled no, or leave it out of groups.toml";

fn what_it_does(answers: &[Value], server: info::Server, boot: BootFence) -> Result<Inspection, Finding> {
    let replication = info::Replication::parse(section(answers, "replication")?);
    let replication =
        replication.ok_or_else(|| found("INFO replication has no role or no history", NOT_REDIS))?;
    if setting(answers, "cluster-enabled")? == "yes" {
        return Err(found("it runs in cluster mode", CLUSTER));
    }
    if setting(answers, "replica-read-only")? == "no" {
        return Err(found(
            "as a replica it accepts writes (replica-read-only no)",
            "set replica-read-only yes, in its configuration too",
        ));
    }
    if setting(answers, "min-replicas-max-lag")? == "0" {
        return Err(found(
            "min-replicas-max-lag is 0, which switches min-replicas-to-write off, and with it every fence",
            "set min-replicas-max-lag 1, in its configuration too",
        ));
    }
    let number = |name| setting(answers, name).map(|value| value.parse().unwrap_or_default());
    let config_file = Some(server.config_file).filter(|path| !path.is_empty());
    Ok(Inspection {
        version: server.version,
        role: replication.role,
        replid: replication.replid,
        run_id: server.run_id,
        keys: info::keys(section(answers, "keyspace")?),
        config_file,
        maxmemory_bytes: number("maxmemory")?,
        min_replicas: number("min-replicas-to-write")?,
        boot,
    })
}

/// Each right that an action needs. Where a call with good arguments would change something the arguments are bad,
/// and it is refused for that, after the rights were checked.
fn rights() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("CONFIG").arg("SET").arg("min-replicas-to-write").arg("primacy-check");
    pipeline.cmd("CLIENT").arg("PAUSE").arg("primacy-check").arg("WRITE");
    pipeline.cmd("CLIENT").arg("KILL").arg("ID").arg("0");
    pipeline.cmd("CLIENT").arg("LIST").arg("TYPE").arg("primacy-check");
    pipeline.cmd("REPLICAOF").arg("127.0.0.1").arg("primacy-check");
    // The rule does not exist, and a user is made only when all its rules are good.
    pipeline.cmd("ACL").arg("SETUSER").arg("primacy-check").arg("primacy-check");
    pipeline.cmd("ACL").arg("GETUSER").arg("primacy-check");
    pipeline.cmd("ROLE");
    pipeline.cmd("DEL").arg(PROBE_KEY);
    pipeline.cmd("REPLCONF").arg("primacy-check").arg("1");
    // Behind other commands, and without an offset, it is refused for either.
    pipeline.cmd("PSYNC").arg("?").arg("primacy-check");
    pipeline
}

fn check_rights(answers: &[Value]) -> Result<(), Finding> {
    let denied =
        answers.iter().filter_map(reply::refusal).find(|r| matches!(r.code.as_str(), "NOPERM" | "NOAUTH"));
    match denied {
        Some(refused) => Err(found(format!("our user lacks a right: {}", refused.line), RIGHTS)),
        None => Ok(()),
    }
}

fn clients() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("CLIENT").arg("LIST").arg("TYPE").arg("normal");
    pipeline
}

fn check_sentinel(answers: &[Value]) -> Result<(), Finding> {
    let list = answers.first().and_then(reply::text).unwrap_or_default();
    let sentinel = list.lines().find(|line| line.split(' ').any(|part| part.starts_with("name=sentinel-")));
    let address = sentinel.and_then(|line| line.split(' ').find_map(|part| part.strip_prefix("addr=")));
    match sentinel {
        Some(_) => Err(found(
            format!(
                "a Sentinel at {} watches it and would undo every switch",
                address.unwrap_or("an unknown address")
            ),
            "stop the Sentinels, or take the server out of them: SENTINEL REMOVE NAME",
        )),
        None => Ok(()),
    }
}

/// A replica of a stranger carries the stranger's data.
async fn check_source(role: &MemberRole, group: &[Address]) -> Result<(), Finding> {
    let MemberRole::Replica { host, port, .. } = role else { return Ok(()) };
    if (host.as_str(), *port) == FENCED_TARGET || group.iter().any(|a| a.host == *host && a.port == *port) {
        return Ok(());
    }
    let source = (host.clone(), *port);
    let members: Vec<_> =
        group.iter().filter(|a| a.port == *port).map(|a| (a.host.clone(), a.port)).collect();
    let same = primacy_runtime::blocking(move || {
        let ips = resolve(&source);
        members.iter().any(|member| !resolve(member).is_disjoint(&ips))
    });
    if same.await.unwrap_or(false) {
        return Ok(());
    }
    Err(found(
        format!("it is a replica of {host}:{port}, which is no member of the group"),
        "correct the addresses, or detach it: REPLICAOF NO ONE",
    ))
}

fn resolve(target: &(String, u16)) -> BTreeSet<IpAddr> {
    let resolved = (target.0.as_str(), target.1).to_socket_addrs();
    resolved.map(|addresses| addresses.map(|a| a.ip()).collect()).unwrap_or_default()
}
