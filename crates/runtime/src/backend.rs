//! What a world must offer, and which one this thread lives in.

use crate::Stream;
use futures::future::BoxFuture;
use primacy_core::{Moment, WallTime};
use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

/// A task as a backend runs it.
pub type Job = BoxFuture<'static, ()>;

/// A world that replaces tokio and the machine's clocks.
pub trait Backend: Send + Sync {
    /// Local monotonic time.
    fn now(&self) -> Moment;
    /// Wall clock time.
    fn wall(&self) -> WallTime;
    /// 64 random bits.
    fn random_u64(&self) -> u64;
    /// Runs `job` beside the others until it is done.
    fn spawn(&self, job: Job);
    /// Is done once [`Backend::now`] has reached `at`.
    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()>;
    /// Opens a connection to `authority` (`host:port`). The caller bounds it in time.
    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

thread_local! {
    static INSTALLED: RefCell<Option<Arc<dyn Backend>>> = const { RefCell::new(None) };
}

/// Makes `backend` the world of this thread until the guard is dropped.
#[must_use = "dropping the guard removes the backend again"]
pub fn install(backend: Arc<dyn Backend>) -> Installed {
    let previous = INSTALLED.with(|cell| cell.borrow_mut().replace(backend));
    Installed { previous, bound_to_thread: PhantomData }
}

/// Puts the former world back when dropped.
pub struct Installed {
    previous: Option<Arc<dyn Backend>>,
    bound_to_thread: PhantomData<*const ()>,
}

impl Drop for Installed {
    fn drop(&mut self) {
        let gone = INSTALLED.with(|cell| std::mem::replace(&mut *cell.borrow_mut(), self.previous.take()));
        // Outside of the borrow: the backend's destructor may drop tasks that use the seam.
        drop(gone);
    }
}

/// Runs `f` with the installed backend, outside of the thread-local borrow so that `f` may use the seam.
pub(crate) fn with<R>(f: impl FnOnce(Option<&dyn Backend>) -> R) -> R {
    let installed = INSTALLED.try_with(|cell| cell.borrow().clone()).ok().flatten();
    f(installed.as_deref())
}
