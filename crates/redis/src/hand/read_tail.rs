//! A candidate reads the tail that a witness kept, as it would read its primary's stream.
//!
//! Its own count of what it has read tells when it is at the end, a command cut off in the middle included.

use super::settings::Commands;
use super::{ActionError, Attempt, Fault, Hand};
use primacy_core::{Action, Address, Position};
use primacy_runtime::{now, sleep};
use std::time::Duration;

const POLL_PAUSE: Duration = Duration::from_millis(1);

impl Hand {
    /// How far the member's data reaches, and of which history: of one that was promoted, the history before.
    ///
    /// # Errors
    /// When it does not answer, or is a primary of no history before.
    pub async fn reach(&self, action: &Action, within: Duration) -> Result<Reached, ActionError> {
        let attempt = self.attempt(action, within);
        reach(&attempt).await.map_err(|fault| attempt.report(fault))
    }

    /// Points the member at `source` and waits until it has read up to `end`.
    ///
    /// # Errors
    /// When it does not get there in time, or reads another history.
    pub async fn read_tail(
        &self,
        action: &Action,
        source: &Address,
        end: &Position,
        within: Duration,
    ) -> Result<(), ActionError> {
        let attempt = self.attempt(action, within);
        read(&attempt, source, end).await.map_err(|fault| attempt.report(fault))
    }
}

/// How far a member's data reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// In which history, and how far.
    pub position: Position,
    /// Whether it was promoted there, so that it must not be made to read on.
    pub promoted: bool,
}

async fn reach(attempt: &Attempt<'_>) -> Result<Reached, Fault> {
    let mut look = Commands::default();
    look.info("replication");
    let session = attempt.session().await?;
    let replies = session.ask_until(look.pipeline(), attempt.deadline).await?;
    let replication = look.answers(replies).replication()?;
    if replication.is_primary() {
        let already = || Fault::passing("it is a primary already", "nothing: the leader decides anew");
        let replid = replication.replid2.ok_or_else(already)?;
        let offset_bytes = replication.second_offset_bytes.saturating_sub(1);
        return Ok(Reached { position: Position { replid, offset_bytes }, promoted: true });
    }
    let offset_bytes = super::fence::end_of(&replication).offset_bytes;
    Ok(Reached { position: Position { replid: replication.replid, offset_bytes }, promoted: false })
}

async fn read(attempt: &Attempt<'_>, source: &Address, end: &Position) -> Result<(), Fault> {
    let mut point = Commands::default();
    point.shut();
    if source.tls {
        point.set("tls-replication", "yes");
    }
    point.add(&["REPLICAOF", &source.host, &source.port.to_string()]);
    let answers = point.answers(attempt.shut(point.pipeline()).await?);
    answers.all_accepted("CONFIG SET")?;
    answers.all_accepted("REPLICAOF")?;
    loop {
        let Reached { position: at, promoted } = reach(attempt).await?;
        if promoted {
            return Err(Fault::passing("it was promoted meanwhile", "nothing: the leader decides anew"));
        }
        if at.replid != end.replid {
            let what = format!("it holds history {} and not {}", at.replid, end.replid);
            return Err(Fault::permanent(what, "promote another member"));
        }
        if at.offset_bytes >= end.offset_bytes {
            return Ok(());
        }
        if now() >= attempt.deadline {
            let what =
                format!("it has read up to {} of {} in the time given", at.offset_bytes, end.offset_bytes);
            return Err(Fault::passing(what, "see the member's log for what keeps it from the tail"));
        }
        sleep(POLL_PAUSE).await;
    }
}
