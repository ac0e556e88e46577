//! Serves tails to replicas that are to be promoted.
//!
//! The problem: what a dead primary had sent is in a [`Tail`], and only replication brings it into a replica so that
//! its history goes on. The idea: a source that can do nothing but continue. A replica that asks for what the tail has
//! gets the rest of the stream and what still arrives; any other is told to try later, which keeps its data and its
//! place: it never gets a full copy.
//!
//! Nothing but the stream is sent on it, not even what keeps a connection alive: a replica counts every byte as one of
//! the history. One that hears nothing for its `repl-timeout` asks again from where it is.

mod access;
mod dialogue;
mod request;

pub use access::TailAccess;

use super::tail::{Read, Tail};
use access::Login;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use primacy_core::GroupName;
use primacy_runtime::watch;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tracing::warn;

const CONNECTIONS_MAX: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A source of replication that has tails and nothing else. A cheap handle.
#[derive(Clone, Default)]
pub struct TailServer {
    offers: Arc<Mutex<BTreeMap<GroupName, Offer>>>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

struct Offer {
    tail: Tail,
    access: TailAccess,
    /// Dropped with the offer, which those who are served from it notice.
    live: watch::Sender<()>,
}

/// What one replica is served from.
struct Source {
    tail: Tail,
    live: watch::Receiver<()>,
}

impl TailServer {
    /// One that offers nothing yet and speaks no TLS.
    pub fn new() -> Self {
        Self::default()
    }

    /// Speaks TLS too, with those who begin with it: replicas of a group whose members have `rediss://` addresses.
    pub fn with_tls(self, config: Arc<rustls::ServerConfig>) -> Self {
        TailServer { tls: Some(config), ..self }
    }

    /// Answers those who connect. Dropping it closes all of them.
    ///
    /// # Errors
    /// None at present: what fails with one connection is no reason to turn others away.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = open.next(), if !open.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if open.len() < CONNECTIONS_MAX => {
                        let server = self.clone();
                        open.push(primacy_runtime::spawn(dialogue::hold(server, stream)));
                    }
                    Ok(_) => warn!("more than {CONNECTIONS_MAX} connections to the tail server: one is turned away"),
                    Err(error) => {
                        warn!("the tail server cannot accept a connection: {error}");
                        primacy_runtime::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Serves the group's replicas from `tail`, and no longer from the one before.
    pub fn offer(&self, group: &GroupName, tail: Tail, access: TailAccess) {
        let (live, _) = watch::channel(());
        let before = self.offers().insert(group.clone(), Offer { tail, access, live });
        drop(before);
    }

    /// Serves the group's replicas no longer; their connections end.
    pub fn withdraw(&self, group: &GroupName) {
        let before = self.offers().remove(group);
        drop(before);
    }

    /// Whether somebody who says this may have any of the tails.
    fn knows(&self, login: &Login) -> bool {
        self.offers().values().any(|offer| offer.access.admits(Some(login)))
    }

    /// The tail of that history, for those who may have it.
    fn find(&self, replid: &str, login: Option<&Login>) -> Option<Source> {
        let offers = self.offers();
        let fits = |offer: &&Offer| offer.access.admits(login) && offer.tail.replid() == replid;
        let found = offers.values().find(fits)?;
        Some(Source { tail: found.tail.clone(), live: found.live.subscribe() })
    }

    fn offers(&self) -> MutexGuard<'_, BTreeMap<GroupName, Offer>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailServer").field("groups", &self.offers().keys()).finish_non_exhaustive()
    }
}
