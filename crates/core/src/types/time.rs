//! Two kinds of time. They never mix: records carry wall time, decisions are made on local monotonic time.

use std::fmt;
use std::time::Duration;

/// Wall clock time in microseconds since 1970-01-01 UTC, stamped by the leader into commands. For records only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Time from `earlier` to `self`; zero where a clock stepped back.
    pub fn since(self, earlier: WallTime) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// `self` moved back by `by`, not below the epoch.
    pub fn before(self, by: Duration) -> WallTime {
        WallTime(self.0.saturating_sub(by.as_micros() as u64))
    }
}

/// RFC 3339 in UTC with milliseconds. The date is Howard Hinnant's `civil_from_days`.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms_total = self.0 / 1_000;
        let (days, ms) = (ms_total / 86_400_000 + 719_468, ms_total % 86_400_000);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}

/// Monotonic time in microseconds since an arbitrary start of this process. Comparable within one node only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// `self` moved forward by `by`.
    pub fn after(self, by: Duration) -> Moment {
        Moment(self.0.saturating_add(by.as_micros() as u64))
    }

    /// `self` moved back by `by`, not below zero.
    pub fn before(self, by: Duration) -> Moment {
        Moment(self.0.saturating_sub(by.as_micros() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_reads_as_rfc_3339() {
        assert_eq!(WallTime(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(WallTime(1_795_511_696_123_999).to_string(), "2026-11-24T09:14:56.123Z");
        assert_eq!(WallTime(951_782_400_000_000).to_string(), "2000-02-29T00:00:00.000Z");
    }
}
