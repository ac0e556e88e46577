//! Watchers: one at each site's node, each with the bare protocol. The SDK would hide a repeated revision.

use std::time::{Duration, Instant};

use primacy_wire::v1;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use v1::event::Kind;

use super::ask::connect;
use crate::fault::SITES;
use crate::record::{Noted, Record, Seen, WatchLine};
use crate::world::{Entry, Phonebook, World};

const PAUSE: Duration = Duration::from_millis(100);
const OPEN_WITHIN: Duration = Duration::from_secs(2);
/// Of one that wanders.
const STAY: Duration = Duration::from_secs(3);
/// Signs of life come every 5 s; a watcher that misses three goes elsewhere.
const SILENCE_MAX: Duration = Duration::from_secs(15);

pub(super) fn start(world: &World, record: &Record, tasks: &mut JoinSet<()>) {
    for site in 0..SITES.len() {
        let (phonebook, record) = (world.phonebook.clone(), record.clone());
        let stays = Watcher { number: site, site, last: None, phonebook, record };
        // One more that goes from node to node, as clients of nodes that die do.
        let wanders = Watcher { number: SITES.len() + site, ..stays.clone() };
        tasks.spawn(stays.run());
        tasks.spawn(wanders.run());
    }
}

#[derive(Clone)]
struct Watcher {
    number: usize,
    site: usize,
    /// Everything up to here was seen.
    last: Option<u64>,
    phonebook: Phonebook,
    record: Record,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            if let Some(node) = self.phonebook.at(self.site) {
                self.follow(&node).await;
            }
            if self.wanders() {
                self.site = (self.site + 1) % SITES.len();
            }
            sleep(PAUSE).await;
        }
    }

    fn wanders(&self) -> bool {
        self.number >= SITES.len()
    }

    /// Reads until the stream ends, or the node is no longer the one of its site.
    async fn follow(&mut self, node: &Entry) {
        let Some(mut client) = connect(node).await else { return };
        let request = v1::WatchRequest { groups: Vec::new(), from_revision: self.last };
        let opened = timeout(OPEN_WITHIN, client.watch(request)).await;
        let mut stream = match opened {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return self.refused(&status),
            Err(_) => return,
        };
        let (mut first, began) = (true, Instant::now());
        loop {
            match timeout(SILENCE_MAX, stream.message()).await {
                Ok(Ok(Some(response))) => self.take(&response, first),
                Ok(Err(status)) => return self.refused(&status),
                Ok(Ok(None)) | Err(_) => return,
            }
            first = false;
            let moved = self.phonebook.at(self.site).as_ref() != Some(node);
            if moved || self.wanders() && began.elapsed() > STAY {
                return;
            }
        }
    }

    fn take(&mut self, response: &v1::WatchResponse, first: bool) {
        let revision = response.revision;
        let seen = if response.progress {
            Seen::Progress
        } else {
            let events = response.events.iter().map(noted).collect();
            Seen::Batch { events, text: format!("{:?}", response.events) }
        };
        self.write(revision, first, seen);
        self.last = Some(revision);
    }

    fn refused(&mut self, status: &tonic::Status) {
        if status.code() == tonic::Code::OutOfRange {
            self.write(self.last.unwrap_or(0), false, Seen::Compacted);
            self.last = None;
        }
    }

    fn write(&self, revision: u64, first: bool, seen: Seen) {
        let line = WatchLine { at: Instant::now(), watcher: self.number, first, revision, seen };
        self.record.pages().watched.push(line);
    }
}

fn noted(event: &v1::Event) -> Noted {
    match &event.kind {
        Some(Kind::TransitionStarted(started)) => Noted::Started {
            epoch: started.epoch,
            automatic: matches!(started.cause(), v1::Cause::Death | v1::Cause::Silence),
        },
        Some(Kind::PrimaryChanged(changed)) => {
            Noted::Primary { epoch: changed.epoch, member: changed.member.clone() }
        }
        Some(Kind::GroupPaused(_)) => Noted::Paused,
        Some(Kind::GroupResumed(_)) => Noted::Resumed,
        _ => Noted::Other,
    }
}
