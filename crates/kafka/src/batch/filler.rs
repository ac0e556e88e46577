//! Batches of empty records: they stand for offsets that no record has, or that are gone at the source.

use super::{HEADER_BYTES, put, seal};
use bytes::{BufMut, BytesMut};

/// The key of fillers where a topic wants keys.
pub(crate) const FILLER_KEY: &[u8] = b"primacy-filler";

/// A batch of `count` records without a value, all of one time, with one key or none.
pub(crate) fn filler(base_offset: i64, count: i32, key: Option<&[u8]>, timestamp_ms: i64) -> BytesMut {
    let mut batch = BytesMut::with_capacity(HEADER_BYTES + 16 * count.unsigned_abs() as usize);
    batch.put_bytes(0, HEADER_BYTES);
    (0..count).for_each(|delta| put_filler(&mut batch, i64::from(delta), key));
    let length = u32::try_from(batch.len() - super::PREFIX_BYTES).unwrap_or(u32::MAX);
    put(&mut batch, 0, base_offset.to_be_bytes());
    put(&mut batch, 8, length.to_be_bytes());
    put(&mut batch, 12, (-1_i32).to_be_bytes());
    put(&mut batch, 16, [2]);
    put(&mut batch, super::LAST_OFFSET_DELTA, (count - 1).to_be_bytes());
    put(&mut batch, super::BASE_TIMESTAMP, timestamp_ms.to_be_bytes());
    put(&mut batch, super::MAX_TIMESTAMP, timestamp_ms.to_be_bytes());
    put(&mut batch, super::PRODUCER_ID, (-1_i64).to_be_bytes());
    put(&mut batch, super::PRODUCER_EPOCH, (-1_i16).to_be_bytes());
    put(&mut batch, super::BASE_SEQUENCE, (-1_i32).to_be_bytes());
    put(&mut batch, super::COUNT, count.to_be_bytes());
    seal(&mut batch);
    batch
}

/// One record without a value.
pub(super) fn put_filler(batch: &mut BytesMut, delta: i64, key: Option<&[u8]>) {
    let mut record = BytesMut::with_capacity(32);
    record.put_u8(0);
    put_varint(&mut record, 0);
    put_varint(&mut record, delta);
    match key {
        Some(key) => {
            put_varint(&mut record, i64::try_from(key.len()).unwrap_or(0));
            record.put_slice(key);
        }
        None => put_varint(&mut record, -1),
    }
    put_varint(&mut record, -1);
    put_varint(&mut record, 0);
    put_varint(batch, i64::try_from(record.len()).unwrap_or(0));
    batch.put_slice(&record);
}

pub(super) fn put_varint(bytes: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        bytes.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.put_u8(rest as u8);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{first, verify};
    use super::*;
    use kafka_protocol::records::RecordBatchDecoder;

    #[test]
    fn the_library_reads_what_is_written() {
        let batch = filler(100, 300, Some(FILLER_KEY), 5);
        assert_eq!(verify(&batch), Ok(()));
        let header = first(&batch).unwrap().unwrap();
        assert_eq!((header.base_offset, header.end(), header.size), (100, 400, batch.len()));
        let records = RecordBatchDecoder::decode(&mut batch.freeze()).unwrap().records;
        assert_eq!(records.len(), 300);
        assert!(records.iter().zip(100..).all(|(r, offset)| r.offset == offset && r.value.is_none()));
        assert_eq!(records[0].key.as_deref(), Some(FILLER_KEY));
    }
}
