//! The writers of the demo find the primary as any client of the SDK does.

use anyhow::{Result, anyhow};
use futures::FutureExt;
use futures::future::BoxFuture;
use primacy_client::Client;
use primacy_testbed::{Locate, Target};
use std::time::Duration;

/// A primary that refuses may only be about to open: then no news comes, and it is worth another try.
const NEWS_WITHIN: Duration = Duration::from_millis(10);

/// Asks the SDK, and after a failed write waits for its news.
pub(super) struct ByPrimacy {
    pub(super) client: Client,
    pub(super) group: String,
}

impl Locate for ByPrimacy {
    fn locate<'a>(&'a self, failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>> {
        async move {
            let mut primary = self.client.primary(&self.group).await?;
            if failed.is_some_and(|failed| primary.member.as_ref() == Some(&failed.member)) {
                self.client.report_failure(&self.group, primary.epoch);
                primary = self.client.primary_after(&primary, NEWS_WITHIN).await?;
            }
            let (member, address) = primary
                .member
                .zip(primary.address)
                .ok_or_else(|| anyhow!("{} has no primary yet", self.group))?;
            Ok(Target::new(member, address))
        }
        .boxed()
    }
}
