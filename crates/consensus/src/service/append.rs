//! Entries and heartbeats from the leader.

use super::{Service, stopped};
use crate::codec;
use crate::transport::{Replies, Requests};
use futures::{StreamExt, stream};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError};
use primacy_core::Moment;
use primacy_storage::TypeConfig;
use primacy_wire::{WireError, v1};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::Status;

/// A stream on which nothing came for so long is ended; the leader opens another when it has something to say.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// What the leader said about the commit, and as of when.
struct Word {
    /// None when no quorum was behind it, or when it cannot be told how long it was on its way.
    at: Option<Moment>,
    committed_next: u64,
}

impl Service {
    /// The word is as old as it can be: it was on its way since this node's time that it gives back.
    fn word(&self, request: &v1::AppendRequest) -> Word {
        let committed_next = request.committed.map_or(0, |id| id.index.saturating_add(1));
        let committed_next = committed_next.max(request.quorum_committed_next);
        let age = Duration::from_micros(request.follower_time_age_us);
        let echo = &self.core.identity.echo;
        let made = request.follower_time.and_then(|time| echo.made_at(time, age, primacy_runtime::now()));
        let at = made.zip(request.quorum_age_us).map(|(made, us)| made.before(Duration::from_micros(us)));
        Word { at, committed_next }
    }

    fn time(&self) -> v1::FollowerTime {
        self.core.identity.echo.time(primacy_runtime::now())
    }

    fn believe(&self, word: &Word) {
        if let Some(at) = word.at {
            self.core.replica().heard(at, word.committed_next);
        }
    }
}

pub(super) async fn once(service: Service, request: v1::AppendRequest) -> Result<v1::AppendResponse, Status> {
    service.admit(request.header.as_ref())?;
    let word = service.word(&request);
    let request = codec::append_from(request)?;
    let (prev, last) = (request.prev_log_id, request.entries.last().map(|e| e.log_id));
    let answer = service.core.raft.append_entries(request).await.map_err(stopped)?;
    let result = match answer {
        AppendEntriesResponse::Success => Ok(last.or(prev)),
        AppendEntriesResponse::PartialSuccess(log_id) => Ok(log_id),
        AppendEntriesResponse::Conflict => match prev {
            Some(prev) => Err(StreamAppendError::Conflict(prev)),
            None => return Err(Status::internal("a conflict with the begin of the log")),
        },
        AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
    };
    if !matches!(result, Err(StreamAppendError::HigherVote(_))) {
        service.believe(&word);
    }
    Ok(codec::append_response_to(&result, service.time()))
}

/// What the two halves of a stream share: one reads requests, the other answers them in the same order.
#[derive(Default)]
struct Shared {
    words: VecDeque<Word>,
    refused: Option<Status>,
}

fn locked(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn stream(
    service: Service,
    mut requests: Requests<v1::AppendRequest>,
) -> Result<Replies<v1::AppendResponse>, Status> {
    let first = primacy_runtime::timeout(IDLE_MAX, requests.next()).await.ok().flatten();
    let first = first.ok_or_else(|| Status::from(WireError::missing("the first request")))?;
    service.admit(first.header.as_ref())?;
    let shared = Arc::new(Mutex::new(Shared::default()));
    let input = readable(service.clone(), stream::iter([first]).chain(requests).boxed(), shared.clone());
    let answers = service.core.raft.stream_append(input).boxed();
    let replies = stream::unfold(Some((answers, shared)), move |state| {
        let service = service.clone();
        async move {
            let (mut answers, shared) = state?;
            let Some(answer) = answers.next().await else {
                let refused = locked(&shared).refused.take()?;
                return Some((Err(refused), None));
            };
            let word = locked(&shared).words.pop_front();
            let result = match answer {
                Ok(result) => result,
                Err(fatal) => return Some((Err(stopped(fatal)), None)),
            };
            if let (Some(word), Ok(_) | Err(StreamAppendError::Conflict(_))) = (word, &result) {
                service.believe(&word);
            }
            let goes_on = result.is_ok().then_some((answers, shared));
            Some((Ok(codec::append_response_to(&result, service.time())), goes_on))
        }
    });
    Ok(replies.boxed())
}

/// The requests as openraft takes them, up to the first that cannot be read or is not let in any more.
fn readable(
    service: Service,
    requests: Requests<v1::AppendRequest>,
    shared: Arc<Mutex<Shared>>,
) -> stream::BoxStream<'static, AppendEntriesRequest<TypeConfig>> {
    stream::unfold((service, requests, shared), |(service, mut requests, shared)| async move {
        let request = primacy_runtime::timeout(IDLE_MAX, requests.next()).await.ok().flatten()?;
        let word = service.word(&request);
        let read = match service.core.halt_reason() {
            Some(why) => Err(stopped(why)),
            None => codec::append_from(request).map_err(Status::from),
        };
        match read {
            Ok(request) => {
                locked(&shared).words.push_back(word);
                Some((request, (service, requests, shared)))
            }
            Err(status) => {
                locked(&shared).refused = Some(status);
                None
            }
        }
    })
    .boxed()
}
