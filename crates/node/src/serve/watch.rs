//! Events as they are committed: from a revision on, without a gap, each revision once.
//!
//! A stream reads the ring of committed events that every node keeps, so it begins anywhere and goes on at any other
//! node. Nothing is queued for a slow reader but a few responses: it reads the ring at its own pace, and when the ring
//! has overtaken it, it is told so. A node that lost the leader sends no sign of life, so a reader notices and goes
//! elsewhere.

use super::{Shared, refuse};
use metrics::gauge;
use primacy_core::apply::Compacted;
use primacy_core::{EventBatch, GroupName, Revision};
use primacy_runtime::{Task, interval, spawn, timeout};
use primacy_wire::{Refusal, v1};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

/// Responses that wait for the reader.
const WAITING_MAX: usize = 16;
/// Batches that are copied out of the ring at once.
const BATCHES_MAX: usize = 64;
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// A node that was out of touch with the leader for longer gives no sign of life.
const IN_TOUCH_WITHIN: Duration = Duration::from_secs(5);
/// A reader that takes nothing for so long is let go.
const READER_WITHIN: Duration = Duration::from_mins(1);

type Answer = Result<v1::WatchResponse, Status>;

/// A watcher's stream; dropping it ends its task.
pub(crate) struct Stream {
    answers: mpsc::Receiver<Answer>,
    _task: Task<()>,
}

impl tokio_stream::Stream for Stream {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        self.answers.poll_recv(cx)
    }
}

/// Opens a stream, or says at once why not.
pub(crate) fn open(shared: &Arc<Shared>, request: &v1::WatchRequest) -> Result<Stream, Status> {
    let groups: Result<BTreeSet<GroupName>, Status> =
        request.groups.iter().map(|g| refuse::name(g, "groups")).collect();
    let Ok(permit) = shared.watchers.clone().try_acquire_owned() else {
        let message = "this node serves as many watchers as it may; ask another node".to_owned();
        return Err(Refusal::Unavailable { message }.into());
    };
    let last = shared.consensus.read(|state| {
        let last = request.from_revision.map_or(state.revision, Revision);
        state.events_after(last).map(|_| last)
    });
    let last = last.map_err(Refusal::from)?;
    let (sink, answers) = mpsc::channel(WAITING_MAX);
    let watcher =
        Watcher { shared: shared.clone(), groups: groups?, last, sink, _permit: Permit::new(permit) };
    Ok(Stream { answers, _task: spawn(watcher.run()) })
}

struct Permit(#[allow(dead_code)] OwnedSemaphorePermit);

impl Permit {
    fn new(permit: OwnedSemaphorePermit) -> Permit {
        gauge!("primacy_watchers").increment(1.0);
        Permit(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        gauge!("primacy_watchers").decrement(1.0);
    }
}

struct Watcher {
    shared: Arc<Shared>,
    groups: BTreeSet<GroupName>,
    last: Revision,
    sink: mpsc::Sender<Answer>,
    _permit: Permit,
}

/// The reader is gone, or was sent its last answer.
struct Over;

impl Watcher {
    async fn run(mut self) {
        let mut revisions = self.shared.consensus.revision_watch();
        let mut progress = interval(PROGRESS_EVERY);
        let mut stopping = self.shared.stopping.clone();
        if self.send(Ok(self.sign_of_life())).await.is_err() || self.send_new().await.is_err() {
            return;
        }
        progress.tick().await;
        loop {
            let over = tokio::select! {
                biased;
                _ = stopping.changed() => self.refuse(Refusal::Unavailable { message: "this node is stopping".to_owned() }).await,
                changed = revisions.changed() => match changed {
                    Ok(()) => self.send_new().await,
                    Err(_) => Err(Over),
                },
                () = progress.tick() => match self.send_new().await {
                    Ok(()) => self.send_progress().await,
                    over => over,
                },
                () = self.sink.closed() => Err(Over),
            };
            if over.is_err() {
                return;
            }
        }
    }

    /// Sends what was committed since.
    async fn send_new(&mut self) -> Result<(), Over> {
        loop {
            let read = self.shared.consensus.read(|state| {
                let batches = state.events_after(self.last)?;
                let batches: Vec<EventBatch> = batches.take(BATCHES_MAX).cloned().collect();
                Ok::<_, Compacted>(batches)
            });
            let batches = match read {
                Ok(batches) => batches,
                Err(compacted) => return self.refuse(compacted.into()).await,
            };
            let more = batches.len() == BATCHES_MAX;
            for batch in batches {
                self.last = batch.revision;
                if let Some(response) = self.response(&batch) {
                    self.send(Ok(response)).await?;
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// A batch whole, but for the groups that were not asked for.
    fn response(&self, batch: &EventBatch) -> Option<v1::WatchResponse> {
        let wanted = |event: &&primacy_core::Event| {
            self.groups.is_empty() || event.group().is_none_or(|group| self.groups.contains(group))
        };
        let events: Vec<v1::Event> = batch.events.iter().filter(wanted).map(Into::into).collect();
        let response =
            v1::WatchResponse { revision: batch.revision.0, at_us: batch.at.0, events, progress: false };
        (!response.events.is_empty()).then_some(response)
    }

    async fn send_progress(&mut self) -> Result<(), Over> {
        let age = self.shared.consensus.staleness();
        if let Err(refusal @ Refusal::Stale { .. }) = self.shared.local() {
            return self.refuse(refusal).await;
        }
        if age.is_none_or(|age| age > IN_TOUCH_WITHIN) {
            return Ok(());
        }
        self.send(Ok(self.sign_of_life())).await
    }

    fn sign_of_life(&self) -> v1::WatchResponse {
        v1::WatchResponse { revision: self.last.0, at_us: 0, events: vec![], progress: true }
    }

    async fn refuse(&mut self, refusal: Refusal) -> Result<(), Over> {
        self.send(Err(refusal.into())).await?;
        Err(Over)
    }

    async fn send(&mut self, answer: Answer) -> Result<(), Over> {
        match timeout(READER_WITHIN, self.sink.send(answer)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }
}
