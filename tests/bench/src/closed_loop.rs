//! Clients that each send the next request when the last was answered, for a time.
//!
//! The rate is counted over a window that begins after a warm-up and ends before the clients stop, so neither the
//! first connection nor the last answer distorts it. A loop is bounded in time and in calls, whichever ends first.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

/// How long and how often at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Not counted.
    pub(crate) warm_up: Duration,
    /// Counted.
    pub(crate) window: Duration,
    /// Each client stops after so many calls.
    pub(crate) calls_max: u64,
}

/// Calls of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Round {
    /// Answered in the window, each second.
    pub(crate) per_second: f64,
    /// Answered at all, the warm-up included.
    pub(crate) answered: u64,
    /// Failed at all.
    pub(crate) failed: u64,
}

/// More failures than this share of the answers make a round worthless.
const FAILED_SHARE_MAX: f64 = 0.01;

#[derive(Default)]
struct Counters {
    answered: AtomicU64,
    failed: AtomicU64,
}

/// What a client does again and again.
pub(crate) trait Call: Send + 'static {
    /// One request, until its answer; bounded in time.
    fn call(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Lets every client call in a loop and returns the rate of answers.
///
/// # Errors
/// When more than 1% of the calls fail, or a client used up its calls before the window was over.
pub(crate) async fn run<C: Call>(clients: Vec<C>, bounds: Bounds) -> Result<Round> {
    let counters = Arc::new(Counters::default());
    let until = Instant::now() + bounds.warm_up + bounds.window + Duration::from_millis(100);
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(one_client(client, bounds.calls_max, until, counters.clone()));
    }
    tokio::time::sleep(bounds.warm_up).await;
    let (from, before) = (Instant::now(), counters.answered.load(Ordering::Relaxed));
    tokio::time::sleep(bounds.window).await;
    let after = counters.answered.load(Ordering::Relaxed);
    let per_second = (after - before) as f64 / from.elapsed().as_secs_f64();
    let mut last_error = None;
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.context("a client of the load broke down")?;
        ensure!(!ended.used_up, "a client sent {} requests before the time was over", bounds.calls_max);
        last_error = ended.last_error.or(last_error);
    }
    let round = Round {
        per_second,
        answered: counters.answered.load(Ordering::Relaxed),
        failed: counters.failed.load(Ordering::Relaxed),
    };
    let failed_max = (round.answered as f64 * FAILED_SHARE_MAX) as u64;
    match last_error {
        Some(error) if round.failed > failed_max => {
            Err(error
                .context(format!("{} calls failed beside {} that did not", round.failed, round.answered)))
        }
        _ => Ok(round),
    }
}

struct Ended {
    used_up: bool,
    last_error: Option<anyhow::Error>,
}

async fn one_client(mut client: impl Call, calls_max: u64, until: Instant, counters: Arc<Counters>) -> Ended {
    let mut last_error = None;
    for _ in 0..calls_max {
        if Instant::now() >= until {
            return Ended { used_up: false, last_error };
        }
        match client.call().await {
            Ok(()) => {
                counters.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                last_error = Some(error);
                // A server that refuses everything must not be flooded.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    Ended { used_up: true, last_error }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use anyhow::anyhow;

    const BOUNDS: Bounds = Bounds {
        warm_up: Duration::from_millis(20),
        window: Duration::from_millis(100),
        calls_max: 1_000_000,
    };

    struct Millisecond;

    impl Call for Millisecond {
        async fn call(&mut self) -> Result<()> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        }
    }

    struct Failing;

    impl Call for Failing {
        async fn call(&mut self) -> Result<()> {
            Err(anyhow!("no leader"))
        }
    }

    #[tokio::test]
    async fn the_rate_is_that_of_the_window() {
        let round = run([(); 4].map(|()| Millisecond).into(), BOUNDS).await.unwrap();
        // A call takes at least 1 ms, of which a busy machine may make more.
        assert!(round.per_second > 100.0 && round.per_second <= 4_100.0, "{round:?}");
        assert!(round.answered as f64 > round.per_second * 0.1 && round.failed == 0);
    }

    #[tokio::test]
    async fn failures_are_reported_and_their_number_too() {
        let error = run(vec![Failing], BOUNDS).await.unwrap_err();
        assert!(format!("{error:#}").contains("calls failed beside 0 that did not: no leader"), "{error:#}");
    }

    #[tokio::test]
    async fn a_loop_ends_by_its_number_of_calls() {
        let bounds = Bounds { calls_max: 3, ..BOUNDS };
        let error = run(vec![Millisecond], bounds).await.unwrap_err();
        assert!(error.to_string().contains("sent 3 requests"), "{error}");
    }
}
