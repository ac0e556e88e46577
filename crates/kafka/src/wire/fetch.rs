//! Fetch, version 11.

use super::{Malformed, get_array, get_bytes, get_i16, get_i32, get_i64, get_string, put_string};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

pub(crate) const VERSION: i16 = 11;

/// What is asked of one broker.
pub(crate) struct Request<'a> {
    pub(crate) max_wait_ms: i32,
    pub(crate) bytes_max: i32,
    pub(crate) partition_bytes_max: i32,
    /// Whether records of open and aborted transactions stay hidden.
    pub(crate) committed: bool,
    pub(crate) session_id: i32,
    pub(crate) session_epoch: i32,
    /// From which offset each partition is wanted; in a session, those that changed.
    pub(crate) wanted: BTreeMap<&'a str, Vec<(i32, i64)>>,
    /// Those that are no longer wanted in the session.
    pub(crate) forgotten: BTreeMap<&'a str, Vec<i32>>,
}

impl Request<'_> {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_i32(-1);
        bytes.put_i32(self.max_wait_ms);
        bytes.put_i32(1);
        bytes.put_i32(self.bytes_max);
        bytes.put_i8(i8::from(self.committed));
        bytes.put_i32(self.session_id);
        bytes.put_i32(self.session_epoch);
        bytes.put_i32(length(&self.wanted));
        for (topic, partitions) in &self.wanted {
            put_string(&mut bytes, topic);
            bytes.put_i32(i32::try_from(partitions.len()).unwrap_or(i32::MAX));
            for (partition, offset) in partitions {
                bytes.put_i32(*partition);
                bytes.put_i32(-1);
                bytes.put_i64(*offset);
                bytes.put_i64(-1);
                bytes.put_i32(self.partition_bytes_max);
            }
        }
        bytes.put_i32(length(&self.forgotten));
        for (topic, partitions) in &self.forgotten {
            put_string(&mut bytes, topic);
            bytes.put_i32(i32::try_from(partitions.len()).unwrap_or(i32::MAX));
            for partition in partitions {
                bytes.put_i32(*partition);
            }
        }
        put_string(&mut bytes, "");
        bytes.freeze()
    }
}

fn length<K, V>(map: &BTreeMap<K, V>) -> i32 {
    i32::try_from(map.len()).unwrap_or(i32::MAX)
}

/// What one broker answers.
#[derive(Debug, PartialEq)]
pub(crate) struct Response {
    pub(crate) error: i16,
    pub(crate) session_id: i32,
    pub(crate) partitions: Vec<Fetched>,
}

/// What it says of one partition.
#[derive(Debug, PartialEq)]
pub(crate) struct Fetched {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) error: i16,
    /// The end that consumers may read to.
    pub(crate) end: i64,
    pub(crate) start: i64,
    /// Aborted transactions: the producer and where each begins.
    pub(crate) aborted: Vec<(i64, i64)>,
    /// Whole batches and perhaps the beginning of another.
    pub(crate) records: BytesMut,
}

pub(crate) fn decode(mut bytes: BytesMut) -> Result<Response, Malformed> {
    let bytes = &mut bytes;
    let _throttle_ms = get_i32(bytes)?;
    let error = get_i16(bytes)?;
    let session_id = get_i32(bytes)?;
    let topics = get_array(bytes, |bytes| {
        let topic = get_string(bytes)?;
        get_array(bytes, |bytes| partition(bytes, &topic))
    })?;
    Ok(Response { error, session_id, partitions: topics.into_iter().flatten().collect() })
}

fn partition(bytes: &mut BytesMut, topic: &str) -> Result<Fetched, Malformed> {
    let partition = get_i32(bytes)?;
    let error = get_i16(bytes)?;
    let end = get_i64(bytes)?;
    let _last_stable = get_i64(bytes)?;
    let start = get_i64(bytes)?;
    let aborted = get_array(bytes, |bytes| Ok((get_i64(bytes)?, get_i64(bytes)?)))?;
    let _preferred_replica = get_i32(bytes)?;
    let length = usize::try_from(get_i32(bytes)?).unwrap_or(0);
    let records = get_bytes(bytes, length)?;
    Ok(Fetched { topic: topic.to_owned(), partition, error, end, start, aborted, records })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use kafka_protocol::messages::fetch_response::{
        AbortedTransaction, FetchableTopicResponse, PartitionData,
    };
    use kafka_protocol::messages::{FetchRequest, FetchResponse, ProducerId, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
    use proptest::prelude::*;

    #[test]
    fn the_library_reads_the_request() {
        let request = Request {
            max_wait_ms: 500,
            bytes_max: 1000,
            partition_bytes_max: 100,
            committed: true,
            session_id: 4,
            session_epoch: 5,
            wanted: BTreeMap::from([("orders", vec![(3, 77)])]),
            forgotten: BTreeMap::from([("clicks", vec![1, 2])]),
        };
        let mut bytes = request.encode();
        let read = FetchRequest::decode(&mut bytes, VERSION).unwrap();
        assert!(bytes.is_empty());
        assert_eq!((read.max_wait_ms, read.min_bytes, read.isolation_level), (500, 1, 1));
        assert_eq!((read.session_id, read.session_epoch), (4, 5));
        assert_eq!(read.topics[0].partitions[0].fetch_offset, 77);
        assert_eq!(read.forgotten_topics_data[0].partitions, [1, 2]);
    }

    #[test]
    fn what_the_library_writes_is_read() {
        let aborted = AbortedTransaction::default().with_producer_id(ProducerId(9)).with_first_offset(3);
        let data = PartitionData::default()
            .with_partition_index(2)
            .with_high_watermark(50)
            .with_log_start_offset(10)
            .with_aborted_transactions(Some(vec![aborted]))
            .with_records(Some(Bytes::from_static(b"abc")));
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("orders")))
            .with_partitions(vec![data]);
        let mut bytes = BytesMut::new();
        FetchResponse::default()
            .with_session_id(8)
            .with_responses(vec![topic])
            .encode(&mut bytes, VERSION)
            .unwrap();
        let read = decode(bytes).unwrap();
        assert_eq!((read.error, read.session_id), (0, 8));
        let [fetched] = &read.partitions[..] else { panic!() };
        assert_eq!((fetched.topic.as_str(), fetched.partition), ("orders", 2));
        assert_eq!((fetched.end, fetched.start, &fetched.records[..]), (50, 10, &b"abc"[..]));
        assert_eq!(fetched.aborted, [(9, 3)]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_bad(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(BytesMut::from(&bytes[..]));
        }
    }
}
