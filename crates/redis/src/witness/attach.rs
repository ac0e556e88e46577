//! Becoming a replica: one look at who the server is, then a partial resync from where we are.
//!
//! Asked from an offset that the primary's backlog holds it answers with the stream at once, and counts us from then
//! on. Only a primary without a backlog answers with a full copy.

use super::options::WitnessOptions;
use super::tail::Tail;
use super::wire::Wire;
use crate::info::{self, Replication, Server};
use crate::link::{self, Link};
use crate::reply;
use primacy_core::view::MemberRole;
use std::io;
use std::time::Duration;

const NAME: &str = "primacy-witness";
/// A promotion that is no further back than this is still being followed by members that must catch up from it.
const RECENT_BYTES: u64 = 1024 * 1024;
const PING_PERIOD_DEFAULT_S: u64 = 10;

/// What the server says of itself, before anything is asked of it.
pub(super) struct Found {
    run_id: String,
    replication: Replication,
    backlog_start: u64,
    ping_period_s: u64,
}

/// What the primary answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// The stream goes on after `from` of the history `asked`, which is called `replid` from there on.
    Continue { asked: String, replid: String, from: u64 },
    /// A full copy comes first; the stream goes on after `from`.
    Copy { replid: String, from: u64 },
}

/// Logs in and looks.
pub(super) async fn look(wire: &mut Wire, link: &Link, options: &WitnessOptions) -> Result<Found, String> {
    let mut hello = link::greeting(link.access(), NAME);
    let greetings = hello.len();
    let (host, port) = &options.announce;
    hello.cmd("INFO").arg("server");
    hello.cmd("INFO").arg("replication");
    hello.cmd("CONFIG").arg("GET").arg("repl-ping-replica-period");
    hello.cmd("REPLCONF").arg("listening-port").arg(*port);
    hello.cmd("REPLCONF").arg("ip-address").arg(host);
    hello.cmd("REPLCONF").arg("capa").arg("eof").arg("capa").arg("psync2");
    wire.send(&hello.get_packed_pipeline()).await.map_err(|e| ended(&e))?;
    let mut replies = Vec::new();
    for _ in 0..hello.len() {
        replies.push(wire.reply().await.map_err(|e| ended(&e))?);
        if replies.len() == greetings {
            link::accept_greeting(&replies).map_err(|e| format!("{e}; {}", e.remedy()))?;
        }
    }
    let refusal = |i: usize| replies.get(greetings + i).and_then(reply::refusal).map(|r| r.line);
    if let Some(line) = [0, 1, 3, 4, 5].into_iter().find_map(refusal) {
        return Err(format!("it refuses: {line}; give our user the rights that `primacy redis-conf` prints"));
    }
    let text = |i: usize| replies.get(greetings + i).and_then(reply::text).unwrap_or_default();
    let replication = Replication::parse(text(1)).ok_or("its INFO says no role")?;
    let ping_period_s = replies.get(greetings + 2).and_then(reply::setting_number);
    Ok(Found {
        run_id: Server::parse(text(0)).run_id,
        backlog_start: info::number(text(1), "repl_backlog_first_byte_offset"),
        ping_period_s: ping_period_s.unwrap_or(PING_PERIOD_DEFAULT_S),
        replication,
    })
}

impl Found {
    /// Refuses every server but the primary that was promoted.
    pub(super) fn check(&self, options: &WitnessOptions) -> Result<(), String> {
        if self.run_id != options.lineage.run_id {
            let (is, was) = (&self.run_id, &options.lineage.run_id);
            return Err(format!("it is the process {is}, and {was} was promoted: it was restarted"));
        }
        if !self.replication.is_primary() {
            return Err(format!("it is {} and no primary", self.replication.describe()));
        }
        Ok(())
    }

