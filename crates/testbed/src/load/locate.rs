//! How a writer finds the primary.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

/// Where to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The member's name, as the ledger calls it.
    pub member: String,
    /// `host:port`.
    pub address: String,
}

impl Target {
    /// A member at an address.
    pub fn new(member: impl Into<String>, address: impl Into<String>) -> Self {
        Self { member: member.into(), address: address.into() }
    }
}

/// Finds the primary: by trying, by asking Sentinel, by asking Primacy.
pub trait Locate: Send + Sync {
    /// Where to write next. `failed` is where the last attempt just failed, `None` at the first one; whoever keeps
    /// an answer should ask anew then.
    ///
    /// A writer waits for the answer as long as it takes, so it must be bounded in time.
    fn locate<'a>(&'a self, failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>>;
}

impl<L: Locate + ?Sized> Locate for Arc<L> {
    fn locate<'a>(&'a self, failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>> {
        self.as_ref().locate(failed)
    }
}

/// A fixed list, tried in a circle: a client without any help.
#[derive(Clone, Debug)]
pub struct StaticLocate {
    targets: Vec<Target>,
}

impl StaticLocate {
    /// Starts with the first target.
    pub fn new(targets: impl IntoIterator<Item = Target>) -> Self {
        Self { targets: targets.into_iter().collect() }
    }
}

impl Locate for StaticLocate {
    fn locate<'a>(&'a self, failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>> {
        let next = failed
            .and_then(|failed| self.targets.iter().position(|target| target == failed))
            .map_or(0, |index| (index + 1) % self.targets.len());
        ready(self.targets.get(next).cloned().ok_or_else(|| anyhow!("the list of targets is empty"))).boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn the_list_is_tried_in_a_circle() {
        let list = StaticLocate::new(["a", "b"].map(|name| Target::new(name, "127.0.0.1:1")));
        let first = list.locate(None).await.unwrap();
        let second = list.locate(Some(&first)).await.unwrap();
        assert_eq!((first.member.as_str(), second.member.as_str()), ("a", "b"));
        assert_eq!(list.locate(Some(&second)).await.unwrap(), first);
        assert!(StaticLocate::new([]).locate(None).await.is_err());
    }
}
