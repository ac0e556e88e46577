//! When held replies go.
//!
//! The problem: a reply says that a write is done, and the write is safe only once the stream that carries it has reached
//! whoever guards it; but a reply does not say where in the stream its write is. The idea: a barrier. Time is cut into
//! generations; what is read belongs to the present one. When a generation ends the primary is asked for the end of its
//! stream, which lies behind every write that was answered before the question, and the generation goes once that
//! offset is covered. One question at a time: the next generation lasts as long as the answer takes.
//!
//! It works on bytes and so must not know what they mean: a transaction, a script, a message pushed by a subscription
//! and an answer to a read are all held alike. A read held as well is no loss: it may show a write that is not yet safe.

use crate::door::Cover;
use crate::opening::Opening;
use crate::queue::Queue;
use crate::stats::{Counters, add};
use futures::future::BoxFuture;
use primacy_runtime::watch;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use tokio::sync::Notify;

/// The most that is held of one connection.
const CONNECTION_BYTES_MAX: usize = 1024 * 1024;
/// The most that is held of all, but that each connection may go on up to its share.
const GATE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What each connection may hold in any case, so that slow clients do not stop the others.
const SHARE_BYTES: usize = 16 * 1024;
/// How many connections are written to before others get the thread.
const RELEASES_AT_ONCE: usize = 128;

pub(crate) struct Hold {
    present: Mutex<Generation>,
    begun: Notify,
    covers: watch::Sender<Arc<dyn Cover>>,
    counters: Arc<Counters>,
}

/// What was read since the last barrier was sent.
#[derive(Default)]
struct Generation {
    number: u64,
    queues: Vec<Arc<Queue>>,
}

/// A generation whose barrier has been answered.
struct Answered {
    generation: Generation,
    offset: u64,
}

impl Hold {
    pub(crate) fn new(
        cover: Arc<dyn Cover>,
        counters: Arc<Counters>,
    ) -> (Self, watch::Receiver<Arc<dyn Cover>>) {
        let (sender, receiver) = watch::channel(cover);
        (Self { present: Mutex::default(), begun: Notify::new(), covers: sender, counters }, receiver)
    }

    /// From now on `cover` is asked, and decides about what is held already.
    pub(crate) fn replace_cover(&self, cover: &Arc<dyn Cover>) {
        self.covers.send_if_modified(|held| {
            let another = !Arc::ptr_eq(held, cover);
            if another {
                *held = cover.clone();
            }
            another
        });
    }

    /// The present generation, which will release `queue`; `enlisted` is the one that was told of it last.
    pub(crate) fn enlist(&self, queue: &Arc<Queue>, enlisted: Option<u64>) -> u64 {
        let mut present = self.present();
        if enlisted != Some(present.number) {
            present.queues.push(queue.clone());
            if present.queues.len() == 1 {
                self.begun.notify_one();
            }
        }
        present.number
    }

    /// How much a connection that holds `own_bytes` may read.
    pub(crate) fn room(&self, own_bytes: usize) -> usize {
        room(own_bytes, self.counters.held_bytes.load(Ordering::Relaxed) as usize)
    }

    pub(crate) fn remember(&self, bytes: usize) {
        add(&self.counters.held_bytes, bytes);
    }

    pub(crate) fn forget(&self, bytes: usize) {
        self.counters.held_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Asks barriers and releases what they cover, until the cover fails; then `opening` has failed.
    pub(crate) async fn run(self: Arc<Self>, covers: watch::Receiver<Arc<dyn Cover>>, opening: Arc<Opening>) {
        let error = self.release_what_is_covered(covers, &opening).await;
        add(&self.counters.barriers_failed, 1);
        tracing::warn!(epoch = opening.epoch().0, %error, "held replies cannot be covered; the gate cuts its connections");
        opening.fail();
    }

    async fn release_what_is_covered(
        &self,
        mut covers: watch::Receiver<Arc<dyn Cover>>,
        opening: &Opening,
    ) -> io::Error {
        let mut cover = covers.borrow_and_update().clone();
        let mut covered = cover.covered();
        let mut asked: Option<(Generation, BoxFuture<'static, io::Result<u64>>)> = None;
        let mut answered: VecDeque<Answered> = VecDeque::new();
        loop {
            let covered_to = *covered.borrow_and_update();
            while let Some(front) = answered.pop_front_if(|front| front.offset <= covered_to) {
                self.release(front.generation, opening).await;
            }
            if asked.is_none()
                && let Some(generation) = self.end_generation()
            {
                add(&self.counters.barriers, 1);
                asked = Some((generation, cover.barrier()));
            }
            tokio::select! {
                biased;
                answer = answer(&mut asked) => match answer {
                    Ok((_, offset)) if answered.back().is_some_and(|last| offset < last.offset) => {
                        return io::Error::other("the primary's stream went back");
                    }
                    Ok((generation, offset)) => answered.push_back(Answered { generation, offset }),
                    Err(error) => return error,
                },
                changed = covered.changed(), if !answered.is_empty() => if changed.is_err() {
                    return io::Error::other("nobody covers them any more");
                },
                // Its sender lives in `self`.
                _ = covers.changed() => {
                    cover = covers.borrow_and_update().clone();
                    covered = cover.covered();
                }
                () = self.begun.notified(), if asked.is_none() => {}
            }
        }
    }

    /// The present generation, if anything was read in it; what is read from now on belongs to the next.
    fn end_generation(&self) -> Option<Generation> {
        let mut present = self.present();
        if present.queues.is_empty() {
            return None;
        }
        let next = Generation { number: present.number + 1, queues: Vec::new() };
        Some(std::mem::replace(&mut *present, next))
    }

    async fn release(&self, generation: Generation, opening: &Opening) {
        for queues in generation.queues.chunks(RELEASES_AT_ONCE) {
            for queue in queues {
                queue.release(generation.number, self, opening);
            }
            if queues.len() == RELEASES_AT_ONCE {
                give_way().await;
            }
        }
    }

    fn present(&self) -> MutexGuard<'_, Generation> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The generation that was asked about and the answer; pending while none is asked about.
async fn answer(
    asked: &mut Option<(Generation, BoxFuture<'static, io::Result<u64>>)>,
) -> io::Result<(Generation, u64)> {
    let Some((_, barrier)) = asked else { return std::future::pending().await };
    let offset = barrier.await?;
    // It was there when the answer was awaited.
    let Some((generation, _)) = asked.take() else { return std::future::pending().await };
    Ok((generation, offset))
}

/// Lets what else is ready run first.
async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn room(own_bytes: usize, all_bytes: usize) -> usize {
    let max = if all_bytes < GATE_BYTES_MAX { CONNECTION_BYTES_MAX } else { SHARE_BYTES };
    max.saturating_sub(own_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_reads_up_to_its_limit_and_a_full_gate_leaves_each_its_share() {
        assert_eq!(room(0, 0), CONNECTION_BYTES_MAX);
        assert_eq!(room(CONNECTION_BYTES_MAX - 1, CONNECTION_BYTES_MAX), 1);
        assert_eq!(room(CONNECTION_BYTES_MAX, CONNECTION_BYTES_MAX), 0);
        assert_eq!(room(0, GATE_BYTES_MAX), SHARE_BYTES);
        assert_eq!(room(SHARE_BYTES, GATE_BYTES_MAX), 0);
    }
}
