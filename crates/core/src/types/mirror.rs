//! How the clusters of a Kafka group are kept alike.

use std::fmt;
use std::str::FromStr;

/// Who copies records from the active cluster to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorEngine {
    /// A node of ours at each standby's site: offsets are equal.
    Builtin,
    /// `MirrorMaker` 2 or the like, run by somebody else and only watched here.
    External,
}

impl MirrorEngine {
    /// As the contract spells it.
    pub fn word(self) -> &'static str {
        match self {
            MirrorEngine::Builtin => "builtin",
            MirrorEngine::External => "external",
        }
    }
}

/// What is done about offsets that no record has: those of transaction markers and of compacted records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapPolicy {
    /// Records are copied without them, and offsets of groups are translated.
    Translate,
    /// The topic is reported as unaligned and left alone.
    Refuse,
    /// Each is filled with an empty record, which consumers will see.
    Fill,
}

impl GapPolicy {
    /// As the contract spells it.
    pub fn word(self) -> &'static str {
        match self {
            GapPolicy::Translate => "translate",
            GapPolicy::Refuse => "refuse",
            GapPolicy::Fill => "fill",
        }
    }
}

/// What a failover of a Kafka group may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagBudget {
    /// So many records.
    Records(u64),
    /// What was written in so many milliseconds.
    Ms(u64),
    /// Whatever it is.
    Any,
}

/// It is neither a number of records nor a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a number of records nor a duration")]
pub struct LagBudgetError(String);

impl fmt::Display for LagBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LagBudget::Records(n) => write!(f, "{n} records"),
            LagBudget::Ms(ms) => write!(f, "{ms}ms"),
            LagBudget::Any => f.write_str("any"),
        }
    }
}

impl FromStr for LagBudget {
    type Err = LagBudgetError;

    fn from_str(s: &str) -> Result<Self, LagBudgetError> {
        let text = s.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let scaled = |by: u64| number.parse::<u64>().ok().and_then(|n| n.checked_mul(by));
        let budget = match unit.trim() {
            "any" if number.is_empty() => Some(LagBudget::Any),
            "record" | "records" => scaled(1).map(LagBudget::Records),
            "ms" => scaled(1).map(LagBudget::Ms),
            "s" => scaled(1_000).map(LagBudget::Ms),
            "m" | "min" => scaled(60_000).map(LagBudget::Ms),
            _ => None,
        };
        budget.ok_or_else(|| LagBudgetError(s.to_owned()))
    }
}

/// What is copied between the clusters of a group, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSpec {
    /// By whom.
    pub engine: MirrorEngine,
    /// Patterns of topics; each stands for a whole name.
    pub topics: Vec<String>,
    /// Patterns of consumer groups whose offsets are copied.
    pub groups: Vec<String>,
    /// Bytes a second at most, of all mirrors of the group on a node; none is without a limit.
    pub rate_max_bytes: Option<u64>,
    /// What is done about offsets that no record has.
    pub gaps: GapPolicy,
    /// What a failover may lose.
    pub max_lag: LagBudget,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_budget_is_records_or_time() {
        for (text, budget) in [
            ("0 records", LagBudget::Records(0)),
            ("1 record", LagBudget::Records(1)),
            ("500ms", LagBudget::Ms(500)),
            ("2 s", LagBudget::Ms(2_000)),
            ("any", LagBudget::Any),
        ] {
            assert_eq!(text.parse::<LagBudget>().unwrap(), budget);
            assert_eq!(budget.to_string().parse::<LagBudget>().unwrap(), budget);
        }
        for wrong in ["", "5", "records", "-1 records", "1 MiB", "5 any", "99999999999999999999 records"] {
            assert!(wrong.parse::<LagBudget>().is_err(), "{wrong}");
        }
    }
}
