//! Which topics and which consumer groups are meant.
//!
//! Regular expressions, anchored: `orders` is that topic alone. Kafka's own topics are never meant, and neither is
//! what the mirror itself keeps on a standby.

use regex::RegexSet;

/// What the mirror keeps on the standby begins with this.
pub(crate) const OWN_PREFIX: &str = "primacy.mirror.";

/// Topics that Kafka and its tools keep for themselves.
const INTERNAL: [&str; 5] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
    "__cluster_metadata",
    "__remote_log_metadata",
];

/// A set of patterns.
#[derive(Clone, Debug)]
pub struct Patterns {
    set: RegexSet,
}

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern \"{pattern}\": {reason}")]
pub struct PatternError {
    /// What was given.
    pub pattern: String,
    /// Why it cannot be used.
    pub reason: String,
}

impl Patterns {
    /// Reads patterns.
    ///
    /// # Errors
    /// One that is no regular expression, and one that names nothing but what is internal.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Patterns, PatternError> {
        let mut anchored = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let refused =
                |reason: &str| PatternError { pattern: pattern.to_owned(), reason: reason.to_owned() };
            if pattern.is_empty() {
                return Err(refused("it is empty"));
            }
            if INTERNAL.contains(&pattern) || pattern.starts_with("__") || pattern.starts_with(OWN_PREFIX) {
                return Err(refused("it names what is internal and never copied"));
            }
            let expression = format!("^(?:{pattern})$");
            regex::Regex::new(&expression).map_err(|e| refused(&last_line(&e.to_string())))?;
            anchored.push(expression);
        }
        let refused =
            |e: regex::Error| PatternError { pattern: anchored.join(" "), reason: last_line(&e.to_string()) };
        let set = RegexSet::new(&anchored).map_err(refused)?;
        Ok(Patterns { set })
    }

    /// Whether a topic is meant.
    pub fn match_topic(&self, name: &str) -> bool {
        !is_internal(name) && self.set.is_match(name)
    }

    /// Whether a consumer group is meant.
    pub fn match_group(&self, name: &str) -> bool {
        !name.starts_with(OWN_PREFIX) && self.set.is_match(name)
    }
}

/// Whether a topic belongs to Kafka, its tools, or the mirror.
fn is_internal(name: &str) -> bool {
    name.starts_with("__") || name.starts_with(OWN_PREFIX)
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored() {
        let patterns = Patterns::new(["orders", "clicks-.*", "a|b"]).unwrap();
        let meant = ["orders", "clicks-", "clicks-eu", "a", "b"];
        assert!(meant.iter().all(|name| patterns.match_topic(name)));
        assert!(["orders2", "my-orders", "clicks", "ab", ""].iter().all(|name| !patterns.match_topic(name)));
    }

    #[test]
    fn what_is_internal_never_matches() {
        let all = Patterns::new([".*"]).unwrap();
        for name in INTERNAL.iter().copied().chain(["primacy.mirror.events"]) {
            assert!(!all.match_topic(name), "{name}");
        }
        assert!(!all.match_group("primacy.mirror.events") && all.match_group("billing"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let error = Patterns::new(["fine", "br(oken"]).unwrap_err();
        assert_eq!((error.pattern.as_str(), error.reason.as_str()), ("br(oken", "unclosed group"));
        assert!(Patterns::new(["__consumer_offsets"]).is_err());
        assert!(Patterns::new([""]).is_err());
        assert!(!Patterns::new(Vec::<String>::new()).unwrap().match_topic("orders"));
    }
}
