//! Finding the primary as a user of the SDK does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use primacy_client::Client;
use primacy_client::v1::Primary;
use primacy_testbed::{Locate, Target};

/// A writer that failed waits so long for news before it looks again and tries again.
const NEWS: Duration = Duration::from_millis(5);

/// One client of the SDK for all writers of a load.
pub(crate) struct SdkLocate {
    client: Client,
    group: String,
    last: Mutex<Option<Primary>>,
}

impl SdkLocate {
    /// Connects, and looks the group up once, so that the cache is fed before anything happens.
    pub(crate) async fn new(endpoints: Vec<String>, group: &str) -> Result<Self> {
        let client = Client::connect(endpoints).await?;
        let last = client.primary(group).await?;
        Ok(Self { client, group: group.to_owned(), last: Mutex::new(Some(last)) })
    }

    async fn ask(&self, failed: Option<&Target>) -> Result<Target> {
        let seen = self.last().clone();
        let failed_there =
            |primary: &Primary| failed.is_some_and(|f| primary.address.as_ref() == Some(&f.address));
        let primary = match seen.filter(failed_there) {
            Some(seen) => {
                self.client.report_failure(&self.group, seen.epoch);
                self.client.primary_after(&seen, NEWS).await?
            }
            None => self.client.primary(&self.group).await?,
        };
        *self.last() = Some(primary.clone());
        let (member, address) = primary.member.zip(primary.address).context("the group has no primary")?;
        Ok(Target::new(member, address))
    }

    fn last(&self) -> MutexGuard<'_, Option<Primary>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locate for SdkLocate {
    fn locate<'a>(&'a self, failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>> {
        self.ask(failed).boxed()
    }
}
