//! Open: the new primary accepts writes.

use super::settings::{Answers, Commands, MIN_REPLICAS, PING_PERIOD, PING_PERIOD_FENCED};
use super::{Attempt, Fault, accepted};
use crate::link::Session;
use crate::reply;
use primacy_core::Outcome;

pub(super) async fn perform(attempt: &Attempt<'_>, min_replicas: u64) -> Result<Outcome, Fault> {
    let session = attempt.session().await?;
    let mut commands = Commands::default();
    commands.get(PING_PERIOD);
    commands.notice_silence();
    commands.set(MIN_REPLICAS, &min_replicas.to_string());
    // What a fence of an earlier epoch may have left behind.
    commands.add(&["CLIENT", "UNPAUSE"]);
    commands.info("replication");
    commands.get(MIN_REPLICAS);
    commands.probe_write();
    let answers = commands.answers(attempt.act(&session, commands.pipeline()).await?);
    verify(attempt, &session, &answers, min_replicas).await?;
    if answers.setting(PING_PERIOD)? == PING_PERIOD_FENCED {
        let mut commands = Commands::default();
        commands.set(PING_PERIOD, &attempt.periods.recall(&attempt.member()).to_string());
        let answers = commands.answers(attempt.shut(commands.pipeline()).await?);
        answers.all_accepted("CONFIG SET")?;
    }
    Ok(Outcome::Opened)
}

/// It is primary and would accept a write. A member that is not is shut again: the next promotion must find it so.
pub(super) async fn verify(
    attempt: &Attempt<'_>,
    session: &Session,
    answers: &Answers,
    min_replicas: u64,
) -> Result<(), Fault> {
    let verified = verdict(answers, min_replicas);
    if verified.is_err() {
        let mut commands = Commands::default();
        commands.shut();
        if let Err(error) = session.ask_until(commands.pipeline(), attempt.deadline).await {
            tracing::debug!(group = %attempt.action.group, member = %attempt.action.member, %error, "not shut again");
        }
    }
    verified
}

fn verdict(answers: &Answers, min_replicas: u64) -> Result<(), Fault> {
    answers.all_accepted("CONFIG SET")?;
    answers.all_accepted("CLIENT")?;
    let replication = answers.replication()?;
    if !replication.is_primary() {
        let what = format!("it is {} and no primary", replication.describe());
        return Err(Fault::passing(what, "find out who re-pointed it, such as a Sentinel"));
    }
    let in_force = answers.setting(MIN_REPLICAS)?;
    if in_force != min_replicas {
        let what = format!("{MIN_REPLICAS} was set to {min_replicas} and is {in_force}");
        return Err(Fault::passing(what, "find out who else sets it"));
    }
    let probe = answers.raw("DEL");
    match reply::refusal(probe).as_ref().map(|r| r.code.as_str()) {
        // The door is open; that the disk is full, or the memory, is the server's own trouble and named in its log.
        None | Some("MISCONF" | "OOM") => Ok(()),
        // Nobody of its quorum is attached yet: the first who is opens it.
        Some("NOREPLICAS") if min_replicas > 0 => Ok(()),
        Some(_) => accepted("a write", probe).map(drop),
    }
}
