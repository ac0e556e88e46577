//! How fast records may cross between the sites, shared by all mirrors of a node.
//!
//! A token bucket that may fall into debt: how much a fetch brings is known only afterwards, so a fetch may start
//! while the balance is above zero, and what it brought is charged then. Fair because whoever waits is served in the
//! order of asking, one fetch at a time, and each mirror waits with one fetch at a time, whatever the number of
//! partitions and connections behind it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A limit in bytes a second. Clones share it.
#[derive(Clone, Debug)]
pub struct RateLimit {
    shared: Arc<Shared>,
    /// Held by the one fetch of a mirror that waits.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Shared {
    bucket: Mutex<Bucket>,
    /// Held by whoever waits at the head; the others queue here, first come first served.
    turn: tokio::sync::Mutex<()>,
    started: Instant,
}

impl RateLimit {
    /// A limit of so many bytes a second, at least 1 KiB.
    pub fn new(bytes_per_second: u64) -> RateLimit {
        let bucket = Mutex::new(Bucket::new(bytes_per_second.max(1024)));
        RateLimit {
            shared: Arc::new(Shared { bucket, turn: tokio::sync::Mutex::new(()), started: Instant::now() }),
            asking: Arc::default(),
        }
    }

    /// The same limit for another mirror, which waits for itself.
    pub(crate) fn for_a_mirror(&self) -> RateLimit {
        RateLimit { shared: self.shared.clone(), asking: Arc::default() }
    }

    /// The most that one fetch should ask for: a fifth of a second's worth, so that others have their turn soon.
    pub(crate) fn portion_bytes(&self) -> u64 {
        self.with(|bucket, _| bucket.rate / 5)
    }

    /// Waits until more may cross.
    pub(crate) async fn admit(&self) {
        let _asking = self.asking.lock().await;
        let _turn = self.shared.turn.lock().await;
        loop {
            let wait = self.with(Bucket::wait);
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Says how much has crossed.
    pub(crate) fn charge(&self, bytes: u64) {
        self.with(|bucket, now| bucket.charge(now, bytes));
    }

    fn with<R>(&self, act: impl FnOnce(&mut Bucket, Duration) -> R) -> R {
        let now = self.shared.started.elapsed();
        act(&mut self.shared.bucket.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

/// The arithmetic, with the time as an argument.
#[derive(Debug)]
struct Bucket {
    /// Bytes a second.
    rate: u64,
    /// Millionths of a byte: what may cross, or the debt.
    balance: i128,
    at: Duration,
}

impl Bucket {
    fn new(rate: u64) -> Bucket {
        Bucket { rate, balance: 0, at: Duration::ZERO }
    }

    fn settle(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        // What is not used within a tenth of a second is lost, so that a pause earns no burst.
        let most = i128::from(self.rate) * 100_000;
        let earned = i128::from(self.rate) * i128::try_from(passed.as_micros()).unwrap_or(i128::MAX >> 64);
        self.balance = (self.balance + earned).min(most);
    }

    /// How long until the balance is above zero.
    fn wait(&mut self, now: Duration) -> Duration {
        self.settle(now);
        if self.balance > 0 {
            return Duration::ZERO;
        }
        let micros = (-self.balance) / i128::from(self.rate) + 1;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn charge(&mut self, now: Duration, bytes: u64) {
        self.settle(now);
        self.balance -= i128::from(bytes) * 1_000_000;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_is_the_rate_whatever_the_size_of_the_fetches() {
        for size in [100, 10_000, 3_000_000_u64] {
            let mut bucket = Bucket::new(1_000_000);
            let (mut now, mut crossed) = (Duration::ZERO, 0);
            while now < Duration::from_mins(1) {
                now += bucket.wait(now);
                bucket.charge(now, size);
                crossed += size;
            }
            assert!((57_000_000..=64_000_000).contains(&crossed), "{size}: {crossed}");
        }
    }

    #[test]
    fn a_pause_earns_no_burst() {
        let mut bucket = Bucket::new(1_000_000);
        bucket.charge(Duration::from_hours(1), 100_000);
        assert!(bucket.wait(Duration::from_hours(1)) <= Duration::from_micros(1));
        bucket.charge(Duration::from_hours(1), 1_000_000);
        let wait = bucket.wait(Duration::from_hours(1));
        assert!((Duration::from_millis(990)..Duration::from_millis(1010)).contains(&wait), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_for_more_get_no_more() {
        let limit = RateLimit::new(1_000_000);
        let until = Instant::now() + Duration::from_secs(30);
        let take = |limit: RateLimit, size: u64| async move {
            let mut crossed = 0;
            while Instant::now() < until {
                limit.admit().await;
                limit.charge(size);
                crossed += size;
                tokio::task::yield_now().await;
            }
            crossed
        };
        // Each mirror asks for its portion at a time, one by one connection and one by two.
        let portion = limit.portion_bytes();
        let (few, many) = (limit.for_a_mirror(), limit.for_a_mirror());
        let both = async { tokio::join!(take(many.clone(), portion), take(many.clone(), portion)) };
        let (one, (first, second)) = tokio::join!(take(few, portion), both);
        let other = first + second;
        let share = one as f64 / (one + other) as f64;
        assert!((0.45..0.55).contains(&share), "{one} {other}");
    }
}
