//! Follow: the member is shut, replicates from the primary, and keeps nothing of a fence.
//!
//! Many clients look for the new primary only when their connection ends, so those of an old primary are closed. Not
//! those of Primacy itself, nor replication.

use super::settings::{
    Answers, BACKLOG_FOR_EVER, BACKLOG_TTL, Commands, MIN_REPLICAS, PING_PERIOD, READ_ONLY,
};
use super::{Attempt, Fault};
use crate::link::NAME_PREFIX;
use crate::reply;
use primacy_core::view::{MemberRole, SHUT_MIN_REPLICAS};
use primacy_core::{Address, Outcome};

pub(super) async fn perform(attempt: &Attempt<'_>, primary: &Address, evict: bool) -> Result<Outcome, Fault> {
    if *primary == attempt.action.address {
        return Err(Fault::permanent("it cannot follow itself", "correct the addresses in groups.toml"));
    }
    let mut commands = Commands::default();
    commands.shut().set(READ_ONLY, "yes").notice_silence();
    if primary.tls {
        commands.set("tls-replication", "yes");
    }
    commands.add(&["REPLICAOF", &primary.host, &primary.port.to_string()]);
    commands.add(&["CLIENT", "UNPAUSE"]);
    commands.set(BACKLOG_TTL, BACKLOG_FOR_EVER);
    commands.set(PING_PERIOD, &attempt.periods.recall(&attempt.member()).to_string());
    commands.get(MIN_REPLICAS);
    commands.info("replication");
    let answers = commands.answers(attempt.shut(commands.pipeline()).await?);
    verify(&answers, primary)?;
    if evict {
        evict_clients(attempt).await?;
    }
    Ok(Outcome::Following)
}

fn verify(answers: &Answers, primary: &Address) -> Result<(), Fault> {
    answers.all_accepted("CONFIG SET")?;
    answers.all_accepted("REPLICAOF")?;
    answers.all_accepted("CLIENT")?;
    let in_force = answers.setting(MIN_REPLICAS)?;
    if in_force != SHUT_MIN_REPLICAS {
        let what = format!("{MIN_REPLICAS} was set to {SHUT_MIN_REPLICAS} and is {in_force}");
        return Err(Fault::passing(what, "find out who else sets it"));
    }
    let replication = answers.replication()?;
    match &replication.role {
        MemberRole::Replica { host, port, read_only: true, .. }
            if *host == primary.host && *port == primary.port =>
        {
            Ok(())
        }
        MemberRole::Replica { read_only: false, .. } => Err(Fault::passing(
            "it is a replica that accepts writes",
            format!("find out who sets {READ_ONLY} to no"),
        )),
        MemberRole::Replica { .. }
        | MemberRole::Primary { .. }
        | MemberRole::Endpoint
        | MemberRole::Cluster(_) => {
            let what = format!("it was pointed at {primary} and is {}", replication.describe());
            Err(Fault::passing(what, "find out who re-pointed it, such as a Sentinel"))
        }
    }
}

async fn evict_clients(attempt: &Attempt<'_>) -> Result<(), Fault> {
    let mut list = Commands::default();
    list.add(&["CLIENT", "LIST", "TYPE", "normal"]).add(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    let answers = list.answers(attempt.shut(list.pipeline()).await?);
    answers.all_accepted("CLIENT")?;
    let mut kill = Commands::default();
    let mut count = 0_usize;
    for kind in ["normal", "pubsub"] {
        let clients = reply::text(answers.raw(&format!("CLIENT LIST TYPE {kind}"))).unwrap_or_default();
        for id in clients.lines().filter_map(client_to_close) {
            kill.add(&["CLIENT", "KILL", "ID", id]);
            count += 1;
        }
    }
    if count > 0 {
        // One that has gone by itself meanwhile answers "no such client".
        attempt.shut(kill.pipeline()).await?;
        tracing::debug!(group = %attempt.action.group, member = %attempt.action.member, count, "clients closed");
    }
    Ok(())
}

/// The id in a line of `CLIENT LIST`, unless the connection is one of ours.
fn client_to_close(line: &str) -> Option<&str> {
    let value = |key: &str| line.split(' ').find_map(|part| part.strip_prefix(key));
    let ours = value("name=").is_some_and(|name| name.starts_with(NAME_PREFIX));
    if ours { None } else { value("id=") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_connections_are_spared() {
        let line = |name: &str| {
            format!("id=9 addr=127.0.0.1:38774 laddr=127.0.0.1:1 fd=8 name={name} age=0 flags=N")
        };
        assert_eq!(client_to_close(&line("")), Some("9"));
        assert_eq!(client_to_close(&line("app")), Some("9"));
        assert_eq!(client_to_close(&line("primacy-control")), None);
        assert_eq!(client_to_close(""), None);
    }
}
