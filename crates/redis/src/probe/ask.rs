//! The questions of a probe and what becomes of the answers.
//!
//! Each probe asks what changes: whether it is loading (`PING`), `INFO replication`, `min-replicas-*`. What is
//! fixed for the life of a process, or only counts things, is asked first on a connection and then once a second.
//! One section an `INFO`: several in one are understood from Redis 7.0 on.

use crate::{boot, info, reply};
use primacy_core::view::{ConnectFailure, MemberStatus};
use redis::{Pipeline, Value};
use std::sync::LazyLock;
use std::time::Duration;

/// Where Redis Sentinels tell each other of a server that they watch, by that server.
const SENTINELS: &str = "__sentinel__:hello";

static BRIEF: LazyLock<Pipeline> = LazyLock::new(brief);
static FULL: LazyLock<Pipeline> = LazyLock::new(|| {
    let mut pipeline = brief();
    pipeline.cmd("INFO").arg("server");
    pipeline.cmd("INFO").arg("clients");
    pipeline.cmd("INFO").arg("keyspace");
    pipeline.cmd("CONFIG").arg("GET").arg("repl-timeout");
    pipeline.cmd("PUBSUB").arg("NUMSUB").arg(SENTINELS);
    pipeline
});

fn brief() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("PING");
    pipeline.cmd("INFO").arg("replication");
    pipeline.cmd("CONFIG").arg("GET").arg("min-replicas-*");
    pipeline
}

/// The questions: all of them, or those of every time.
pub(super) fn questions(full: bool) -> &'static Pipeline {
    if full { &FULL } else { &BRIEF }
}

/// What only a full probe learns.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) server: info::Server,
    pub(super) clients: u64,
    pub(super) keys: u64,
    pub(super) repl_timeout_s: u64,
    pub(super) sentinels: u64,
}

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    /// Set when it will not pass by itself.
    pub(super) failure: Option<ConnectFailure>,
    /// In words.
    pub(super) detail: String,
}

/// Reads the answers; `known` is brought up to date by those of a full probe.
pub(super) fn status(
    replies: &[Value],
    known: &mut Option<Known>,
    round_trip: Duration,
) -> Result<MemberStatus, Unusable> {
    let [ping, replication, min_replicas, rest @ ..] = replies else {
        return Err(not_redis("answers are missing"));
    };
    // A server that loads its data refuses PING and answers the rest.
    let loading = reply::refusal(ping).is_some_and(|r| r.code == "LOADING");
    if let Some(refused) = [replication, min_replicas].into_iter().find_map(reply::refusal) {
        return Err(refused_us(&refused));
    }
    if let [server, clients, keyspace, repl_timeout, sentinels] = rest {
        *known = Some(Known {
            server: info::Server::parse(reply::text(server).unwrap_or_default()),
            clients: info::number(reply::text(clients).unwrap_or_default(), "connected_clients"),
            keys: info::keys(reply::text(keyspace).unwrap_or_default()),
            repl_timeout_s: reply::setting_number(repl_timeout).unwrap_or_default(),
            // A user without the right to ask does not see them.
            sentinels: reply::listeners(sentinels).unwrap_or_default(),
        });
    }
    let known = known.as_ref().ok_or_else(|| not_redis("INFO server is missing"))?;
    let replication = reply::text(replication).and_then(info::Replication::parse);
    let replication = replication.ok_or_else(|| not_redis("INFO replication has no role or no history"))?;
    let setting = |name: &str| reply::setting_named(min_replicas, name).and_then(|n| n.parse::<u64>().ok());
    let max_lag_s = setting("min-replicas-max-lag");
    let min_replicas =
        setting("min-replicas-to-write").ok_or_else(|| not_redis("it has no min-replicas-to-write"))?;
    Ok(MemberStatus {
        run_id: known.server.run_id.clone(),
        pid: known.server.pid,
        uptime_s: known.server.uptime_s,
        version: known.server.version.clone(),
        role: replication.role,
        replid: replication.replid,
        replid2: replication.replid2,
        second_offset_bytes: replication.second_offset_bytes,
        offset_bytes: replication.offset_bytes,
        min_replicas,
        notices_silence: max_lag_s == Some(1) && (1..=2).contains(&known.repl_timeout_s),
        loading,
        keys: known.keys,
        clients: known.clients,
        sentinels: known.sentinels,
        boot: boot::unread(),
        rtt_us: round_trip.as_micros() as u64,
    })
}

fn not_redis(why: &str) -> Unusable {
    Unusable {
        failure: Some(ConnectFailure::Protocol),
        detail: format!("it does not answer as Redis does: {why}"),
    }
}

fn refused_us(refused: &reply::Refusal) -> Unusable {
    match refused.code.as_str() {
        "NOAUTH" | "NOPERM" | "WRONGPASS" => Unusable {
            failure: Some(ConnectFailure::Protocol),
            detail: format!("it refuses our user: {}", refused.line),
        },
        "BUSY" => Unusable { failure: None, detail: format!("a script holds it up: {}", refused.line) },
        _ => Unusable { failure: None, detail: format!("it refuses to say how it is: {}", refused.line) },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn error(line: &str) -> Value {
        redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
    }

    fn setting(value: &str) -> Value {
        Value::Array(vec![
            bulk("min-replicas-max-lag"),
            bulk("1"),
            bulk("min-replicas-to-write"),
            bulk(value),
        ])
    }

    const PRIMARY: &str = "# Replication\r\nrole:master\r\nmaster_replid:aa\r\nmaster_repl_offset:7\r\n";

    #[test]
    fn a_brief_answer_is_completed_by_what_is_known() {
        let mut known = None;
        let full = [
            Value::SimpleString("PONG".into()),
            bulk(PRIMARY),
            setting("0"),
            bulk("run_id:r1\r\nprocess_id:77\r\nredis_version:7.0.15\r\n"),
            bulk("connected_clients:3\r\n"),
            bulk("db0:keys=2,expires=0\r\ndb3:keys=5,expires=1\r\n"),
            Value::Array(vec![bulk("repl-timeout"), bulk("2")]),
            Value::Array(vec![bulk(SENTINELS), Value::Int(3)]),
        ];
        let first = status(&full, &mut known, Duration::from_micros(90)).unwrap();
        assert_eq!((first.keys, first.clients, first.pid, first.rtt_us), (7, 3, 77, 90));
        assert_eq!(first.sentinels, 3);
        let brief = [error("LOADING wait"), bulk(PRIMARY), setting("1000000")];
        let second = status(&brief, &mut known, Duration::ZERO).unwrap();
        assert_eq!((second.run_id.as_str(), second.loading, second.min_replicas), ("r1", true, 1_000_000));
        assert!(!second.accepts_writes() && second.notices_silence);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let pong = || Value::SimpleString("PONG".into());
        let busy = status(&[pong(), error("BUSY script"), setting("0")], &mut None, Duration::ZERO);
        assert_eq!(busy.unwrap_err().failure, None);
        let denied = status(&[pong(), bulk(PRIMARY), error("NOPERM no")], &mut None, Duration::ZERO);
        assert_eq!(denied.unwrap_err().failure, Some(ConnectFailure::Protocol));
        let other =
            status(&[pong(), bulk("hello"), setting("0")], &mut Some(Known::default()), Duration::ZERO);
        assert!(other.unwrap_err().detail.contains("no role"));
    }
}
