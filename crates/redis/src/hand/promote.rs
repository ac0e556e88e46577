//! Promote: the member becomes primary, shut, of the history that was expected.
//!
//! Two round trips: what it is must be known before it is changed. Both happen on one connection, so it is one
//! process. Done before, it is found done: the same lineage comes back.
//!
//! A server without a backlog (it never had a replica, or was restarted) gives its history another id, and forgets
//! the one before, when the first replica attaches. That would make every standby one of an unknown history; so the
//! id is settled here, by beginning a resync and hanging up. What the history continues is then written nowhere but
//! in a setting that only lasts as long as the process: the time until the backlog is given up, long enough never to
//! come.

use super::settings::{Answers, BACKLOG_TTL, Commands, MAX_LAG, MIN_REPLICAS, READ_ONLY};
use super::{Attempt, Fault, quorum};
use crate::info::Replication;
use crate::link::{Resync, Session};
use primacy_core::view::SHUT_MIN_REPLICAS;
use primacy_core::{Lineage, Position, Promoted, Promotion};
use std::time::Duration;

const SETTLE_PAUSE: Duration = Duration::from_millis(1);

pub(super) async fn perform(attempt: &Attempt<'_>, promotion: &Promotion) -> Result<Promoted, Fault> {
    let Promotion { admit, refuse, .. } = promotion;
    let expected = promotion.expected.as_deref();
    let session = attempt.session().await?;
    let mut look = Commands::default();
    // A leader that was frozen may have told this member to follow somebody, which would undo the promotion when it
    // wakes up: what was sent on older connections must not run after it.
    attempt.close_others(&mut look);
    look.shut().set(READ_ONLY, "yes").get(MAX_LAG).get(BACKLOG_TTL).info("server").info("replication");
    quorum::ask_users(&mut look, admit.iter().chain(refuse));
    let found = look.answers(attempt.act(&session, look.pipeline()).await?);
    found.all_accepted("CLIENT")?;
    found.all_accepted("CONFIG SET")?;
    let run_id = found.server()?.run_id;
    if promotion.run_id.as_ref().is_some_and(|process| *process != run_id) {
        return Err(Fault::permanent(
            format!("it was restarted: its run id is {run_id} now"),
            "nothing: the leader decides anew",
        ));
    }
    check(&found, expected)?;

    let mut act = Commands::default();
    // Shut again in the same write: whatever happened since the look, it becomes primary behind a shut door.
    act.shut().set(BACKLOG_TTL, &continuation_mark(expected).to_string());
    act.add(&["REPLICAOF", "NO", "ONE"]);
    // Before anybody can attach: who is not part of the quorum must never count.
    quorum::switch_users(&mut act, &found, admit, refuse);
    quorum::ask_users(&mut act, refuse.iter());
    ask_back(&mut act);
    let mut answers = act.answers(attempt.act(&session, act.pipeline()).await?);
    answers.all_accepted("REPLICAOF")?;
    let refused = quorum::refused(&answers, refuse);
    let mut replication = verified(&answers, expected)?;
    let previous = replication.replid2.clone();
    if !replication.backlog {
        answers = settle_history(attempt, &session).await?;
        replication = verified(&answers, expected)?;
    }
    let lineage = lineage(run_id, replication, previous.as_deref().or(expected));
    Ok(Promoted { lineage, refused })
}

/// What [`verified`] looks at.
fn ask_back(commands: &mut Commands) {
    commands.get(MIN_REPLICAS).get(BACKLOG_TTL).info("replication");
}

fn check(found: &Answers, expected: Option<&str>) -> Result<(), Fault> {
    if found.setting(MAX_LAG)? == 0 {
        return Err(Fault::permanent(
            format!("{MAX_LAG} is 0, which switches {MIN_REPLICAS} off: it would be open at once"),
            format!("set {MAX_LAG} to 1"),
        ));
    }
    let replication = found.replication()?;
    if replication.syncing {
        return Err(Fault::passing(
            "it is taking a full copy and has no data of its own",
            "wait until it has it",
        ));
    }
    check_history(&replication, found.setting(BACKLOG_TTL)?, expected)
}

