//! `[[kafka]]`: clusters, and what is mirrored between them.
//!
//! What the contract promises and this version does not do is refused by name, so that nobody counts on it.

use super::{Shape, read_common, read_members};
use crate::config::section::{Section, Wrong, parsed, string, word};
use primacy_core::{
    Address, Durability, FailoverMode, FencePolicy, GapPolicy, GroupKind, GroupSpec, LagBudget, LossBudget,
    MirrorEngine, MirrorSpec, OnNoSite, Probe,
};
use primacy_kafka::Patterns;
use toml::Value;

/// Nothing may be lost unless the operator says so.
const MAX_LAG: LagBudget = LagBudget::Records(0);
const ALL: &str = ".*";

pub(super) fn read(mut section: Section<'_>) -> Option<GroupSpec> {
    let common = read_common(&mut section, GroupKind::Kafka, FailoverMode::Manual);
    section.optional("entrance", entrance);
    let durabilities = [("local", Durability::Local), ("site", Durability::Site)];
    let durability = section.optional("durability", |v| word(v, &durabilities)).unwrap_or(Durability::Local);
    let mirror = read_mirror(&section);
    let probe = |_: &Section<'_>, bootstrap: &[Address]| Probe::Cluster { bootstrap: bootstrap.to_vec() };
    let members = read_members(&section, &Shape { example: "east", addresses: bootstrap, probe });
    section.finish();
    Some(GroupSpec {
        name: common.name?,
        kind: GroupKind::Kafka,
        failover: common.failover,
        down_after_ms: common.down_after_ms,
        max_loss: LossBudget::Any,
        fence: FencePolicy::Witness,
        tail_max_bytes: 0,
        may_kill: false,
        durability,
        on_no_site: OnNoSite::Refuse,
        mirror: Some(mirror?),
        members: members?,
    })
}

fn read_mirror(section: &Section<'_>) -> Option<MirrorSpec> {
    let engines = [("builtin", MirrorEngine::Builtin), ("external", MirrorEngine::External)];
    let engine = section.optional("mirror", |v| word(v, &engines)).unwrap_or(MirrorEngine::Builtin);
    let policies =
        [("translate", GapPolicy::Translate), ("refuse", GapPolicy::Refuse), ("fill", GapPolicy::Fill)];
    let gaps = section.optional("gaps", |v| word(v, &policies)).unwrap_or(GapPolicy::Translate);
    let budget = |v: &Value| parsed::<LagBudget>(v, "a number of records or a duration", "\"0 records\"");
    let max_lag = section.optional("max_lag", budget).unwrap_or(MAX_LAG);
    let rate_max_bytes = section.optional("mirror_rate", rate);
    let topics = section.required("topics", "topics = [\"orders\", \"clicks-.*\"]", patterns);
    let groups = section.optional("groups", patterns).unwrap_or_else(|| vec![ALL.to_owned()]);
    Some(MirrorSpec { engine, topics: topics?, groups, rate_max_bytes, gaps, max_lag })
}

/// Some brokers of the cluster.
fn bootstrap(section: &Section<'_>) -> Option<Vec<Address>> {
    section.required("bootstrap", "bootstrap = [\"10.0.0.1:9092\"]", |v| {
        let texts = texts(v, "addresses", "[\"10.0.0.1:9092\"]")?;
        let read = |text: &str| parsed::<Address>(&Value::from(text), "an address", "\"10.0.0.1:9092\"");
        texts.into_iter().map(read).collect()
    })
}

fn entrance(value: &Value) -> Result<(), Wrong> {
    match string(value, "a word", "\"direct\"")? {
        "direct" => Ok(()),
        "gate" => Err(Wrong::new(
            "this version has no Kafka gate: clients reach the brokers of the active cluster directly",
            "write entrance = \"direct\", or remove the key",
        )),
        text => Err(Wrong::new(format!("{text:?} is not known"), "write \"direct\"")),
    }
}

/// A list of strings, at least one.
fn texts<'v>(value: &'v Value, what: &str, example: &str) -> Result<Vec<&'v str>, Wrong> {
    let remedy = || format!("write a list of {what}, such as {example}");
    let items = value.as_array().ok_or_else(|| Wrong::new("it is not a list", remedy()))?;
    if items.is_empty() {
        return Err(Wrong::new("it is an empty list", remedy()));
    }
    let text = |item: &'v Value| {
        item.as_str().ok_or_else(|| Wrong::new(format!("{item} is not a string"), remedy()))
    };
    items.iter().map(text).collect()
}

/// Regular expressions, each for a whole name.
fn patterns(value: &Value) -> Result<Vec<String>, Wrong> {
    let texts = texts(value, "patterns", "[\"orders\", \"clicks-.*\"]")?;
    for text in &texts {
        Patterns::new([text]).map_err(|e| {
            let remedy = "write a regular expression that stands for whole names, such as \"clicks-.*\"";
            Wrong::new(e.to_string(), remedy)
        })?;
    }
    Ok(texts.into_iter().map(str::to_owned).collect())
}

/// `"50 MiB/s"`.
fn rate(value: &Value) -> Result<u64, Wrong> {
    const EXAMPLE: &str = "\"50 MiB/s\"";
    let text = string(value, "a rate", EXAMPLE)?;
    let size = text.trim().strip_suffix("/s").and_then(|size| size.trim().parse::<LossBudget>().ok());
    match size {
        Some(LossBudget::Bytes(bytes)) => Ok(bytes),
        Some(LossBudget::Any) | None => {
            let remedy = format!("write a size with its unit a second, such as {EXAMPLE}");
            Err(Wrong::new(format!("{text:?} is not a rate"), remedy))
        }
    }
}
