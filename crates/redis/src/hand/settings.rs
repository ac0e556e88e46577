//! The settings and questions that the actions share.

use super::{Fault, accepted};
use crate::{info, reply};
use primacy_core::view::SHUT_MIN_REPLICAS;
use primacy_core::{GroupName, MemberName};
use redis::{Pipeline, Value};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The key that a write probe deletes. It never exists: a write that is accepted changes nothing and is not
/// replicated, one that is refused says why.
pub(crate) const PROBE_KEY: &str = "primacy:fence-probe";

/// While fenced: a replication PING is part of the stream and would move the end that a standby must reach.
pub(super) const PING_PERIOD_FENCED: u64 = 3_600;
/// Where nobody remembers what it was. Short is safe: links time out without PINGs, and a PING is 14 bytes.
const PING_PERIOD_FALLBACK: u64 = 1;

pub(super) const MIN_REPLICAS: &str = "min-replicas-to-write";
pub(super) const MAX_LAG: &str = "min-replicas-max-lag";
pub(super) const REPL_TIMEOUT: &str = "repl-timeout";
pub(super) const READ_ONLY: &str = "replica-read-only";
pub(super) const BACKLOG_TTL: &str = "repl-backlog-ttl";
/// Never given up.
pub(super) const BACKLOG_FOR_EVER: &str = "0";
pub(super) const PING_PERIOD: &str = "repl-ping-replica-period";

/// What the ping period of a member was before it was fenced.
#[derive(Debug, Default)]
pub(super) struct PingPeriods(Mutex<BTreeMap<(GroupName, MemberName), u64>>);

impl PingPeriods {
    pub(super) fn remember(&self, member: (GroupName, MemberName), seconds: Option<u64>) {
        if let Some(seconds) = seconds.filter(|s| *s != PING_PERIOD_FENCED) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(member, seconds);
        }
    }

    pub(super) fn recall(&self, member: &(GroupName, MemberName)) -> u64 {
        let periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        periods.get(member).copied().unwrap_or(PING_PERIOD_FALLBACK)
    }
}

/// A pipeline whose answers are taken back by what they answer, not by counting.
#[derive(Default)]
pub(super) struct Commands {
    pipeline: Pipeline,
    names: Vec<String>,
}

impl Commands {
    pub(super) fn add(&mut self, words: &[&str]) -> &mut Self {
        self.pipeline.cmd(words[0]);
        for word in &words[1..] {
            self.pipeline.arg(*word);
        }
        self.names.push(words.join(" "));
        self
    }

    pub(super) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.add(&["CONFIG", "SET", name, value])
    }

    pub(super) fn get(&mut self, name: &str) -> &mut Self {
        self.add(&["CONFIG", "GET", name])
    }

    /// Shuts the door against writes of clients.
    pub(super) fn shut(&mut self) -> &mut Self {
        self.set(MIN_REPLICAS, &SHUT_MIN_REPLICAS.to_string())
    }

    /// Has silence noticed in whole seconds: the passive bound rests on these two.
    pub(super) fn notice_silence(&mut self) -> &mut Self {
        self.set(MAX_LAG, "1").set(REPL_TIMEOUT, "2")
    }

    /// Asks for a write that changes nothing.
    pub(super) fn probe_write(&mut self) -> &mut Self {
        self.add(&["DEL", PROBE_KEY])
    }

    pub(super) fn info(&mut self, section: &str) -> &mut Self {
        self.add(&["INFO", section])
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Pairs each command with its answer.
    pub(super) fn answers(&self, replies: Vec<Value>) -> Answers {
        Answers { names: self.names.clone(), replies }
    }
}

/// The answers to [`Commands`].
pub(super) struct Answers {
    names: Vec<String>,
    replies: Vec<Value>,
}

impl Answers {
    /// The last answer to the command that begins with `name`.
    pub(super) fn raw(&self, name: &str) -> &Value {
        let found = self.names.iter().rposition(|n| n.starts_with(name));
        found.and_then(|i| self.replies.get(i)).unwrap_or(&Value::Nil)
    }

    /// Fails on the first refusal among the commands that begin with `prefix`.
    pub(super) fn all_accepted(&self, prefix: &str) -> Result<(), Fault> {
        let named = self.names.iter().zip(&self.replies).filter(|(name, _)| name.starts_with(prefix));
        for (name, reply) in named {
            accepted(name, reply)?;
        }
        Ok(())
    }

    pub(super) fn setting(&self, name: &str) -> Result<u64, Fault> {
        let command = format!("CONFIG GET {name}");
        let value = accepted(&command, self.raw(&command))?;
        reply::setting_number(value).ok_or_else(|| Fault::unexpected(&command, value))
    }

    pub(super) fn replication(&self) -> Result<info::Replication, Fault> {
        let value = accepted("INFO replication", self.raw("INFO replication"))?;
        let parsed = reply::text(value).and_then(info::Replication::parse);
        parsed.ok_or_else(|| Fault::unexpected("INFO replication", value))
    }

    pub(super) fn server(&self) -> Result<info::Server, Fault> {
        let value = accepted("INFO server", self.raw("INFO server"))?;
        let parsed = reply::text(value).map(info::Server::parse).filter(|s| !s.run_id.is_empty());
        parsed.ok_or_else(|| Fault::unexpected("INFO server", value))
    }
}
