//! Reads the batches of one partition from an offset on, one answer at a time.

use super::{Place, WITHIN};
use crate::batch::{self, Aborted, BadBatch, Header};
use crate::link::{Cluster, Lane, LinkError};
use crate::wire::fetch;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use std::collections::BTreeMap;

/// How much one answer may bring.
const ANSWER_BYTES: i32 = 1 << 20;

/// Where the reader stopped.
#[derive(Debug)]
pub(crate) enum ReadError {
    Link(LinkError),
    Bad(BadBatch, i64),
}

impl From<LinkError> for ReadError {
    fn from(error: LinkError) -> Self {
        ReadError::Link(error)
    }
}

/// A position in a partition.
pub(crate) struct Reader<'a> {
    cluster: &'a Cluster,
    leader: i32,
    place: &'a Place,
    offset: i64,
    rest: BytesMut,
    next: Option<(Header, Bytes)>,
    /// Where only what is committed is read: which transactions were not.
    aborted: Option<Aborted>,
    hidden: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(cluster: &'a Cluster, leader: i32, place: &'a Place, offset: i64) -> Reader<'a> {
        Reader {
            cluster,
            leader,
            place,
            offset,
            rest: BytesMut::new(),
            next: None,
            aborted: None,
            hidden: false,
        }
    }

    /// Reads no further than what is committed, and knows what was aborted.
    pub(crate) fn committed(self) -> Reader<'a> {
        Reader { aborted: Some(Aborted::default()), ..self }
    }

    /// Whether the batch at the position is of a transaction that was aborted.
    pub(crate) fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// The batch at the position; none when the log ends there for now.
    pub(crate) async fn peek(&mut self) -> Result<Option<&(Header, Bytes)>, ReadError> {
        if self.next.is_none() {
            self.next = self.read().await?;
        }
        Ok(self.next.as_ref())
    }

    /// Goes past the batch at the position.
    pub(crate) fn advance(&mut self) {
        if let Some((header, _)) = self.next.take() {
            self.offset = header.end();
        }
    }

    async fn read(&mut self) -> Result<Option<(Header, Bytes)>, ReadError> {
        loop {
            let bad = |bad| ReadError::Bad(bad, self.offset);
            if let Some(header) = batch::first(&self.rest).map_err(bad)? {
                let bytes = self.rest.split_to(header.size);
                batch::verify(&bytes).map_err(bad)?;
                self.hidden = self.aborted.as_mut().is_some_and(|aborted| aborted.covers(&header));
                if header.end() > self.offset {
                    return Ok(Some((header, bytes.freeze())));
                }
                continue;
            }
            let (records, aborted) = self.fetch().await?;
            self.rest = records;
            if let Some(known) = &mut self.aborted {
                *known = Aborted::new(aborted);
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let whole = batch::first(&self.rest).map_err(|bad| ReadError::Bad(bad, self.offset))?;
            if whole.is_none() {
                return Err(ReadError::Bad(BadBatch::Malformed, self.offset));
            }
        }
    }

    async fn fetch(&self) -> Result<(BytesMut, Vec<(i64, i64)>), LinkError> {
        let (topic, partition) = self.place;
        let request = fetch::Request {
            max_wait_ms: 0,
            bytes_max: ANSWER_BYTES,
            partition_bytes_max: ANSWER_BYTES,
            committed: self.aborted.is_some(),
            session_id: 0,
            session_epoch: -1,
            wanted: BTreeMap::from([(&**topic, vec![(*partition, self.offset)])]),
            forgotten: BTreeMap::new(),
        };
        let connection = self.cluster.lane(self.leader, Lane::Fetch(u8::MAX)).await?;
        let answer =
            connection.begin(ApiKey::Fetch, fetch::VERSION, vec![request.encode()], WITHIN).await?.await?;
        let answer = fetch::decode(answer).map_err(|_| LinkError::Protocol {
            address: connection.address().into(),
            reason: "a malformed answer to Fetch".into(),
        })?;
        let fetched = answer.partitions.into_iter().next();
        let error = fetched.as_ref().map_or(answer.error, |f| f.error);
        let doing = format!("reading {topic}-{partition} at {}", self.offset);
        LinkError::check_right(error, doing, &format!("Read on topic {topic}"))?;
        Ok(fetched.map(|f| (f.records, f.aborted)).unwrap_or_default())
    }
}
