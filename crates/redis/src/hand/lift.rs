//! Lift: the fenced member stays primary and accepts writes again.

use super::settings::{Commands, MIN_REPLICAS, PING_PERIOD};
use super::{Attempt, Fault, open};
use primacy_core::Outcome;

pub(super) async fn perform(attempt: &Attempt<'_>, min_replicas: u64) -> Result<Outcome, Fault> {
    let session = attempt.session().await?;
    let mut commands = Commands::default();
    commands.set(PING_PERIOD, &attempt.periods.recall(&attempt.member()).to_string());
    // Before the pause ends: who waited is then served instead of refused.
    commands.set(MIN_REPLICAS, &min_replicas.to_string());
    commands.add(&["CLIENT", "UNPAUSE"]);
    commands.info("replication");
    commands.get(MIN_REPLICAS);
    commands.probe_write();
    let answers = commands.answers(attempt.act(&session, commands.pipeline()).await?);
    open::verify(attempt, &session, &answers, min_replicas).await?;
    Ok(Outcome::Lifted)
}
