//! Lookups and watches.

use crate::call::{Nature, answer};
use crate::follow::{self, Follow, WatchItem};
use crate::{Client, ClientError, v1};
use futures::Stream;
use primacy_core::EventBatch;
use std::sync::Arc;
use std::time::Duration;
use v1::directory_client::DirectoryClient;

impl Client {
    /// The primary of a group, from the cache where a watch keeps it fresh, else from the leader.
    ///
    /// The answer may be out of date by as long as an event takes to arrive. Whoever finds that out says so with
    /// [`Client::report_failure`]. A group that has no primary, or is switching, answers with what is known: look at
    /// `state`. When no leader answers within a second, the primary that was known last is the answer: its `consistency`
    /// is then `LOCAL` and `age_ms` says how long ago it was known to be so. To try a write there is safe: a member that
    /// is primary no more refuses it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] for an unknown group, and the errors of an unreachable cluster when nothing is known yet.
    pub async fn primary(&self, group: &str) -> Result<v1::Primary, ClientError> {
        self.cache.primary(self, group).await
    }

    /// Says that the primary of this epoch does not do what a primary does, so that the next lookup asks the leader.
    /// Does nothing when a later epoch is known already.
    pub fn report_failure(&self, group: &str, epoch: u64) {
        self.cache.report_failure(group, epoch);
    }

    /// Waits until more is known of the group than `seen` says, at most `within`; then looks it up.
    ///
    /// For a writer whose write failed: it comes back as soon as the news of a new primary is here.
    ///
    /// # Errors
    /// As [`Client::primary`].
    pub async fn primary_after(
        &self,
        seen: &v1::Primary,
        within: Duration,
    ) -> Result<v1::Primary, ClientError> {
        self.cache.news(seen, within).await;
        self.primary(&seen.group).await
    }

    /// Asks for the primary of a group, past the cache.
    ///
    /// # Errors
    /// As [`Client::primary`]; [`ClientError::Stale`] for a local read that no node can answer.
    pub async fn get_primary(
        &self,
        group: &str,
        consistency: v1::Consistency,
    ) -> Result<v1::Primary, ClientError> {
        let request = v1::GetPrimaryRequest { group: group.to_owned(), consistency: consistency.into() };
        let ask = |endpoint: Arc<crate::endpoint::Endpoint>| {
            let request = request.clone();
            async move { answer(DirectoryClient::new(endpoint.channel()?).get_primary(request).await) }
        };
        self.pool.call(Nature::Read, "the lookup", ask).await
    }

    /// All groups, each in one line.
    ///
    /// # Errors
    /// As [`Client::get_primary`].
    pub async fn list_groups(
        &self,
        consistency: v1::Consistency,
    ) -> Result<v1::ListGroupsResponse, ClientError> {
        follow::list_groups(&self.pool, consistency).await
    }

    /// Events as they are committed: after revision `from`, or from now on. Without a gap and without a repeat, across
    /// reconnects and changes of leader. With `groups`, only of these and of the cluster as a whole.
    ///
    /// An error that comes from nodes that cannot be reached does not end the stream: polled again, it goes on where
    /// it was. [`ClientError::Compacted`] and a refusal end it.
    pub fn watch(
        &self,
        groups: Vec<String>,
        from: Option<u64>,
    ) -> impl Stream<Item = Result<EventBatch, ClientError>> + Send + 'static {
        follow::batches(Follow::new(Arc::clone(&self.pool), groups, from))
    }

    /// Like [`Client::watch`], but what was compacted ends nothing: a [`WatchItem::Relist`] carries the groups as they
    /// are now, and the events after that list follow.
    pub fn watch_or_relist(
        &self,
        groups: Vec<String>,
        from: Option<u64>,
    ) -> impl Stream<Item = Result<WatchItem, ClientError>> + Send + 'static {
        follow::items(Follow::new(Arc::clone(&self.pool), groups, from))
    }
}
