//! openraft's watch over the seam's, which wakes in a fixed order.

use openraft::rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use primacy_runtime::watch;

/// The kind of watch.
#[derive(Debug)]
pub struct SeamWatch;

/// Changes the value.
#[derive(Debug)]
pub struct SeamWatchSender<T>(watch::Sender<T>);

/// Sees the latest value.
#[derive(Debug)]
pub struct SeamWatchReceiver<T>(watch::Receiver<T>);

impl<T> Clone for SeamWatchSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for SeamWatchReceiver<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Watch for SeamWatch {
    type Sender<T: Send + Sync> = SeamWatchSender<T>;
    type Receiver<T: Send + Sync> = SeamWatchReceiver<T>;
    type Ref<'a, T: Send + 'a> = watch::Ref<'a, T>;

    fn channel<T: Send + Sync>(init: T) -> (SeamWatchSender<T>, SeamWatchReceiver<T>) {
        let (sender, receiver) = watch::channel(init);
        (SeamWatchSender(sender), SeamWatchReceiver(receiver))
    }
}

impl<T: Send + Sync> WatchSender<SeamWatch, T> for SeamWatchSender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.is_closed() {
            return Err(SendError(value));
        }
        self.0.send(value);
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        self.0.send_if_modified(modify)
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.0.borrow()
    }

    fn subscribe(&self) -> SeamWatchReceiver<T> {
        SeamWatchReceiver(self.0.subscribe())
    }
}

impl<T: Send + Sync> WatchReceiver<SeamWatch, T> for SeamWatchReceiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        self.0.changed().await.map_err(|_| RecvError(()))
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.0.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.0.borrow_and_update()
    }
}
