//! A point in time as openraft counts it: a [`Moment`] with arithmetic, in microseconds.

use openraft::rt::Instant;
use primacy_core::Moment;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// A point in the monotonic time of `primacy_runtime::now`. Arithmetic saturates at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeamInstant(u64);

impl SeamInstant {
    /// The same point for the seam.
    pub fn moment(self) -> Moment {
        Moment(self.0)
    }
}

impl From<Moment> for SeamInstant {
    fn from(moment: Moment) -> Self {
        Self(moment.0)
    }
}

/// Rounded up, so that what waits for a duration never waits less.
fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}

impl Add<Duration> for SeamInstant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(us(duration)))
    }
}

impl Sub<Duration> for SeamInstant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(us(duration)))
    }
}

impl Sub for SeamInstant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl AddAssign<Duration> for SeamInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl SubAssign<Duration> for SeamInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Instant for SeamInstant {
    fn now() -> Self {
        primacy_runtime::now().into()
    }
}
