//! The control connection to a member: one, warm, shared by the prober and the hand.
//!
//! The problem: a failover in milliseconds has no time to connect, log in and look around, and whoever connects anew
//! for each action cannot tell a dead server from a slow one. The idea: a [`Link`] holds the present session; the
//! prober keeps it open, actions go over it.
//!
//! Our connections are named `primacy-...`, so that an eviction of clients spares them.

mod dial;
mod record;
mod session;

pub(crate) use dial::{DialError, accept_greeting, greeting};
pub(crate) use record::Ending;
pub(crate) use session::{AskError, Quiet, Resync, Session};

use crate::Access;
use primacy_core::{Address, GroupName, MemberName};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Names of connections that are ours begin with this.
pub(crate) const NAME_PREFIX: &str = "primacy-";
const NAME_CONTROL: &str = "primacy-control";
const NAME_QUIET: &str = "primacy-quiet";

/// The control connection to one member.
#[derive(Debug)]
pub struct Link {
    address: Address,
    access: Access,
    session: Mutex<Option<Arc<Session>>>,
    /// Held while a session is being opened, so that there is one attempt at a time.
    opening: tokio::sync::Mutex<()>,
    installed: Notify,
}

impl Link {
    fn new(address: Address, access: Access) -> Self {
        Link {
            address,
            access,
            session: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            installed: Notify::new(),
        }
    }

    /// Where the member is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// The present session, while its connection is open.
    pub(crate) fn live(&self) -> Option<Arc<Session>> {
        self.held().as_ref().filter(|s| s.ended().is_none()).cloned()
    }

    /// The present session, or a new one. What comes back was open a moment ago.
    pub(crate) async fn session(&self, within: Duration) -> Result<Arc<Session>, DialError> {
        if let Some(session) = self.live() {
            return Ok(session);
        }
        let opening = async {
            let _one_at_a_time = self.opening.lock().await;
            match self.live() {
                Some(session) => Ok(session),
                None => self.open_and_install(within).await,
            }
        };
        let late = || DialError::Unreachable(format!("no connection within {within:?}"));
        primacy_runtime::timeout(within, opening).await.unwrap_or_else(|_| Err(late()))
    }

    /// A new session in place of the present one, which stays until the new one has answered.
    pub(crate) async fn reopen(&self, within: Duration) -> Result<Arc<Session>, DialError> {
        let before = self.live();
        let _one_at_a_time = self.opening.lock().await;
        match (self.live(), before) {
            // Somebody else opened one while we waited.
            (Some(now), None) => Ok(now),
            (Some(now), Some(before)) if !Arc::ptr_eq(&now, &before) => Ok(now),
            _ => self.open_and_install(within).await,
        }
    }

    async fn open_and_install(&self, within: Duration) -> Result<Arc<Session>, DialError> {
        let session = Arc::new(Session::open(&self.address, &self.access, NAME_CONTROL, within).await?);
        *self.held() = Some(session.clone());
        self.installed.notify_one();
        Ok(session)
    }

    /// Waits until somebody has opened a session.
    pub(crate) async fn wait_installed(&self) {
        self.installed.notified().await;
    }

    /// A connection beside the session that is only there to see how it ends.
    pub(crate) fn open_quiet(&self, within: Duration) -> Quiet {
        Quiet::open(self.address.clone(), self.access.clone(), NAME_QUIET, within)
    }

    /// A connection beside the session whose bytes the caller reads and writes: nothing was said on it yet.
    pub(crate) async fn open_raw(
        &self,
        within: Duration,
    ) -> Result<(Box<dyn primacy_runtime::Stream>, Arc<Ending>), DialError> {
        let ending = Arc::new(Ending::of_reader());
        let stream = dial::open_stream(&self.address, &self.access, &ending, within).await?;
        Ok((stream, ending))
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Weak: a link lives as long as its prober, or the action that uses it.
type Registry = BTreeMap<(GroupName, MemberName), Weak<Link>>;
type AccessFor = dyn Fn(&GroupName) -> Access + Send + Sync;

/// The links of a node, one a member, shared by probers and the hand. Cheap to clone.
#[derive(Clone)]
pub struct Links {
    access_for: Arc<AccessFor>,
    links: Arc<Mutex<Registry>>,
}

impl Links {
    /// `access_for` says as whom the members of a group are reached; it is asked once for each link.
    pub fn new(access_for: impl Fn(&GroupName) -> Access + Send + Sync + 'static) -> Self {
        Links { access_for: Arc::new(access_for), links: Arc::default() }
    }

    /// The link to a member. A member that has moved to another address gets a new one.
    pub fn link(&self, group: &GroupName, member: &MemberName, address: &Address) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (group.clone(), member.clone());
        if let Some(link) = links.get(&key).and_then(Weak::upgrade).filter(|l| l.address == *address) {
            return link;
        }
        links.retain(|_, link| link.strong_count() > 0);
        let link = Arc::new(Link::new(address.clone(), (self.access_for)(group)));
        links.insert(key, Arc::downgrade(&link));
        link
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}
