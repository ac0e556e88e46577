//! Fetching: one request at a time for each lane to a source broker, in a session, so that a request names only what
//! changed since the last one.

use super::part::Part;
use crate::calls::Place;
use crate::link::{Cluster, Lane, LinkError};
use crate::rate::RateLimit;
use crate::wire::fetch::{self, Request, Response};
use kafka_protocol::messages::ApiKey;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// How long a broker holds a request while there is nothing.
const MAX_WAIT_MS: i32 = 500;

/// How long an answer may take: a slow line brings a large one late.
const WITHIN: Duration = Duration::from_secs(30);

/// A lane to a source broker.
pub(super) type PullKey = (i32, u8);

/// What one lane has told its broker.
#[derive(Debug)]
pub(super) struct Pull {
    session_id: i32,
    session_epoch: i32,
    /// The offset that the broker knows for each partition in the session.
    told: BTreeMap<usize, i64>,
    pub(super) busy: bool,
    pub(super) not_before: Instant,
    pub(super) failures: u32,
    /// When the broker was last heard.
    pub(super) heard: Option<Instant>,
}

/// A request ready to be sent.
pub(super) struct Pulling {
    pub(super) key: PullKey,
    body: bytes::Bytes,
    /// Which offset is asked for: an answer to another one is stale.
    pub(super) asked: BTreeMap<usize, i64>,
    /// What the answer may fill of the buffer.
    pub(super) share: OwnedSemaphorePermit,
}

/// What came of it.
pub(super) struct Pulled {
    pub(super) key: PullKey,
    pub(super) asked: BTreeMap<usize, i64>,
    pub(super) share: OwnedSemaphorePermit,
    pub(super) bytes: usize,
    pub(super) answer: Result<Response, LinkError>,
}

impl Pull {
    pub(super) fn new(now: Instant) -> Pull {
        Pull {
            session_id: 0,
            session_epoch: 0,
            told: BTreeMap::new(),
            busy: false,
            not_before: now,
            failures: 0,
            heard: None,
        }
    }

    /// Begins a new session with the next request.
    pub(super) fn reset(&mut self) {
        self.session_id = 0;
        self.session_epoch = 0;
        self.told.clear();
    }

    /// The broker opened, or goes on with, this session.
    pub(super) fn opened(&mut self, session_id: i32) {
        if session_id == 0 {
            self.reset();
        } else if session_id == self.session_id {
            self.session_epoch = self.session_epoch.checked_add(1).unwrap_or(1);
        } else {
            self.session_id = session_id;
            self.session_epoch = 1;
        }
    }

    /// The next request for the partitions `wanted`, each from its `next`.
    pub(super) fn request(
        &mut self,
        key: PullKey,
        parts: &[Part],
        wanted: &[usize],
        committed: bool,
        bytes_max: usize,
        share: OwnedSemaphorePermit,
    ) -> Pulling {
        let place = |part: usize| -> Option<&Place> { parts.get(part).map(|p| &p.place) };
        let asked: BTreeMap<usize, i64> =
            wanted.iter().filter_map(|part| Some((*part, parts.get(*part)?.wanted()))).collect();
        let mut changed: BTreeMap<&str, Vec<(i32, i64)>> = BTreeMap::new();
        for (part, offset) in asked.iter().filter(|(part, offset)| self.told.get(part) != Some(offset)) {
            if let Some((topic, partition)) = place(*part) {
                changed.entry(topic).or_default().push((*partition, *offset));
            }
        }
        let mut forgotten: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for part in self.told.keys().filter(|part| !asked.contains_key(part)) {
            if let Some((topic, partition)) = place(*part) {
                forgotten.entry(topic).or_default().push(*partition);
            }
        }
        let bytes_max = i32::try_from(bytes_max).unwrap_or(i32::MAX);
        let request = Request {
            max_wait_ms: MAX_WAIT_MS,
            bytes_max,
            partition_bytes_max: bytes_max,
            committed,
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            wanted: changed,
            forgotten,
        };
        let body = request.encode();
        self.told.clone_from(&asked);
        self.busy = true;
        Pulling { key, body, asked, share }
    }
}

/// Sends a request and awaits its answer.
pub(super) async fn pull(source: Cluster, rate: Option<RateLimit>, pulling: Pulling) -> Pulled {
    let Pulling { key, body, asked, share } = pulling;
    if let Some(rate) = &rate {
        rate.admit().await;
    }
    let mut bytes = 0;
    let answer = async {
        let connection = source.lane(key.0, Lane::Fetch(key.1)).await?;
        let answer = connection.begin(ApiKey::Fetch, fetch::VERSION, vec![body], WITHIN).await?.await?;
        bytes = answer.len();
        fetch::decode(answer).map_err(|_| LinkError::Protocol {
            address: connection.address().into(),
            reason: "a malformed answer to Fetch".into(),
        })
    };
    let answer = answer.await;
    if let Some(rate) = &rate {
        rate.charge(bytes as u64);
    }
    Pulled { key, asked, share, bytes, answer }
}
