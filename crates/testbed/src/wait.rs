//! Waiting for a condition with a deadline, instead of sleeping and hoping.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Asks `probe` every 10 ms until it answers `Ok`; its `Err` means "not yet" and says what is seen instead.
///
/// # Errors
/// When `deadline` has passed: the message says what was waited for, how long, and what was seen last. A probe that
/// hangs is cut off at the deadline.
pub async fn wait_for<T, F, Fut>(what: &str, deadline: Duration, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let end = Instant::now() + deadline;
    let mut last_seen = None;
    loop {
        match timeout_at(end, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(not_yet)) => last_seen = Some(format!("{not_yet:#}")),
            Err(_) => {
                last_seen = Some(match last_seen {
                    Some(seen) => format!("{seen} (the last look did not return in time)"),
                    None => "nothing: the first look did not return".to_owned(),
                });
            }
        }
        if Instant::now() + POLL_INTERVAL >= end {
            let seen = last_seen.unwrap_or_default();
            return Err(anyhow!("waited {deadline:?} in vain for {what}; last seen: {seen}"));
        }
        sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn returns_what_the_probe_found() {
        let looks = Cell::new(0);
        let found = wait_for("three looks", Duration::from_secs(5), || async {
            looks.set(looks.get() + 1);
            if looks.get() < 3 { Err(anyhow!("{} looks", looks.get())) } else { Ok(looks.get()) }
        })
        .await;
        assert_eq!(found.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_error_says_what_was_awaited_and_what_was_seen() {
        let error =
            wait_for("a standby", Duration::from_millis(40), || async { Err::<(), _>(anyhow!("link down")) })
                .await
                .unwrap_err();
        assert_eq!(error.to_string(), "waited 40ms in vain for a standby; last seen: link down");
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_cut_off() {
        let error = wait_for("an answer", Duration::from_millis(40), std::future::pending::<Result<()>>)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("the first look did not return"), "{error}");
    }
}
