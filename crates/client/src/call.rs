//! One call: attempts at one node after the other until one works, one cannot, or the time is over.
//!
//! Nodes are asked in rounds, each once, the one that answered last first; a node that names the leader sends us
//! there at once. Between rounds is a growing pause. What may have been done is repeated only where that is safe.

use crate::ClientError;
use crate::endpoint::{Attempt, Endpoint};
use crate::error::Failed;
use crate::pool::Pool;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

/// What a second attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// It changes nothing.
    Read,
    /// Done twice is done once.
    Repeatable,
    /// It must not be repeated once it may have been done.
    Once,
}

/// What happened so far, for the error that ends it.
#[derive(Default)]
struct Record {
    /// Something was sent whose outcome is not known.
    in_doubt: bool,
    /// Whether any node answered anything.
    answered: bool,
    last: Option<Failed>,
}

impl Pool {
    /// Runs `ask` against one node after the other.
    pub(crate) async fn call<T, F, Fut>(&self, nature: Nature, what: &str, ask: F) -> Result<T, ClientError>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, Failed>>,
    {
        let deadline = Instant::now() + self.settings.deadline;
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(self.settings.backoff_min)
            .with_max_delay(self.settings.backoff_max)
            .without_max_times()
            .with_jitter()
            .build();
        let mut record = Record::default();
        loop {
            if let Some(done) = self.round(nature, &ask, deadline, &mut record).await? {
                return Ok(done);
            }
            let pause = pauses.next().unwrap_or(self.settings.backoff_max);
            if Instant::now() + pause >= deadline {
                return Err(self.time_is_over(nature, what, record));
            }
            sleep(pause).await;
        }
    }

    /// Asks each node at most once; nothing when none of them did it. The next one is asked when one has failed, and for
    /// what changes nothing also when it says nothing for [`Settings::hedge_after`](crate::builder::Settings), beside it:
    /// a leader that was cut off answers nobody, and is asked first because it answered last.
    async fn round<T, F, Fut>(
        &self,
        nature: Nature,
        ask: &F,
        deadline: Instant,
        record: &mut Record,
    ) -> Result<Option<T>, ClientError>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, Failed>>,
    {
        let mut waiting: VecDeque<Arc<Endpoint>> = self.endpoints().iter().cloned().collect();
        let mut hints_left = waiting.len() + 1;
        let mut asked = FuturesUnordered::new();
        loop {
            if let Some(endpoint) = waiting.pop_front() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                let within = match nature {
                    Nature::Read => left.min(self.settings.attempt_max),
                    Nature::Repeatable | Nature::Once => left,
                };
                let question = bounded(within, ask(Arc::clone(&endpoint)));
                asked.push(async move {
                    let came = endpoint.attempt(question).await;
                    (endpoint, came)
                });
            }
            let patience = async {
                match nature {
                    Nature::Read if !waiting.is_empty() => sleep(self.settings.hedge_after).await,
                    Nature::Read | Nature::Repeatable | Nature::Once => std::future::pending().await,
                }
            };
            let (endpoint, came) = tokio::select! {
                biased;
                came = asked.next() => match came {
                    Some(came) => came,
                    None => return Ok(None),
                },
                () = patience => continue,
            };
            let failed = match came {
                Attempt::Done(done) => {
                    self.prefer(&endpoint);
                    return Ok(Some(done));
                }
                Attempt::LeftAlone => continue,
                Attempt::Failed(Failed::Final(error)) => return Err(error),
                Attempt::Failed(failed) => failed,
            };
            tracing::debug!(node = endpoint.address(), ?failed, "attempt failed");
            if let Failed::Elsewhere(Some(hint)) = &failed
                && hints_left > 0
                && let Some(leader) = self.known(&hint.address)
                && !Arc::ptr_eq(&leader, &endpoint)
            {
                hints_left -= 1;
                waiting.retain(|e| !Arc::ptr_eq(e, &leader));
                waiting.push_front(leader);
            }
            record.note(nature, failed)?;
        }
    }

    fn time_is_over(&self, nature: Nature, what: &str, record: Record) -> ClientError {
        let nodes: Vec<String> = self.endpoints().iter().map(|e| e.address().to_owned()).collect();
        let nodes = nodes.join(", ");
        let within = self.settings.deadline;
        if record.in_doubt && nature != Nature::Read {
            let last = record.last.map(|f| ClientError::from(f).to_string()).unwrap_or_default();
            let detail = format!("{what} was sent and not answered within {within:?} ({last})");
            return ClientError::TimedOut { outcome_unknown: true, detail };
        }
        match record.last {
            Some(Failed::Stale { age_ms, bound_ms }) => ClientError::Stale { age_ms, bound_ms },
            Some(Failed::Elsewhere(Some(hint))) => ClientError::NoLeader {
                detail: format!("n{} at {} was named last, and did not take {what}", hint.id, hint.address),
            },
            Some(Failed::Elsewhere(None)) => {
                ClientError::NoLeader { detail: format!("none of {nodes} knows who leads") }
            }
            Some(Failed::Later(message) | Failed::Unknown(message)) => {
                ClientError::NoLeader { detail: message }
            }
            Some(Failed::Unreached(cause) | Failed::Lost(cause)) if !record.answered => {
                ClientError::Unreachable {
                    detail: format!("tried {nodes} for {within:?}; the last failed: {cause}"),
                }
            }
            Some(Failed::Unreached(cause) | Failed::Lost(cause)) => ClientError::NoLeader {
                detail: format!("some of {nodes} answer, the last one failed: {cause}"),
            },
            Some(Failed::Final(error)) => error,
            None => ClientError::Unreachable {
                detail: format!("all of {nodes} failed a moment ago and are left alone for now"),
            },
        }
    }
}

impl Record {
    /// Remembers a failed attempt; an error when there must be no other.
    fn note(&mut self, nature: Nature, failed: Failed) -> Result<(), ClientError> {
        let in_doubt = match &failed {
            Failed::Lost(_) => true,
            Failed::Unknown(_) => {
                self.answered = true;
                true
            }
            Failed::Unreached(_) => false,
            Failed::Final(_) | Failed::Elsewhere(_) | Failed::Stale { .. } | Failed::Later(_) => {
                self.answered = true;
                false
            }
        };
        if in_doubt && nature == Nature::Once {
            return Err(failed.into());
        }
        self.in_doubt |= in_doubt;
        self.last = Some(failed);
        Ok(())
    }
}

async fn bounded<T>(within: Duration, attempt: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    match timeout(within, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Failed::Lost(format!("no answer within {within:.1?}"))),
    }
}

/// The answer of a unary call.
pub(crate) fn answer<T>(result: Result<tonic::Response<T>, Status>) -> Result<T, Failed> {
    result.map(tonic::Response::into_inner).map_err(Failed::from)
}
