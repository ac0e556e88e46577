//! What is shown: one report a kind of answer, printed as a table or as JSON from the same fields.
//!
//! The reports are what programs rely on, so they are types of their own: a field that the wire renames does not
//! rename itself in a script. Field names are snake_case with their unit, times are RFC 3339 with milliseconds.
//!
//! Nothing here may ask the cluster or the clock: ages are counted from a time that is given.

pub(crate) mod apply;
pub(crate) mod cluster;
pub(crate) mod event;
pub(crate) mod fence;
pub(crate) mod group;
pub(crate) mod mirror;
pub(crate) mod primary;
pub(crate) mod status;
pub(crate) mod transition;

use primacy_core::WallTime;
use serde::{Serialize, Serializer};

/// A time of day, RFC 3339 with milliseconds in JSON. Microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// `07:34:56.123`, in UTC.
    pub(crate) fn clock(self) -> String {
        self.to_string().get(11..23).unwrap_or_default().to_owned()
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        WallTime(self.0).fmt(f)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The word of the contract for a value of an enumeration of the wire: `GROUP_STATE_SERVING` is `serving`. A value
/// that this version does not know is `unknown`.
pub(crate) fn word(name: Option<&str>, prefix: &str) -> String {
    name.and_then(|name| name.strip_prefix(prefix)).map_or_else(|| "unknown".to_owned(), str::to_lowercase)
}

/// Microseconds as milliseconds with all their digits.
pub(crate) fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

/// Milliseconds to the microsecond: no digits that arithmetic alone has made.
pub(crate) fn to_the_us(ms: f64) -> f64 {
    (ms * 1_000.0).round() / 1_000.0
}

/// Evidence for people: a finding once, with all who saw it. `n1 (east): x is down` and `n2 (north): x is down` make
/// `x is down (n1 n2)`.
pub(crate) fn gathered(evidence: &[String]) -> Vec<String> {
    let mut findings: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in evidence {
        let seen = line.split_once("): ").and_then(|(who, what)| Some((who.split_once(" (")?.0, what)));
        let (node, what) = seen.map_or((None, line.as_str()), |(node, what)| (Some(node), what));
        match findings.iter_mut().find(|(known, _)| *known == what) {
            Some((_, nodes)) => nodes.extend(node),
            None => findings.push((what, node.into_iter().collect())),
        }
    }
    let words = |(what, nodes): (&str, Vec<&str>)| match nodes.as_slice() {
        [] => what.to_owned(),
        nodes => format!("{what} ({})", nodes.join(" ")),
    };
    findings.into_iter().map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_once() {
        let evidence = [
            "n1 (east): connection to a ended by EOF",
            "n1 (east): a refuses connections",
            "n2 (north): a refuses connections",
            "replication link of b is down",
        ];
        assert_eq!(
            gathered(&evidence.map(str::to_owned)),
            [
                "connection to a ended by EOF (n1)",
                "a refuses connections (n1 n2)",
                "replication link of b is down"
            ]
        );
    }

    #[test]
    fn numbers_have_no_digits_of_their_own() {
        assert_eq!(serde_json::to_string(&to_the_us(46.802_000_000_000_01)).ok().as_deref(), Some("46.802"));
        assert_eq!(Stamp(1_795_511_696_123_999).clock(), "09:14:56.123");
    }
}
