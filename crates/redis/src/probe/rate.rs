//! How fast the stream grew: the peak of the last ten seconds bounds what a silent primary may have written since it
//! last answered.
//!
//! A process that was watched for a moment only may have written nothing in just that moment. So there is no peak until
//! it was watched for a second, and none either when nothing but answers far apart is known of it.

use primacy_core::Moment;
use std::time::Duration;

const SECONDS: usize = 10;
/// Two answers closer than this say little about a rate.
const APART_MIN: Duration = Duration::from_millis(20);
/// Two answers further apart tell an average, and no peak.
const APART_MAX: Duration = Duration::from_secs(1);
/// So much of the last seconds must have been watched for a peak to be known.
const WATCHED_MIN: Duration = Duration::from_secs(1);

/// One of the last seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    peak_bytes: u64,
    watched: Duration,
}

/// The highest growth between two answers of one process, kept by second.
#[derive(Debug, Default)]
pub(super) struct RatePeak {
    run_id: String,
    last: Option<(Moment, u64)>,
    seconds: [Second; SECONDS],
}

impl RatePeak {
    /// Takes an offset in bytes into account. One that fell belongs to another history. Of another process nothing is
    /// known by what was seen of the one before.
    pub(super) fn record(&mut self, at: Moment, run_id: &str, offset_bytes: u64) {
        if self.run_id != run_id {
            *self = RatePeak { run_id: run_id.to_owned(), ..RatePeak::default() };
        }
        let Some((before, offset_before)) = self.last else {
            self.last = Some((at, offset_bytes));
            return;
        };
        let apart = at.since(before);
        if apart < APART_MIN {
            return;
        }
        self.last = Some((at, offset_bytes));
        let grown = offset_bytes.saturating_sub(offset_before);
        let rate = u128::from(grown) * 1_000_000 / apart.as_micros();
        let number = second_of(at);
        let second = &mut self.seconds[number as usize % SECONDS];
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        second.peak_bytes = second.peak_bytes.max(u64::try_from(rate).unwrap_or(u64::MAX));
        if apart <= APART_MAX {
            second.watched += apart;
        }
    }

    /// The next answer comes over another connection: what was between is not known.
    pub(super) fn forget_offset(&mut self) {
        self.last = None;
    }

    /// Bytes a second, of the ten seconds before `now`; none where less than a second of them was watched.
    pub(super) fn peak(&self, now: Moment) -> Option<u64> {
        let oldest = second_of(now).saturating_sub(SECONDS as u64 - 1);
        let recent = || self.seconds.iter().filter(|second| second.number >= oldest);
        let watched: Duration = recent().map(|second| second.watched).sum();
        (watched >= WATCHED_MIN).then(|| recent().map(|second| second.peak_bytes).max().unwrap_or(0))
    }
}

fn second_of(at: Moment) -> u64 {
    at.0 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Moment {
        Moment(ms * 1_000)
    }

    /// Answers every 100 ms, that long, with so much more each.
    fn watch(rate: &mut RatePeak, from_ms: u64, to_ms: u64, run_id: &str, bytes: u64) {
        for (i, at) in (from_ms..=to_ms).step_by(100).enumerate() {
            rate.record(ms(at), run_id, 1_000 + i as u64 * bytes);
        }
    }

    #[test]
    fn the_peak_is_that_of_the_last_ten_seconds() {
        let mut rate = RatePeak::default();
        watch(&mut rate, 0, 900, "a", 100);
        rate.record(ms(1_000), "a", 50_000);
        assert_eq!(rate.peak(ms(1_000)), Some(481_000));
        watch(&mut rate, 1_100, 9_900, "a", 10);
        assert_eq!(rate.peak(ms(10_900)), Some(481_000));
        assert_eq!(rate.peak(ms(11_100)), Some(100));
    }

    #[test]
    fn who_was_not_watched_for_a_second_has_no_peak() {
        let mut rate = RatePeak::default();
        watch(&mut rate, 0, 900, "a", 0);
        assert_eq!(rate.peak(ms(900)), None);
        rate.record(ms(1_000), "a", 1_000);
        assert_eq!(rate.peak(ms(1_000)), Some(0));
        // The seconds that were watched are long past.
        assert_eq!(rate.peak(ms(12_000)), None);
        rate.record(ms(12_000), "a", 900_000);
        assert_eq!(rate.peak(ms(12_000)), None);
        // Another process.
        watch(&mut rate, 20_000, 22_000, "a", 0);
        rate.record(ms(22_100), "b", 0);
        assert_eq!(rate.peak(ms(22_100)), None);
    }

    #[test]
    fn an_offset_that_falls_and_a_probe_too_soon_count_for_nothing() {
        let mut rate = RatePeak::default();
        watch(&mut rate, 0, 1_000, "a", 0);
        rate.record(ms(1_001), "a", 900_000);
        rate.record(ms(1_100), "a", 10);
        assert_eq!(rate.peak(ms(1_100)), Some(0));
        rate.forget_offset();
        rate.record(ms(1_200), "a", 1_000_000);
        assert_eq!(rate.peak(ms(1_200)), Some(0));
    }
}
