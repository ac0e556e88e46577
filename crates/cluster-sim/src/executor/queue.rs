//! Tasks, and those of them that can run.

use super::Place;
use primacy_runtime::Job;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

pub(super) struct Running {
    pub(super) id: u64,
    pub(super) place: Place,
    /// None while it runs, and when it is over.
    pub(super) job: Mutex<Option<Job>>,
    pub(super) queued: AtomicBool,
    ready: Arc<Mutex<Ready>>,
}

impl Running {
    /// One that is about to be queued.
    pub(super) fn new(id: u64, place: Place, job: Job, ready: Arc<Mutex<Ready>>) -> Arc<Self> {
        Arc::new(Self { id, place, job: Mutex::new(Some(job)), queued: AtomicBool::new(true), ready })
    }
}

impl Wake for Running {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            let ready = self.ready.clone();
            ready.lock().unwrap_or_else(PoisonError::into_inner).push(self);
        }
    }
}

/// The tasks that can run, in the order in which they were woken.
#[derive(Default)]
pub(super) struct Ready(VecDeque<Arc<Running>>);

impl Ready {
    pub(super) fn push(&mut self, task: Arc<Running>) {
        self.0.push_back(task);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn first(&mut self) -> Option<Arc<Running>> {
        self.0.pop_front()
    }

    /// The one at `index`; the last takes its place.
    pub(super) fn take(&mut self, index: usize) -> Option<Arc<Running>> {
        self.0.swap_remove_back(index)
    }
}
