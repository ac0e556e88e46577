//! openraft on the runtime seam: its tasks, timers, clock, luck and watches are those of `primacy_runtime`.
//!
//! The problem: elections must run in a simulation that owns time and interleaving as they run in production. The
//! idea: [`SeamRuntime`] passes each request of openraft on to the free functions of `primacy_runtime`, which know
//! what is installed. Channels and mutexes wake in the order of their waiters already, so tokio's serve in both.

mod clock;
mod luck;
mod watch;

pub use clock::SeamInstant;
pub use luck::SeamRng;
pub use watch::{SeamWatch, SeamWatchReceiver, SeamWatchSender};

use openraft::rt::AsyncRuntime;
use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime};
use primacy_runtime::{Cancelled, Elapsed, Sleep, Task, Timeout};
use std::future::Future;
use std::time::Duration;

/// The runtime of [`TypeConfig`](crate::TypeConfig).
#[derive(Debug)]
pub struct SeamRuntime(TokioRuntime);

impl AsyncRuntime for SeamRuntime {
    type JoinError = Cancelled;
    type JoinHandle<T: Send + 'static> = Task<T>;
    type Sleep = Sleep;
    type Instant = SeamInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + Send> = Timeout<T>;
    type ThreadLocalRng = SeamRng;
    type Mpsc = TokioMpsc;
    type Watch = SeamWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: Send + 'static> = TokioMutex<T>;

    /// openraft ends its tasks by message and drops handles of tasks that must live on, so a drop aborts nothing.
    fn spawn<T>(future: T) -> Task<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        primacy_runtime::spawn(future).unbound()
    }

    fn sleep(duration: Duration) -> Sleep {
        primacy_runtime::sleep(duration)
    }

    fn sleep_until(deadline: SeamInstant) -> Sleep {
        primacy_runtime::sleep_until(deadline.moment())
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Timeout<F> {
        primacy_runtime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: SeamInstant, future: F) -> Timeout<F> {
        primacy_runtime::timeout_at(deadline.moment(), future)
    }

    fn is_panic(join_error: &Cancelled) -> bool {
        join_error.panicked
    }

    fn thread_rng() -> SeamRng {
        SeamRng
    }

    /// For openraft's own test suites, which bring no executor.
    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }
}
