//! Tasks that end with their owner.

use crate::backend;
use futures::FutureExt;
use futures::future::{AbortHandle, Abortable};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A task that did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task {}", if *.panicked { "panicked" } else { "was cancelled" })]
pub struct Cancelled {
    /// Whether a panic ended it.
    pub panicked: bool,
}

/// A running task. Await it for its result; dropping it aborts it, so that no task outlives its owner unnoticed.
#[must_use = "dropping a task aborts it; keep it, await it or detach it"]
#[derive(Debug)]
pub struct Task<T> {
    run: Run<T>,
    aborts_on_drop: bool,
}

#[derive(Debug)]
enum Run<T> {
    Tokio(JoinHandle<T>),
    Installed { result: oneshot::Receiver<Result<T, Cancelled>>, abort: AbortHandle },
}

/// Runs `future` beside the caller.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let run = backend::with(|installed| match installed {
        None => Run::Tokio(tokio::spawn(future)),
        Some(backend) => {
            let (tell, result) = oneshot::channel();
            let (abort, registration) = AbortHandle::new_pair();
            let future = Abortable::new(AssertUnwindSafe(future).catch_unwind(), registration);
            backend.spawn(Box::pin(async move {
                let outcome = match future.await {
                    Ok(Ok(value)) => Ok(value),
                    Ok(Err(_)) => Err(Cancelled { panicked: true }),
                    Err(_) => Err(Cancelled { panicked: false }),
                };
                // Nobody may be waiting.
                let _ = tell.send(outcome);
            }));
            Run::Installed { result, abort }
        }
    });
    Task { run, aborts_on_drop: true }
}

/// Runs blocking work where it holds up no other task. In a simulation it runs at once, in no time.
///
/// # Errors
/// [`Cancelled`] when it panicked or the runtime went away.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Cancelled> {
    if backend::with(|installed| installed.is_some()) {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|e| Cancelled { panicked: e.is_panic() })
}

impl<T> Task<T> {
    /// Stops it at its next await.
    pub fn abort(&self) {
        match &self.run {
            Run::Tokio(handle) => handle.abort(),
            Run::Installed { abort, .. } => abort.abort(),
        }
    }

    /// Lets it run to its end without an owner.
    pub fn detach(mut self) {
        self.aborts_on_drop = false;
    }

    /// Keeps it awaitable, but lets it run on when dropped.
    pub fn unbound(mut self) -> Self {
        self.aborts_on_drop = false;
        self
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        match &self.run {
            Run::Tokio(handle) => handle.is_finished(),
            Run::Installed { result, .. } => !result.is_empty() || result.is_terminated(),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if self.aborts_on_drop {
            self.abort();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Cancelled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.run {
            Run::Tokio(handle) => {
                handle.poll_unpin(cx).map(|r| r.map_err(|e| Cancelled { panicked: e.is_panic() }))
            }
            Run::Installed { result, .. } => {
                result.poll_unpin(cx).map(|r| r.unwrap_or(Err(Cancelled { panicked: false })))
            }
        }
    }
}
