//! What was acknowledged is there, but for what the history reports; and what a gate acknowledged is there whenever no
//! more than primaries was struck.
//!
//! Judged when a round has come to rest: what is missing now and was not at the end of the last round, against the
//! transitions since.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use primacy_testbed::ledger::{Lost, LostRecord};
use primacy_testbed::{Deployment, Ledger, RedisAddress};
use serde_json::Value;

use super::Violation;
use crate::world::GROUP;

/// What was missing before, and up to where the history was looked at.
#[derive(Debug, Default)]
pub(crate) struct Account {
    direct: BTreeSet<(usize, u64)>,
    gated: BTreeSet<(usize, u64)>,
    epoch: u64,
    /// All in all: acknowledged records that are missing, directly and through the gates.
    pub(crate) lost: (u64, u64),
    /// All transitions that have ended, as the history tells them.
    pub(crate) transitions: Vec<Value>,
}

impl Account {
    /// Looks at the present primary and at the history.
    ///
    /// # Errors
    /// When either cannot be read.
    pub(crate) async fn check(
        &mut self,
        d: &Deployment,
        primary: &str,
        ledgers: &(Ledger, Ledger),
        gates_lose_nothing: bool,
    ) -> Result<Vec<Violation>> {
        let since: Vec<Value> = history(d).await?.into_iter().filter(|t| epoch(t) > self.epoch).collect();
        let reported = since.iter().map(bytes).fold(0, u64::saturating_add);
        let address = RedisAddress::new(d.group.member(primary)?.address());
        let direct = news(ledgers.0.lost(&address).await?, &mut self.direct);
        let gated = news(ledgers.1.lost(&address).await?, &mut self.gated);
        self.lost.0 += direct.count();
        self.lost.1 += gated.count();
        self.epoch = since.iter().map(epoch).fold(self.epoch, u64::max);

        let missing = direct.bytes() + gated.bytes();
        let mut found = Vec::new();
        if missing > reported {
            let evidence = format!(
                "{missing} bytes are missing, {reported} were reported: {} direct, {} by gate, {}",
                direct.count(),
                gated.count(),
                tell(&direct, &gated, &since)
            );
            found.push(Violation::new("loss_is_reported", evidence));
        }
        if gates_lose_nothing && gated.count() > 0 {
            let evidence = format!("{} lost by gates, {}", gated.count(), tell(&direct, &gated, &since));
            found.push(Violation::new("gates_lose_nothing", evidence));
        }
        self.transitions.extend(since);
        Ok(found)
    }
}

fn epoch(transition: &Value) -> u64 {
    transition["epoch"].as_u64().unwrap_or(0)
}

/// An amount that nobody knows covers everything.
fn bytes(transition: &Value) -> u64 {
    if transition["from"].is_null() { 0 } else { transition["lost"]["bytes"].as_u64().unwrap_or(u64::MAX) }
}

async fn history(d: &Deployment) -> Result<Vec<Value>> {
    let output = d.cli(["history", GROUP, "--last", "100", "-o", "json"]).await?.success()?;
    let lines = output.stdout.lines().map(serde_json::from_str);
    let mut all: Vec<Value> = lines.collect::<Result<_, _>>().context("the history is not JSON")?;
    // One that waits may lose more: it is counted when it has ended.
    all.retain(|t| t["outcome"] != "waiting");
    all.sort_by_key(epoch);
    Ok(all)
}

/// Only what was not known to be missing.
fn news(lost: Lost, known: &mut BTreeSet<(usize, u64)>) -> Lost {
    Lost {
        records: lost.records.into_iter().filter(|record| known.insert((record.writer, record.n))).collect(),
    }
}

fn tell(direct: &Lost, gated: &Lost, since: &[Value]) -> String {
    let line = |r: &LostRecord| format!("writer {} record {} by {}", r.writer, r.n, r.member);
    let some: Vec<String> = direct.records.iter().chain(&gated.records).take(20).map(line).collect();
    let since: Vec<String> = since.iter().map(Value::to_string).collect();
    format!("such as {}; transitions: {}", some.join(", "), since.join("\n"))
}
