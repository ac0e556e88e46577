//! Clocks and timers.
//!
//! Monotonic time is CLOCK_BOOTTIME: a machine that was suspended finds its leases over when it wakes up, which
//! CLOCK_MONOTONIC would hide.

use crate::backend::{self, Backend};
use futures::future::BoxFuture;
use primacy_core::{Moment, WallTime};
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Local monotonic time since about the start of the process.
pub fn now() -> Moment {
    backend::with(|installed| installed.map_or_else(boot_time, Backend::now))
}

/// Wall clock time. For records only: it may step.
pub fn wall() -> WallTime {
    backend::with(|installed| installed.map_or_else(system_time, Backend::wall))
}

fn boot_time() -> Moment {
    static START_US: OnceLock<u64> = OnceLock::new();
    let read = clock_gettime(ClockId::Boottime);
    let us = read.tv_sec as u64 * 1_000_000 + read.tv_nsec as u64 / 1_000;
    Moment(us.saturating_sub(*START_US.get_or_init(|| us)))
}

fn system_time() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(since_epoch.as_micros() as u64)
}

/// A timer. Made by [`sleep`] and [`sleep_until`].
pub struct Sleep(Timer);

enum Timer {
    Tokio(Pin<Box<tokio::time::Sleep>>),
    Installed(BoxFuture<'static, ()>),
}

/// Is done after `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep(backend::with(|installed| match installed {
        None => Timer::Tokio(Box::pin(tokio::time::sleep(duration))),
        Some(backend) => Timer::Installed(backend.sleep_until(backend.now().after(duration))),
    }))
}

/// Is done once [`now`] has reached `at`.
pub fn sleep_until(at: Moment) -> Sleep {
    Sleep(backend::with(|installed| match installed {
        None => Timer::Tokio(Box::pin(tokio::time::sleep(at.since(boot_time())))),
        Some(backend) => Timer::Installed(backend.sleep_until(at)),
    }))
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Timer::Tokio(timer) => timer.as_mut().poll(cx),
            Timer::Installed(timer) => timer.as_mut().poll(cx),
        }
    }
}

/// The time given was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time given is over")]
pub struct Elapsed;

/// A future with a limit in time. Made by [`timeout`] and [`timeout_at`].
#[derive(Debug)]
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    limit: Sleep,
}

/// Gives `future` at most `within`. A result that is ready at the limit counts.
pub fn timeout<F: Future>(within: Duration, future: F) -> Timeout<F> {
    Timeout { future: Box::pin(future), limit: sleep(within) }
}

/// Gives `future` time until `at`.
pub fn timeout_at<F: Future>(at: Moment, future: F) -> Timeout<F> {
    Timeout { future: Box::pin(future), limit: sleep_until(at) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(value) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut self.limit).poll(cx).map(|()| Err(Elapsed))
    }
}

/// Ticks at a steady pace; ticks that were missed are left out, not made up for.
#[derive(Debug)]
pub struct Interval {
    next: Moment,
    period: Duration,
}

/// Ticks at once, then every `period`, which is at least 1 us.
pub fn interval(period: Duration) -> Interval {
    Interval { next: now(), period: period.max(Duration::from_micros(1)) }
}

impl Interval {
    /// Waits for the next tick. Dropping the wait loses no tick.
    pub async fn tick(&mut self) {
        sleep_until(self.next).await;
        let late = now().since(self.next);
        let periods = (late.as_micros() / self.period.as_micros()) as u64 + 1;
        let step_us = periods.saturating_mul(self.period.as_micros() as u64);
        self.next = self.next.after(Duration::from_micros(step_us));
    }
}
