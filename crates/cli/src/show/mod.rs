//! What is shown: one report a kind of answer, printed as a table or as JSON from the same fields.
//!
//! The reports are what programs rely on, so they are types of their own: a field that the wire renames does not
//! rename itself in a script. Field names are snake_case with their unit, times are RFC 3339 with milliseconds.
//!
//! Nothing here may ask the cluster or the clock: ages are counted from a time that is given.

pub(crate) mod apply;
pub(crate) mod cluster;
pub(crate) mod event;
pub(crate) mod group;
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
