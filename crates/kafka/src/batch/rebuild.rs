//! Writes a batch anew in which compaction left gaps: every offset gets a record, those that were there keep their
//! bytes.

use super::filler::{put_filler, put_varint};
use super::{
    ATTRIBUTES, BadBatch, COUNT, FILLER_KEY, HEADER_BYTES, Header, LAST_OFFSET_DELTA, PREFIX_BYTES, field,
    put, seal,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{Decompressor, Gzip, Lz4, Snappy, Zstd};

const COMPRESSION: i16 = 0x07;

/// A whole batch with a record for each of its offsets, not compressed.
pub(crate) fn rebuild(header: &Header, batch: &Bytes) -> Result<BytesMut, BadBatch> {
    let mut out = BytesMut::from(batch.get(..HEADER_BYTES).ok_or(BadBatch::Malformed)?);
    let mut records = decompress(header.attributes, batch.slice(HEADER_BYTES..))?;
    let mut next = 0;
    for _ in 0..header.count {
        let mut record = records.clone();
        let length = usize::try_from(get_varint(&mut record)?).map_err(|_| BadBatch::Malformed)?;
        let size = records.len() - record.len() + length;
        if records.len() < size {
            return Err(BadBatch::Malformed);
        }
        let whole = records.split_to(size);
        record.try_get_u8().map_err(|_| BadBatch::Malformed)?;
        get_varint(&mut record)?;
        let delta = get_varint(&mut record)?;
        if delta < next || delta > i64::from(header.last_offset_delta) {
            return Err(BadBatch::Malformed);
        }
        (next..delta).for_each(|delta| put_filler(&mut out, delta, Some(FILLER_KEY)));
        out.put_slice(&whole);
        next = delta + 1;
    }
    (next..=i64::from(header.last_offset_delta))
        .for_each(|delta| put_filler(&mut out, delta, Some(FILLER_KEY)));
    finish(&mut out, header.last_offset_delta)?;
    Ok(out)
}

/// A whole batch with the same records and no offset between them, not compressed.
pub(crate) fn condense(header: &Header, batch: &Bytes) -> Result<BytesMut, BadBatch> {
    cut(header, batch, 0)
}

/// The same without its first `skipped` records.
pub(crate) fn cut(header: &Header, batch: &Bytes, skipped: i32) -> Result<BytesMut, BadBatch> {
    let mut out = BytesMut::from(batch.get(..HEADER_BYTES).ok_or(BadBatch::Malformed)?);
    let mut records = decompress(header.attributes, batch.slice(HEADER_BYTES..))?;
    for index in 0..header.count {
        let length = usize::try_from(get_varint(&mut records)?).map_err(|_| BadBatch::Malformed)?;
        if records.len() < length {
            return Err(BadBatch::Malformed);
        }
        let mut record = records.split_to(length);
        if index < skipped {
            continue;
        }
        let whole = record.clone();
        record.try_get_u8().map_err(|_| BadBatch::Malformed)?;
        get_varint(&mut record)?;
        let before = whole.len() - record.len();
        get_varint(&mut record)?;
        let mut moved = BytesMut::with_capacity(length + 4);
        moved.put_slice(&whole[..before]);
        put_varint(&mut moved, i64::from(index - skipped));
        moved.put_slice(&record);
        put_varint(&mut out, i64::try_from(moved.len()).unwrap_or(0));
        out.put_slice(&moved);
    }
    finish(&mut out, header.count - skipped - 1)?;
    Ok(out)
}

/// Makes the header fit the records, which are not compressed and have all offsets up to `last`.
fn finish(batch: &mut BytesMut, last: i32) -> Result<(), BadBatch> {
    let length = u32::try_from(batch.len() - PREFIX_BYTES).map_err(|_| BadBatch::Malformed)?;
    put(batch, 8, length.to_be_bytes());
    let attributes = i16::from_be_bytes(field(batch, ATTRIBUTES)) & !COMPRESSION;
    put(batch, ATTRIBUTES, attributes.to_be_bytes());
    put(batch, LAST_OFFSET_DELTA, last.to_be_bytes());
    put(batch, COUNT, (last + 1).to_be_bytes());
    seal(batch);
    Ok(())
}

/// The records of a batch with these attributes, as they are without compression.
pub(super) fn decompress(attributes: i16, mut records: Bytes) -> Result<Bytes, BadBatch> {
    let keep = |bytes: &mut Bytes| Ok(bytes.clone());
    let plain = match attributes & COMPRESSION {
        0 => return Ok(records),
        1 => Gzip::decompress(&mut records, keep),
        2 => Snappy::decompress(&mut records, keep),
        3 => Lz4::decompress(&mut records, keep),
        4 => Zstd::decompress(&mut records, keep),
        _ => return Err(BadBatch::Malformed),
    };
    plain.map_err(|_| BadBatch::Corrupt)
}

pub(super) fn get_varint(bytes: &mut Bytes) -> Result<i64, BadBatch> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = bytes.try_get_u8().map_err(|_| BadBatch::Malformed)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(BadBatch::Malformed)
}