fn verified(answers: &Answers, expected: Option<&str>) -> Result<Replication, Fault> {
    answers.all_accepted("CONFIG SET")?;
    let replication = answers.replication()?;
    if !replication.is_primary() {
        let what = format!("after REPLICAOF NO ONE it is {}", replication.describe());
        return Err(Fault::passing(what, "find out who re-pointed it, such as a Sentinel"));
    }
    let in_force = answers.setting(MIN_REPLICAS)?;
    if in_force != SHUT_MIN_REPLICAS {
        let what = format!("{MIN_REPLICAS} was set to {SHUT_MIN_REPLICAS} and is {in_force}");
        return Err(Fault::passing(what, "find out who else sets it"));
    }
    check_history(&replication, answers.setting(BACKLOG_TTL)?, expected)?;
    Ok(replication)
}

/// It holds the expected history, or was promoted out of it already.
fn check_history(replication: &Replication, backlog_ttl: u64, expected: Option<&str>) -> Result<(), Fault> {
    let Some(id) = expected else { return Ok(()) };
    let promoted_out_of_it = replication.is_primary()
        && (replication.replid2.as_deref() == Some(id) || backlog_ttl == continuation_mark(expected));
    if replication.replid == id || promoted_out_of_it {
        return Ok(());
    }
    Err(Fault::permanent(
        format!("it holds history {} and not {id}", replication.replid),
        "promote another member, or accept what it holds: primacy failover GROUP --to MEMBER --allow-data-loss",
    ))
}

/// Seconds after which the backlog is given up: more than thirty years, and a number that belongs to the history.
fn continuation_mark(expected: Option<&str>) -> u64 {
    let id = expected.and_then(|id| u64::from_str_radix(id.get(..7)?, 16).ok());
    1_000_000_000 + id.unwrap_or_default()
}

/// Makes the server create its backlog, and with it the id that its history keeps. It does so when a resync is asked
/// for, before it starts to save; we hang up then.
async fn settle_history(attempt: &Attempt<'_>, session: &Session) -> Result<Answers, Fault> {
    let mut resync = Resync::ask(attempt.link.address(), attempt.link.access(), attempt.remaining()).await?;
    loop {
        let mut again = Commands::default();
        ask_back(&mut again);
        let answers = again.answers(attempt.act(session, again.pipeline()).await?);
        if answers.replication()?.backlog {
            return Ok(answers);
        }
        if let Ok(line) = primacy_runtime::timeout(SETTLE_PAUSE, resync.line()).await {
            let line = line.unwrap_or_else(|e| e.to_string());
            if !line.starts_with("+FULLRESYNC") {
                return Err(unsettled(&line));
            }
        }
    }
}

fn unsettled(answer: &str) -> Fault {
    match answer.split(' ').next() {
        Some("-NOPERM" | "-NOAUTH") => Fault::permanent(
            format!("our user may not run PSYNC: {answer}"),
            "give it the rights that `primacy redis-conf` prints",
        ),
        _ => Fault::passing(
            format!("its history has no lasting id yet: PSYNC is answered by {answer:?}"),
            "see the server's log",
        ),
    }
}

/// Where the history begins: at the byte after which the old one is no longer valid.
fn lineage(run_id: String, replication: Replication, previous: Option<&str>) -> Lineage {
    let offset_bytes = match replication.replid2 {
        Some(_) => replication.second_offset_bytes.saturating_sub(1),
        None => replication.offset_bytes,
    };
    let previous = previous.filter(|id| *id != replication.replid).map(str::to_owned);
    Lineage { run_id, start: Position { replid: replication.replid, offset_bytes }, previous }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_belong_to_a_history_and_never_come_due() {
        let (a, b) = ("0000001".to_owned() + &"0".repeat(33), "f".repeat(40));
        assert_eq!(continuation_mark(None), 1_000_000_000);
        assert_eq!(continuation_mark(Some(&a)), 1_000_000_001);
        // The setting is a signed 32 bit number.
        assert!(continuation_mark(Some(&b)) < i32::MAX as u64);
        assert_eq!(continuation_mark(Some("not hex")), 1_000_000_000);
    }
}
