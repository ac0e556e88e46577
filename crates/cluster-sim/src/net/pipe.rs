//! One direction of a stream: what goes in comes out in the same order, each after its way across.

use super::Net;
use futures::Stream;
use futures::stream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tonic::Status;

/// The near end.
pub(super) struct Inlet<T> {
    net: Net,
    from: u64,
    to: u64,
    queue: UnboundedSender<(u64, T)>,
    last_us: u64,
}

/// The far end.
pub(super) struct Outlet<T> {
    net: Net,
    from: u64,
    to: u64,
    queue: UnboundedReceiver<(u64, T)>,
}

pub(super) fn pipe<T>(net: &Net, from: u64, to: u64) -> (Inlet<T>, Outlet<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let inlet = Inlet { net: net.clone(), from, to, queue: sender, last_us: 0 };
    (inlet, Outlet { net: net.clone(), from, to, queue: receiver })
}

impl<T> Inlet<T> {
    /// Whether the far end is still there.
    pub(super) fn put(&mut self, item: T) -> bool {
        self.last_us = self.last_us.max(self.net.arrival_us(self.from, self.to));
        self.queue.send((self.last_us, item)).is_ok()
    }

    /// Is done once nobody is at the far end.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }
}

impl<T: Send + 'static> Outlet<T> {
    /// The next item; none when the near end is gone, which is seen after a way across as well.
    pub(super) async fn next(&mut self) -> Option<Result<T, Status>> {
        match self.queue.recv().await {
            Some((due_us, item)) => Some(self.net.arrive(self.from, self.to, due_us).await.map(|()| item)),
            None => self.net.cross(self.from, self.to).await.err().map(Err),
        }
    }

    /// All of them, up to the first that does not arrive.
    pub(super) fn until_broken(self) -> impl Stream<Item = T> + Send + 'static {
        stream::unfold(self, |mut outlet| async move {
            let item = outlet.next().await?.ok()?;
            Some((item, outlet))
        })
    }
}
