//! Who keeps a primary open: `min-replicas-to-write`, and the replication users that it admits.
//!
//! Any attached replica counts, so a member that must not count is refused: its replication user is switched off and its
//! connection closed, and that is read back. A member without a user of its own cannot be refused.

use super::settings::{Answers, Commands, MIN_REPLICAS};
use super::{Attempt, Fault};
use crate::conf::replication_user;
use crate::reply;
use primacy_core::{MemberName, Outcome};
use redis::Value;

pub(super) async fn perform(
    attempt: &Attempt<'_>,
    min_replicas: u64,
    admit: &[MemberName],
    refuse: &[MemberName],
) -> Result<Outcome, Fault> {
    let session = attempt.session().await?;
    let mut look = Commands::default();
    look.get(MIN_REPLICAS).info("replication");
    ask_users(&mut look, admit.iter().chain(refuse));
    let found = look.answers(attempt.act(&session, look.pipeline()).await?);
    let replication = found.replication()?;
    if !replication.is_primary() {
        let what = format!("it is {} and no primary", replication.describe());
        return Err(Fault::passing(what, "find out who re-pointed it, such as a Sentinel"));
    }
    if let Some(member) = refuse.iter().find(|m| user(&found, m) == User::None) {
        return Err(Fault::permanent(
            format!("{member} has no replication user of its own, so it cannot be refused"),
            "add the users that `primacy redis-conf` prints",
        ));
    }
    let mut act = Commands::default();
    if found.setting(MIN_REPLICAS)? < min_replicas || !refuse.is_empty() {
        // What was sent before, a lower number or who is admitted, must not be run after this.
        attempt.close_others(&mut act);
    }
    act.notice_silence();
    switch_users(&mut act, &found, admit, refuse);
    act.set(MIN_REPLICAS, &min_replicas.to_string());
    act.get(MIN_REPLICAS);
    ask_users(&mut act, refuse.iter());
    let answers = act.answers(attempt.act(&session, act.pipeline()).await?);
    answers.all_accepted("CONFIG SET")?;
    answers.all_accepted("ACL SETUSER")?;
    let in_force = answers.setting(MIN_REPLICAS)?;
    if in_force != min_replicas {
        let what = format!("{MIN_REPLICAS} was set to {min_replicas} and is {in_force}");
        return Err(Fault::passing(what, "find out who else sets it"));
    }
    let refused = refused(&answers, refuse);
    if refused.len() < refuse.len() {
        return Err(Fault::passing(
            "a replication user that was switched off is on",
            "find out who else sets it",
        ));
    }
    Ok(Outcome::FenceSet { min_replicas, refused })
}

/// Asks what the replication users of members are.
pub(super) fn ask_users<'a>(commands: &mut Commands, members: impl Iterator<Item = &'a MemberName>) {
    for member in members {
        commands.add(&["ACL", "GETUSER", &replication_user(member)]);
    }
}

/// Switches them on and off, where they exist and are not so yet; who is refused loses its connection.
pub(super) fn switch_users(
    commands: &mut Commands,
    found: &Answers,
    admit: &[MemberName],
    refuse: &[MemberName],
) {
    for member in admit.iter().filter(|m| user(found, m) == User::Off) {
        commands.add(&["ACL", "SETUSER", &replication_user(member), "on"]);
    }
    for member in refuse.iter().filter(|m| user(found, m) != User::None) {
        let user = replication_user(member);
        commands.add(&["ACL", "SETUSER", &user, "off"]);
        commands.add(&["CLIENT", "KILL", "USER", &user]);
    }
}

/// Those whose user is off.
pub(super) fn refused(answers: &Answers, refuse: &[MemberName]) -> Vec<MemberName> {
    refuse.iter().filter(|m| user(answers, m) == User::Off).cloned().collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    On,
    Off,
    /// There is none, or we may not know.
    None,
}

fn user(answers: &Answers, member: &MemberName) -> User {
    let value = answers.raw(&format!("ACL GETUSER {}", replication_user(member)));
    if reply::refusal(value).is_some() {
        return User::None;
    }
    match flags(value) {
        Some(flags) if flags.iter().any(|f| reply::text(f) == Some("on")) => User::On,
        Some(_) => User::Off,
        None => User::None,
    }
}

fn flags(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Map(pairs) => {
            pairs.iter().find(|(key, _)| reply::text(key) == Some("flags")).and_then(|(_, v)| items(v))
        }
        Value::Array(parts) => {
            let at = parts.iter().step_by(2).position(|key| reply::text(key) == Some("flags"))?;
            parts.get(at * 2 + 1).and_then(items)
        }
        _ => None,
    }
}

fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        _ => None,
    }
}
