//! The way into Primacy for programs: who is primary, what changes, and the operator's requests.
//!
//! The problem: nodes die, leadership moves, and a caller wants an answer, not a lesson in Raft. The idea: a
//! [`Client`] knows several nodes, asks the one that answered last, follows the leader's address where a node names
//! it, repeats what is safe to repeat with backoff until one deadline, leaves nodes alone that fail in a row, and
//! says in a typed [`ClientError`] what the caller can do. Lookups are cached and kept fresh by one watch.
//!
//! ```no_run
//! # async fn example() -> Result<(), primacy_client::ClientError> {
//! use primacy_client::Client;
//!
//! let client = Client::builder(["10.0.0.1:7101", "10.0.1.1:7101", "10.0.2.1:7101"]).build()?;
//! let primary = client.primary("features").await?;
//! println!("write to {:?} under epoch {}", primary.address, primary.epoch);
//! # Ok(())
//! # }
//! ```
//!
//! This crate must not know rules: which member should be primary is not its business.

mod admin;
mod builder;
mod cache;
mod call;
mod directory;
mod endpoint;
mod error;
mod follow;
mod pool;

pub use admin::Admin;
pub use builder::Builder;
pub use error::ClientError;
pub use follow::WatchItem;
pub use primacy_wire::v1;

use cache::Cache;
use pool::Pool;
use std::sync::Arc;

/// A client of one Primacy cluster. Cheap to clone; clones share connections and the cache.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Arc<Pool>,
    cache: Arc<Cache>,
}

impl Client {
    /// Describes a client of the nodes at these addresses, `HOST:PORT` each.
    pub fn builder<I>(endpoints: I) -> Builder
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Builder::new(endpoints.into_iter().map(Into::into).collect())
    }

    /// A client with the usual settings, once a node has answered.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for an address that is none, [`ClientError::Unreachable`] when no node answers within
    /// the deadline of [`Builder`].
    pub async fn connect<I>(endpoints: I) -> Result<Self, ClientError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self::builder(endpoints).connect().await
    }

    /// The operator's requests.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.pool))
    }
}
