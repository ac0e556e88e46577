//! Covers that a test steers, and one that asks a real Redis.

use super::resp::{Reply, Resp};
use futures::FutureExt;
use futures::future::BoxFuture;
use primacy_gate::Cover;
use primacy_runtime::watch;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, mpsc, oneshot};

/// A barrier that waits for the test's answer.
pub type Asked = oneshot::Sender<io::Result<u64>>;

/// A cover whose every answer is the test's.
pub struct Steered {
    asked: mpsc::UnboundedSender<Asked>,
    covered: watch::Sender<u64>,
    in_flight: Arc<AtomicUsize>,
    pub in_flight_max: Arc<AtomicUsize>,
}

impl Steered {
    pub fn new() -> (Arc<Steered>, mpsc::UnboundedReceiver<Asked>) {
        let (asked, questions) = mpsc::unbounded_channel();
        let covered = watch::channel(0).0;
        let steered = Steered { asked, covered, in_flight: Arc::default(), in_flight_max: Arc::default() };
        (Arc::new(steered), questions)
    }

    pub fn cover_up_to(&self, offset: u64) {
        self.covered.send(offset);
    }
}

impl Cover for Steered {
    fn barrier(&self) -> BoxFuture<'static, io::Result<u64>> {
        let (answer, answered) = oneshot::channel();
        let in_flight = self.in_flight.clone();
        self.in_flight_max.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _ = self.asked.send(answer);
        async move {
            let answer = answered.await.unwrap_or_else(|_| Err(io::Error::other("the test gave up")));
            in_flight.fetch_sub(1, Ordering::SeqCst);
            answer
        }
        .boxed()
    }

    fn covered(&self) -> watch::Receiver<u64> {
        self.covered.subscribe()
    }
}

/// Asks a Redis for its offset over a connection of its own. What is covered is the test's.
pub struct Asking {
    connection: Arc<Mutex<Resp>>,
    pub covered: watch::Sender<u64>,
    /// Covers each answer as it comes: what a holder would cost that is never behind.
    covers_itself: bool,
}

impl Asking {
    pub async fn new(redis: SocketAddr, covers_itself: bool) -> Arc<Asking> {
        let connection = Arc::new(Mutex::new(Resp::connect(redis).await.expect("Redis is there")));
        Arc::new(Asking { connection, covered: watch::channel(0).0, covers_itself })
    }

    /// The present end of the stream.
    pub async fn offset(&self) -> u64 {
        ask(&self.connection).await.expect("Redis answers")
    }
}

async fn ask(connection: &Mutex<Resp>) -> io::Result<u64> {
    match connection.lock().await.call(&["ROLE"]).await? {
        Reply::Array(role) => match role.get(1) {
            Some(Reply::Number(offset)) => Ok(*offset as u64),
            other => Err(io::Error::other(format!("{other:?} is no offset"))),
        },
        other => Err(io::Error::other(format!("{other:?} is no role"))),
    }
}

impl Cover for Asking {
    fn barrier(&self) -> BoxFuture<'static, io::Result<u64>> {
        let connection = self.connection.clone();
        let covered = self.covers_itself.then(|| self.covered.clone());
        async move {
            let offset = ask(&connection).await?;
            if let Some(covered) = covered {
                covered.send(offset);
            }
            Ok(offset)
        }
        .boxed()
    }

    fn covered(&self) -> watch::Receiver<u64> {
        self.covered.subscribe()
    }
}
