//! The clocks of the nodes, each with its own begin and its own pace, and timers by the world's time.

use super::{Executor, locked};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A monotonic clock. All show microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The world's time when the process began.
    pub(crate) began_us: u64,
    /// What it showed then.
    pub(crate) first_us: u64,
    /// How many millionths faster it runs than the world's.
    pub(crate) fast_ppm: i64,
}

const MILLION: i128 = 1_000_000;

impl Clock {
    /// What it shows at the world's `now_us`.
    pub(crate) fn shows(&self, now_us: u64) -> u64 {
        let passed = i128::from(now_us.saturating_sub(self.began_us));
        self.first_us + (passed * (MILLION + i128::from(self.fast_ppm)) / MILLION) as u64
    }

    /// The first moment of the world at which it shows `at_us`.
    pub(crate) fn reaches(&self, at_us: u64) -> u64 {
        let shown = i128::from(at_us.saturating_sub(self.first_us));
        let pace = MILLION + i128::from(self.fast_ppm);
        let passed = (shown * MILLION + pace - 1) / pace;
        self.began_us.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

/// A timer.
pub(crate) struct SleepUntil {
    executor: Executor,
    at_us: u64,
    /// Under which it is armed.
    key: Option<(u64, u64)>,
}

impl SleepUntil {
    pub(super) fn new(executor: Executor, at_us: u64) -> Self {
        Self { executor, at_us, key: None }
    }
}

impl Future for SleepUntil {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = locked(&self.executor.0.inner);
        if let Some(key) = self.key {
            inner.timers.remove(&key);
        }
        if inner.now_us >= self.at_us {
            drop(inner);
            self.key = None;
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            inner.timers_set += 1;
            (self.at_us, inner.timers_set)
        });
        inner.timers.insert(key, cx.waker().clone());
        drop(inner);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for SleepUntil {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = locked(&self.executor.0.inner).timers.remove(&key);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_reaches_what_it_shows() {
        for fast_ppm in [-4_000, -1, 0, 3, 4_000] {
            let clock = Clock { began_us: 5_000, first_us: 77, fast_ppm };
            for at_us in [77, 78, 1_000, 123_456_789] {
                let reached = clock.reaches(at_us);
                assert!(clock.shows(reached) >= at_us, "{fast_ppm} {at_us}");
                assert!(at_us == 77 || clock.shows(reached - 1) < at_us, "{fast_ppm} {at_us}");
            }
        }
    }
}
