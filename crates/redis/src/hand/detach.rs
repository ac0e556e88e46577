//! Detach: a standby is taken away from its primary and keeps what it has.
//!
//! It is pointed where nobody listens, as its own file would have it after a restart, so nothing but a later action
//! of ours points it back. The cached state of its former link stays, so it can go on by a partial resync.

use super::settings::{Commands, READ_ONLY};
use super::{Attempt, Fault};
use primacy_core::Outcome;
use primacy_core::view::MemberRole;

const NOWHERE: (&str, u16) = ("127.0.0.1", 1);

pub(super) async fn perform(attempt: &Attempt<'_>) -> Result<Outcome, Fault> {
    let mut commands = Commands::default();
    // What an older leader sent and was not run yet must not point it back afterwards.
    attempt.close_others(&mut commands);
    commands.shut().set(READ_ONLY, "yes");
    commands.add(&["REPLICAOF", NOWHERE.0, &NOWHERE.1.to_string()]);
    commands.info("replication");
    let answers = commands.answers(attempt.shut(commands.pipeline()).await?);
    answers.all_accepted("CLIENT")?;
    answers.all_accepted("CONFIG SET")?;
    answers.all_accepted("REPLICAOF")?;
    let replication = answers.replication()?;
    match &replication.role {
        MemberRole::Replica { host, port, .. } if (host.as_str(), *port) == NOWHERE => Ok(Outcome::Detached),
        MemberRole::Replica { .. }
        | MemberRole::Primary { .. }
        | MemberRole::Endpoint
        | MemberRole::Cluster(_) => {
            let what = format!("it was taken away from its primary and is {}", replication.describe());
            Err(Fault::passing(what, "find out who re-pointed it, such as a Sentinel"))
        }
    }
}