    /// After so long without a byte the connection is dead: a primary pings its replicas.
    pub(super) fn silence_max(&self) -> Duration {
        Duration::from_secs(self.ping_period_s.clamp(1, 60) * 2 + 1)
    }

    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The history and the offset to go on from: the tail's, where the primary still has what follows.
    fn wanted(&self, tail: Option<&Tail>, options: &WitnessOptions) -> (String, u64) {
        let replication = &self.replication;
        if let Some((replid, end)) = tail.map(|t| (t.replid(), t.end())) {
            let before =
                replication.replid2.as_ref() == Some(&replid) && end < replication.second_offset_bytes;
            if (replid == replication.replid || before) && self.holds_after(end) {
                return (replid, end);
            }
        }
        (replication.replid.clone(), self.first(options))
    }

    fn holds_after(&self, offset: u64) -> bool {
        self.backlog_start <= offset + 1 && offset <= self.replication.offset_bytes
    }

    /// Where a new tail begins: at what the slowest standby lacks, so that what both hold joins from the beginning.
    fn first(&self, options: &WitnessOptions) -> u64 {
        let now = self.replication.offset_bytes;
        let behind = match &self.replication.role {
            MemberRole::Primary { replicas } => {
                replicas.iter().map(|r| r.offset_bytes).filter(|o| *o > 0).min()
            }
            MemberRole::Replica { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => None,
        };
        let start = &options.lineage.start;
        let recent =
            start.replid == self.replication.replid && now.saturating_sub(start.offset_bytes) < RECENT_BYTES;
        let promoted = Some(start.offset_bytes).filter(|_| recent);
        let wanted = behind.into_iter().chain(promoted).fold(now, u64::min);
        let kept = self.backlog_start.saturating_sub(1).max(now.saturating_sub(options.tail_max_bytes));
        wanted.max(kept).min(now)
    }

    /// Asks for the stream. The answer to a full copy comes when the primary has begun to save.
    pub(super) async fn ask(
        &self,
        wire: &mut Wire,
        tail: Option<&Tail>,
        options: &WitnessOptions,
    ) -> Result<Begin, String> {
        let (replid, from) = self.wanted(tail, options);
        let psync = redis::cmd("PSYNC").arg(&replid).arg(from + 1).get_packed_command();
        wire.send(&psync).await.map_err(|e| ended(&e))?;
        let line = wire.line().await.map_err(|e| ended(&e))?;
        parse(&line, replid, from).ok_or_else(|| format!("PSYNC is answered by {line:?}"))
    }
}

fn parse(line: &str, asked: String, from: u64) -> Option<Begin> {
    let mut words = line.split_whitespace();
    match words.next()? {
        "+CONTINUE" => {
            let replid = words.next().unwrap_or(&asked).to_owned();
            Some(Begin::Continue { asked, replid, from })
        }
        "+FULLRESYNC" => {
            let replid = words.next()?.to_owned();
            Some(Begin::Copy { replid, from: words.next()?.parse().ok()? })
        }
        _ => None,
    }
}

fn ended(error: &io::Error) -> String {
    format!("the connection ended before the stream began: {error}")
}

/// Streams a full copy past us, up to where the stream begins.
pub(super) async fn discard_copy(wire: &mut Wire) -> io::Result<()> {
    let header = wire.line().await?;
    if let Some(mark) = header.strip_prefix("$EOF:").filter(|mark| mark.len() == 40) {
        return wire.skip_past(mark.as_bytes()).await;
    }
    match header.strip_prefix('$').and_then(|n| n.parse().ok()) {
        Some(bytes) => wire.skip(bytes).await,
        None => Err(io::Error::new(io::ErrorKind::InvalidData, format!("no copy follows but {header:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_psync() {
        let parse = |line: &str| parse(line, "a".into(), 7);
        let goes_on =
            |replid: &str| Some(Begin::Continue { asked: "a".into(), replid: replid.into(), from: 7 });
        assert_eq!(parse("+CONTINUE"), goes_on("a"));
        assert_eq!(parse("+CONTINUE b"), goes_on("b"));
        assert_eq!(parse("+FULLRESYNC b 99"), Some(Begin::Copy { replid: "b".into(), from: 99 }));
        assert_eq!(parse("+FULLRESYNC b"), None);
        assert_eq!(parse("-NOMASTERLINK Can't SYNC while not connected with my master"), None);
    }
}
