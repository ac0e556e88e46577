//! Produce, version 8.

use super::{Malformed, get_array, get_i16, get_i32, get_i64, get_nullable_string, get_string, put_string};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

pub(crate) const VERSION: i16 = 8;

/// Encodes one batch for each of some partitions, to be acknowledged by all replicas that are in step. The batches
/// are not copied: they are segments of their own.
pub(crate) fn encode(batches: &BTreeMap<&str, Vec<(i32, Bytes)>>, timeout_ms: i32) -> Vec<Bytes> {
    let mut segments = Vec::with_capacity(2 * batches.len() + 1);
    let mut bytes = BytesMut::with_capacity(128);
    bytes.put_i16(-1);
    bytes.put_i16(-1);
    bytes.put_i32(timeout_ms);
    bytes.put_i32(i32::try_from(batches.len()).unwrap_or(i32::MAX));
    for (topic, partitions) in batches {
        put_string(&mut bytes, topic);
        bytes.put_i32(i32::try_from(partitions.len()).unwrap_or(i32::MAX));
        for (partition, batch) in partitions {
            bytes.put_i32(*partition);
            bytes.put_i32(i32::try_from(batch.len()).unwrap_or(i32::MAX));
            segments.push(bytes.split().freeze());
            segments.push(batch.clone());
        }
    }
    if !bytes.is_empty() {
        segments.push(bytes.freeze());
    }
    segments
}

/// What the broker says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Produced {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) error: i16,
    /// The offset that the batch's first record was given.
    pub(crate) base_offset: i64,
    /// The broker's words about an error.
    pub(crate) message: Option<String>,
}

pub(crate) fn decode(mut bytes: BytesMut) -> Result<Vec<Produced>, Malformed> {
    let topics = get_array(&mut bytes, |bytes| {
        let topic = get_string(bytes)?;
        get_array(bytes, |bytes| partition(bytes, &topic))
    })?;
    Ok(topics.into_iter().flatten().collect())
}

fn partition(bytes: &mut BytesMut, topic: &str) -> Result<Produced, Malformed> {
    let partition = get_i32(bytes)?;
    let error = get_i16(bytes)?;
    let base_offset = get_i64(bytes)?;
    let _append_time = get_i64(bytes)?;
    let _start = get_i64(bytes)?;
    let records = get_array(bytes, |bytes| {
        get_i32(bytes)?;
        get_nullable_string(bytes)
    })?;
    let message = get_nullable_string(bytes)?.or_else(|| records.into_iter().flatten().next());
    Ok(Produced { topic: topic.to_owned(), partition, error, base_offset, message })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
    use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
    use proptest::prelude::*;

    #[test]
    fn the_library_reads_the_request() {
        let batch = Bytes::from_static(b"batch");
        let batches = BTreeMap::from([
            ("clicks", vec![(0, batch.clone())]),
            ("orders", vec![(1, batch.clone()), (4, batch.clone())]),
        ]);
        let mut bytes = BytesMut::new();
        for segment in encode(&batches, 30_000) {
            bytes.put_slice(&segment);
        }
        let mut bytes = bytes.freeze();
        let read = ProduceRequest::decode(&mut bytes, VERSION).unwrap();
        assert!(bytes.is_empty());
        assert_eq!((read.acks, read.timeout_ms, read.transactional_id), (-1, 30_000, None));
        assert_eq!(read.topic_data.len(), 2);
        assert_eq!(read.topic_data[1].partition_data[1].index, 4);
        assert_eq!(read.topic_data[1].partition_data[1].records, Some(batch));
    }

    #[test]
    fn what_the_library_writes_is_read() {
        let one = PartitionProduceResponse::default()
            .with_index(3)
            .with_error_code(87)
            .with_base_offset(-1)
            .with_error_message(Some(StrBytes::from_static_str("bad")));
        let topic = TopicProduceResponse::default()
            .with_name(TopicName(StrBytes::from_static_str("orders")))
            .with_partition_responses(vec![one]);
        let mut bytes = BytesMut::new();
        ProduceResponse::default().with_responses(vec![topic]).encode(&mut bytes, VERSION).unwrap();
        let expected = Produced {
            topic: "orders".into(),
            partition: 3,
            error: 87,
            base_offset: -1,
            message: Some("bad".into()),
        };
        assert_eq!(decode(bytes), Ok(vec![expected]));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_bad(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(BytesMut::from(&bytes[..]));
        }
    }
}
