//! Promote: the member becomes primary, shut, of the history that was expected.
//!
//! Two round trips: what it is must be known before it is changed. Both happen on one connection, so it is one
//! process. Done before, it is found done: the same lineage comes back.

use super::settings::{Answers, Commands, MAX_LAG, MIN_REPLICAS, READ_ONLY};
use super::{Attempt, Fault};
use crate::info::Replication;
use primacy_core::view::SHUT_MIN_REPLICAS;
use primacy_core::{Lineage, Outcome, Position};

pub(super) async fn perform(attempt: &Attempt<'_>, expected: Option<&str>) -> Result<Outcome, Fault> {
    let session = attempt.session().await?;
    let mut look = Commands::default();
    look.shut().set(READ_ONLY, "yes").get(MAX_LAG).info("server").info("replication");
    let found = look.answers(attempt.act(&session, look.pipeline()).await?);
    found.all_accepted("CONFIG SET")?;
    let run_id = found.server()?.run_id;
    check(&found, expected)?;

    let mut act = Commands::default();
    // Shut again in the same write: whatever happened since the look, it becomes primary behind a shut door.
    act.shut().add(&["REPLICAOF", "NO", "ONE"]).get(MIN_REPLICAS).info("replication");
    let answers = act.answers(attempt.act(&session, act.pipeline()).await?);
    answers.all_accepted("CONFIG SET")?;
    answers.all_accepted("REPLICAOF")?;
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
    if let Some(expected) = expected.filter(|e| !continues(&replication, e)) {
        return Err(wrong_history(&replication, expected));
    }
    Ok(Outcome::Promoted { lineage: lineage(run_id, replication) })
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
    match expected {
        Some(expected) if !continues(&replication, expected) => Err(wrong_history(&replication, expected)),
        Some(_) | None => Ok(()),
    }
}

/// It holds the expected history, or was promoted out of it already.
fn continues(replication: &Replication, expected: &str) -> bool {
    replication.replid == expected
        || (replication.is_primary() && replication.replid2.as_deref() == Some(expected))
}

fn wrong_history(replication: &Replication, expected: &str) -> Fault {
    Fault::permanent(
        format!("it holds history {} and not {expected}", replication.replid),
        "promote another member, or accept what it holds: primacy failover GROUP --to MEMBER --allow-data-loss",
    )
}

/// Where the history begins: at the byte after which the old one is no longer valid.
fn lineage(run_id: String, replication: Replication) -> Lineage {
    let offset_bytes = match replication.replid2 {
        Some(_) => replication.second_offset_bytes.saturating_sub(1),
        None => replication.offset_bytes,
    };
    let start = Position { replid: replication.replid, offset_bytes };
    Lineage { run_id, start, previous: replication.replid2 }
}
