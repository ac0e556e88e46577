//! A watch that outlives connections: it knows the last revision that was passed on and goes on from there, at
//! whichever node answers.

use crate::call::{Nature, answer};
use crate::endpoint::Endpoint;
use crate::error::Failed;
use crate::pool::Pool;
use crate::{ClientError, v1};
use futures::{Stream, stream};
use primacy_core::EventBatch;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::Streaming;
use v1::directory_client::DirectoryClient;

/// A node sends a sign of life every 5 s. One that misses two is no good source.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(12);

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchItem {
    /// The events of one committed entry.
    Batch(EventBatch),
    /// Events were missed and are gone: this is how the groups are now. What follows comes after its revision.
    Relist(v1::ListGroupsResponse),
}

/// One step of a watch.
pub(crate) enum Step {
    /// The source is alive.
    Alive,
    Batch(EventBatch),
}

pub(crate) struct Follow {
    pool: Arc<Pool>,
    groups: Vec<String>,
    /// Everything up to here was passed on; none before the first sign of life of a watch that begins now.
    position: Option<u64>,
    source: Option<Source>,
    /// How many sources in a row broke before they had said anything but that they stand.
    breaks: u32,
}

struct Source {
    endpoint: Arc<Endpoint>,
    stream: Streaming<v1::WatchResponse>,
    /// The response that was read to see that the watch stands.
    first: Option<v1::WatchResponse>,
}

impl Follow {
    pub(crate) fn new(pool: Arc<Pool>, groups: Vec<String>, from: Option<u64>) -> Self {
        Self { pool, groups, position: from, source: None, breaks: 0 }
    }

    /// The next thing that is new. An error leaves the position as it is; the next call goes on from there.
    pub(crate) async fn step(&mut self) -> Result<Step, ClientError> {
        loop {
            let mut source = match self.source.take() {
                Some(source) => source,
                None => self.open().await?,
            };
            let opening = source.first.is_some();
            let response = match source.next().await {
                Ok(response) => response,
                Err(Failed::Final(error)) => return Err(error),
                Err(failed) => {
                    tracing::debug!(node = source.endpoint.address(), ?failed, "the watch broke");
                    self.pool.avoid(&source.endpoint);
                    self.pause().await;
                    continue;
                }
            };
            if !opening {
                self.breaks = 0;
            }
            self.source = Some(source);
            if let Some(step) = self.take(response)? {
                return Ok(step);
            }
        }
    }

    /// How the groups are now; the watch goes on after that.
    pub(crate) async fn relist(&mut self) -> Result<v1::ListGroupsResponse, ClientError> {
        let list = list_groups(&self.pool, v1::Consistency::Linearizable).await?;
        self.source = None;
        self.position = Some(list.revision);
        Ok(list)
    }

    /// None after the first break, so that a dead node costs no time.
    async fn pause(&mut self) {
        let settings = &self.pool.settings;
        if self.breaks > 0 {
            let pause = settings.backoff_min * 2u32.saturating_pow(self.breaks.min(16));
            sleep(pause.min(settings.backoff_max)).await;
        }
        self.breaks = self.breaks.saturating_add(1);
    }

    /// A response that says nothing new is nothing.
    fn take(&mut self, response: v1::WatchResponse) -> Result<Option<Step>, ClientError> {
        if response.progress || response.events.is_empty() {
            self.position = self.position.max(Some(response.revision));
            return Ok(Some(Step::Alive));
        }
        if self.position.is_some_and(|position| response.revision <= position) {
            return Ok(None);
        }
        let batch =
            v1::EventBatch { revision: response.revision, at_us: response.at_us, events: response.events };
        let batch = EventBatch::try_from(batch).map_err(|error| ClientError::Other(error.into()))?;
        self.position = Some(batch.revision.0);
        Ok(Some(Step::Batch(batch)))
    }

    async fn open(&self) -> Result<Source, ClientError> {
        let request = v1::WatchRequest { groups: self.groups.clone(), from_revision: self.position };
        let ask = |endpoint: Arc<Endpoint>| {
            let request = request.clone();
            async move {
                let mut client = DirectoryClient::new(endpoint.channel()?);
                let mut source =
                    Source { stream: answer(client.watch(request).await)?, endpoint, first: None };
                source.first = Some(source.next().await?);
                Ok(source)
            }
        };
        self.pool.call(Nature::Read, "the watch", ask).await
    }
}

impl Source {
    async fn next(&mut self) -> Result<v1::WatchResponse, Failed> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        match timeout(SILENCE_MAX, self.stream.message()).await {
            Err(_) => Err(Failed::Lost(format!("silent for {SILENCE_MAX:?}"))),
            Ok(Err(status)) => Err(status.into()),
            Ok(Ok(None)) => Err(Failed::Later("the node ended the watch".to_owned())),
            Ok(Ok(Some(response))) => Ok(response),
        }
    }
}

pub(crate) async fn list_groups(
    pool: &Pool,
    consistency: v1::Consistency,
) -> Result<v1::ListGroupsResponse, ClientError> {
    let request = v1::ListGroupsRequest { consistency: consistency.into() };
    let ask = |endpoint: Arc<Endpoint>| async move {
        answer(DirectoryClient::new(endpoint.channel()?).list_groups(request).await)
    };
    pool.call(Nature::Read, "the list of groups", ask).await
}

/// Whether a watch can go on after this error.
fn passing(error: &ClientError) -> bool {
    match error {
        ClientError::NoLeader { .. }
        | ClientError::Unreachable { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Stale { .. } => true,
        ClientError::Refused { .. }
        | ClientError::Invalid { .. }
        | ClientError::NotFound { .. }
        | ClientError::Compacted { .. }
        | ClientError::Other(_) => false,
    }
}

/// The stream of [`crate::Client::watch`].
pub(crate) fn batches(
    follow: Follow,
) -> impl Stream<Item = Result<EventBatch, ClientError>> + Send + 'static {
    stream::unfold(Some(follow), |follow| async move {
        let mut follow = follow?;
        loop {
            match follow.step().await {
                Ok(Step::Alive) => {}
                Ok(Step::Batch(batch)) => return Some((Ok(batch), Some(follow))),
                Err(error) => {
                    let rest = passing(&error).then_some(follow);
                    return Some((Err(error), rest));
                }
            }
        }
    })
}

/// The stream of [`crate::Client::watch_or_relist`].
pub(crate) fn items(follow: Follow) -> impl Stream<Item = Result<WatchItem, ClientError>> + Send + 'static {
    stream::unfold(Some(follow), |follow| async move {
        let mut follow = follow?;
        loop {
            let item = match follow.step().await {
                Ok(Step::Alive) => continue,
                Ok(Step::Batch(batch)) => Ok(WatchItem::Batch(batch)),
                Err(ClientError::Compacted { .. }) => follow.relist().await.map(WatchItem::Relist),
                Err(error) => Err(error),
            };
            let rest = item.as_ref().err().is_none_or(passing).then_some(follow);
            return Some((item, rest));
        }
    })
}
