//! A value that changes, and those who wait for the change, woken in the order in which they came.
//!
//! tokio's watch wakes in an order of its own luck, which no seed repeats; otherwise this is the same thing: a
//! receiver sees the latest value, not each one.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, Waker};

/// The value as it is now; writers wait while this is held, so hold it briefly and over no await.
pub type Ref<'a, T> = RwLockReadGuard<'a, T>;

/// All senders are gone and the last value was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all senders are gone")]
pub struct Closed;

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    version: AtomicU64,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl<T> Shared<T> {
    fn read(&self) -> Ref<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_values().for_each(Waker::wake);
    }
}

/// Starts with `value`, which receivers count as seen.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        value: RwLock::new(value),
        version: AtomicU64::new(0),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
        waiting: Mutex::default(),
    });
    (Sender { shared: shared.clone() }, Receiver { shared, seen: 0 })
}

/// Changes the value.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Replaces the value, whether or not anyone listens.
    pub fn send(&self, value: T) {
        self.send_if_modified(|held| {
            *held = value;
            true
        });
    }

    /// Changes the value in place; receivers are woken when `change` returns true.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.shared.value.write().unwrap_or_else(PoisonError::into_inner);
        let modified = change(&mut value);
        if modified {
            // Under the value's lock, so that a reader who sees this version sees this value.
            self.shared.version.fetch_add(1, Ordering::SeqCst);
        }
        drop(value);
        if modified {
            self.shared.wake();
        }
        modified
    }

    /// The present value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// A new receiver that counts the present value as seen.
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.receivers.fetch_add(1, Ordering::SeqCst);
        let value = self.shared.read();
        let seen = self.shared.version.load(Ordering::SeqCst);
        drop(value);
        Receiver { shared: self.shared.clone(), seen }
    }

    /// Whether no receiver is left.
    pub fn is_closed(&self) -> bool {
        self.shared.receivers.load(Ordering::SeqCst) == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::SeqCst);
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.wake();
        }
    }
}

/// Sees the value and waits for changes.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Receiver<T> {
    /// The present value; it stays unseen.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// The present value, seen from here on.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.version.load(Ordering::SeqCst);
        value
    }

    /// Whether there is an unseen value.
    pub fn has_changed(&self) -> bool {
        self.shared.version.load(Ordering::SeqCst) != self.seen
    }

    /// Waits for an unseen value and counts it as seen.
    ///
    /// # Errors
    /// [`Closed`] when there can be none any more.
    pub fn changed(&mut self) -> impl Future<Output = Result<(), Closed>> + Send + '_
    where
        T: Send + Sync,
    {
        Changed { receiver: self, key: None }
    }

    /// Waits until `wanted` holds for the value, which may be at once.
    ///
    /// # Errors
    /// [`Closed`] when it can hold no more.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool + Send) -> Result<(), Closed>
    where
        T: Send + Sync,
    {
        loop {
            if wanted(&self.borrow_and_update()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::SeqCst);
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Changed<'a, T> {
    receiver: &'a mut Receiver<T>,
    key: Option<u64>,
}

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = self.receiver.shared.clone();
        // Locked before the version is read: a sender bumps it first and takes this lock after.
        let mut waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = self.key.take() {
            waiting.wakers.remove(&key);
        }
        let version = shared.version.load(Ordering::SeqCst);
        if version != self.receiver.seen {
            self.receiver.seen = version;
            return Poll::Ready(Ok(()));
        }
        if shared.senders.load(Ordering::SeqCst) == 0 {
            return Poll::Ready(Err(Closed));
        }
        let key = waiting.next;
        waiting.next += 1;
        waiting.wakers.insert(key, cx.waker().clone());
        self.key = Some(key);
        Poll::Pending
    }
}

impl<T> Drop for Changed<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut waiting = self.receiver.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.wakers.remove(&key);
        }
    }
}
