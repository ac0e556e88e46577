//! Fence: the member refuses writes, says so itself, and its stream stands still.
//!
//! `min-replicas-to-write` refuses every write of a client at once. It does not stop expiry, eviction and `PUBLISH`,
//! which `CLIENT PAUSE WRITE` does, nor replication PINGs, which a long ping period does; all three move the offset
//! that the candidate must reach, and later cost a full resync. The proof is the refusal of a write of ours.
//!
//! The pause ends by itself soon after the time given, whatever becomes of us.

use super::settings::{Answers, Commands, MAX_LAG, MIN_REPLICAS, PING_PERIOD, PING_PERIOD_FENCED, READ_ONLY};
use super::{Attempt, Fault};
use crate::info::Replication;
use crate::link::Session;
use crate::{info, reply};
use primacy_core::view::{MemberRole, SHUT_MIN_REPLICAS};
use primacy_core::{Address, MemberName, Moment, Outcome, Position};
use primacy_runtime::{now, sleep};
use std::time::Duration;

/// How long the pause outlives the time given for the fence.
const PAUSE_BEYOND: Duration = Duration::from_millis(500);
/// So long the candidate is asked again without a pause: a round trip is pause enough.
const POLL_AT_ONCE: Duration = Duration::from_millis(10);
const POLL_PAUSE: Duration = Duration::from_millis(1);

pub(super) async fn perform(
    attempt: &Attempt<'_>,
    drain: Option<&(MemberName, Address)>,
) -> Result<Outcome, Fault> {
    let commands = commands(attempt);
    let answers = commands.answers(attempt.shut(commands.pipeline()).await?);
    let fenced_at = now();
    attempt.periods.remember(attempt.member(), answers.setting(PING_PERIOD).ok());
    let code = refusal_code(&answers)?;
    let run_id = answers.server()?.run_id;
    let end = end_of(&answers.replication()?);
    let drained_us = match drain {
        Some((member, address)) => drained(attempt, member, address, &end, fenced_at).await,
        None => None,
    };
    Ok(Outcome::Fenced { code, run_id, end, drained_us })
}

fn commands(attempt: &Attempt<'_>) -> Commands {
    let mut commands = Commands::default();
    // First: what an older leader sent, and did not get run yet, must not run after the fence.
    attempt.close_others(&mut commands);
    let pause_ms = (attempt.remaining() + PAUSE_BEYOND).as_millis().to_string();
    commands.get(PING_PERIOD);
    commands.shut();
    commands.set(READ_ONLY, "yes");
    // Before the pause: a write that is accepted after all would have to wait for its end.
    commands.probe_write();
    commands.add(&["CLIENT", "PAUSE", &pause_ms, "WRITE"]);
    commands.set(PING_PERIOD, &PING_PERIOD_FENCED.to_string());
    commands.get(MIN_REPLICAS).get(MAX_LAG);
    commands.info("server").info("replication");
    commands
}

/// The code of the refused write; an error when nothing proves that the door is shut.
fn refusal_code(answers: &Answers) -> Result<String, Fault> {
    answers.all_accepted("CONFIG SET")?;
    answers.all_accepted("CLIENT")?;
    let in_force = answers.setting(MIN_REPLICAS)?;
    if in_force != SHUT_MIN_REPLICAS {
        let what = format!("{MIN_REPLICAS} was set to {SHUT_MIN_REPLICAS} and is {in_force}");
        return Err(Fault::passing(
            what,
            "find out who else sets it, such as a Sentinel or an operator's script",
        ));
    }
    let probe = answers.raw("DEL");
    let refused = reply::refusal(probe);
    match refused.as_ref().map(|r| r.code.as_str()) {
        Some("NOREPLICAS" | "READONLY" | "MISCONF" | "LOADING" | "MASTERDOWN") => {
            Ok(refused.map(|r| r.code).unwrap_or_default())
        }
        Some(_) => {
            super::accepted("DEL", probe)?;
            Err(Fault::unexpected("DEL", probe))
        }
        None if answers.setting(MAX_LAG)? == 0 => Err(Fault::permanent(
            format!("it accepts writes: {MAX_LAG} is 0, which switches {MIN_REPLICAS} off"),
            format!("set {MAX_LAG} to 1"),
        )),
        None => Err(Fault::passing("it still accepts writes", "see the server's log")),
    }
}

pub(super) fn end_of(replication: &Replication) -> Position {
    let offset_bytes = match &replication.role {
        MemberRole::Primary { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => {
            replication.offset_bytes
        }
        MemberRole::Replica { read_offset_bytes, .. } => (*read_offset_bytes).max(replication.offset_bytes),
    };
    Position { replid: replication.replid.clone(), offset_bytes }
}

/// Waits until the candidate has run the stream up to `end`; none when the time is over before, or it is gone.
async fn drained(
    attempt: &Attempt<'_>,
    member: &MemberName,
    address: &Address,
    end: &Position,
    fenced_at: Moment,
) -> Option<u64> {
    let mut question = redis::pipe();
    question.cmd("INFO").arg("replication");
    let (_link, session) = match attempt.session_of(member, address).await {
        Ok(opened) => opened,
        Err(fault) => {
            tracing::warn!(group = %attempt.action.group, %member, "the candidate cannot be asked: {}", fault.what);
            return None;
        }
    };
    loop {
        if reached(&session, &question, end, attempt.deadline).await {
            return Some(now().since(fenced_at).as_micros() as u64);
        }
        let at = now();
        if at >= attempt.deadline || session.ended().is_some() {
            return None;
        }
        if at.since(fenced_at) > POLL_AT_ONCE {
            sleep(POLL_PAUSE).await;
        }
    }
}

async fn reached(session: &Session, question: &redis::Pipeline, end: &Position, deadline: Moment) -> bool {
    let Ok(replies) = session.ask_until(question, deadline).await else { return false };
    let replication = replies.first().and_then(reply::text).and_then(info::Replication::parse);
    // Offsets of different histories compare as numbers and mean nothing.
    replication.is_some_and(|r| r.replid == end.replid && !r.syncing && r.applied_bytes >= end.offset_bytes)
}
