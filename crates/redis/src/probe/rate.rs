//! How fast the stream grew: the peak of the last ten seconds bounds what a silent primary may have written since it
//! last answered.

use primacy_core::Moment;
use std::time::Duration;

const SECONDS: usize = 10;
/// Two answers closer than this say little about a rate.
const APART_MIN: Duration = Duration::from_millis(20);

/// The highest growth between two answers, kept by second.
#[derive(Debug, Default)]
pub(super) struct RatePeak {
    last: Option<(Moment, u64)>,
    /// Of each of the last seconds: which second, and its peak.
    peaks: [(u64, u64); SECONDS],
}

impl RatePeak {
    /// Takes an offset in bytes into account. One that fell belongs to another history.
    pub(super) fn record(&mut self, at: Moment, offset_bytes: u64) {
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
        let second = second_of(at);
        let slot = &mut self.peaks[second as usize % SECONDS];
        let kept = if slot.0 == second { slot.1 } else { 0 };
        *slot = (second, kept.max(u64::try_from(rate).unwrap_or(u64::MAX)));
    }

    /// A new process: its offsets have nothing to do with those before.
    pub(super) fn forget_offset(&mut self) {
        self.last = None;
    }

    /// Bytes a second.
    pub(super) fn peak(&self, now: Moment) -> u64 {
        let oldest = second_of(now).saturating_sub(SECONDS as u64 - 1);
        self.peaks.iter().filter(|(second, _)| *second >= oldest).map(|(_, rate)| *rate).max().unwrap_or(0)
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

    #[test]
    fn the_peak_is_that_of_the_last_ten_seconds() {
        let mut rate = RatePeak::default();
        rate.record(ms(0), 0);
        rate.record(ms(100), 50_000);
        assert_eq!(rate.peak(ms(100)), 500_000);
        rate.record(ms(200), 51_000);
        assert_eq!(rate.peak(ms(9_900)), 500_000);
        rate.record(ms(10_100), 51_990);
        assert_eq!(rate.peak(ms(10_100)), 100);
    }

    #[test]
    fn an_offset_that_falls_and_a_probe_too_soon_count_for_nothing() {
        let mut rate = RatePeak::default();
        rate.record(ms(0), 1_000);
        rate.record(ms(1), 900_000);
        rate.record(ms(100), 10);
        assert_eq!(rate.peak(ms(100)), 0);
        rate.forget_offset();
        rate.record(ms(200), 1_000_000);
        assert_eq!(rate.peak(ms(200)), 0);
    }
}