/// Zigzag, as records use it.
#[cfg(test)]
fn varint(value: i64) -> Bytes {
    let mut bytes = BytesMut::new();
    put_varint(&mut bytes, value);
    bytes.freeze()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{first, verify};
    use super::*;
    use kafka_protocol::indexmap::IndexMap;
    use kafka_protocol::records::{
        Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
    };
    use proptest::prelude::*;

    fn record(offset: i64) -> Record {
        Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: offset as i32 - 100,
            timestamp: 1_000 + offset,
            key: Some(Bytes::from(format!("k{offset}"))),
            value: Some(Bytes::from(vec![b'v'; 50])),
            headers: IndexMap::new(),
        }
    }

    #[test]
    fn gaps_are_filled_and_records_keep_their_bytes_in_all_codecs() {
        let kept = [100, 101, 105, 106, 109];
        for compression in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let records = kept.map(record);
            let options = RecordEncodeOptions { version: 2, compression };
            let mut bytes = BytesMut::new();
            RecordBatchEncoder::encode(&mut bytes, records.iter(), &options).unwrap();
            let header = first(&bytes).unwrap().unwrap();
            assert!(!header.is_dense());
            let original = bytes.freeze();
            let dense = rebuild(&header, &original).unwrap();
            assert_eq!(verify(&dense), Ok(()));
            let rebuilt = first(&dense).unwrap().unwrap();
            assert!(rebuilt.is_dense() && rebuilt.end() == 110 && rebuilt.size == dense.len());
            let short = condense(&header, &original).unwrap();
            assert_eq!(verify(&short), Ok(()));
            let condensed = first(&short).unwrap().unwrap();
            assert!(condensed.is_dense() && condensed.end() == 105 && condensed.size == short.len());
            let read = RecordBatchDecoder::decode(&mut short.freeze()).unwrap().records;
            let found: Vec<_> = read.into_iter().map(|r| (r.offset, r.key, r.value, r.timestamp)).collect();
            let wanted = (100..).zip(kept.map(record));
            let wanted: Vec<_> = wanted.map(|(at, r)| (at, r.key, r.value, r.timestamp)).collect();
            assert_eq!(found, wanted);
            let rest = RecordBatchDecoder::decode(&mut cut(&header, &original, 3).unwrap().freeze())
                .unwrap()
                .records;
            let found: Vec<_> = rest.into_iter().map(|r| (r.offset, r.key)).collect();
            assert_eq!(found, [(100, record(106).key), (101, record(109).key)]);
            let read = RecordBatchDecoder::decode(&mut dense.freeze()).unwrap().records;
            assert_eq!(read.len(), 10);
            for found in read {
                match kept.iter().find(|offset| **offset == found.offset) {
                    Some(offset) => {
                        assert_eq!((found.key, found.value), (record(*offset).key, record(*offset).value));
                    }
                    None => assert_eq!((found.key.as_deref(), found.value), (Some(FILLER_KEY), None)),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn varints_come_back(value in any::<i64>()) {
            prop_assert_eq!(get_varint(&mut varint(value)), Ok(value));
        }
    }
}
