//! The records inside of a batch, for those few topics whose records are read rather than copied.

use super::rebuild::{decompress, get_varint};
use super::{BASE_TIMESTAMP, BadBatch, HEADER_BYTES, Header};
use bytes::{Buf, Bytes};

/// Key and value of a record.
pub(crate) type KeyValue = (Option<Bytes>, Option<Bytes>);

/// Keys and values of a whole batch.
pub(crate) fn records(header: &Header, batch: &Bytes) -> Result<Vec<KeyValue>, BadBatch> {
    if batch.len() < HEADER_BYTES {
        return Err(BadBatch::Malformed);
    }
    let mut rest = decompress(header.attributes, batch.slice(HEADER_BYTES..))?;
    (0..header.count).map(|_| record(&mut rest)).collect()
}

fn record(rest: &mut Bytes) -> Result<KeyValue, BadBatch> {
    let length = usize::try_from(get_varint(rest)?).map_err(|_| BadBatch::Malformed)?;
    if rest.len() < length {
        return Err(BadBatch::Malformed);
    }
    let mut record = rest.split_to(length);
    record.try_get_u8().map_err(|_| BadBatch::Malformed)?;
    get_varint(&mut record)?;
    get_varint(&mut record)?;
    Ok((field(&mut record)?, field(&mut record)?))
}

/// A record, apart from the batch that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    /// Key, value and headers, as they are written.
    pub(crate) body: Bytes,
}

/// The records of a whole batch, each with its place.
pub(crate) fn placed(header: &Header, batch: &Bytes) -> Result<Vec<Placed>, BadBatch> {
    let base_timestamp = i64::from_be_bytes(super::get(batch, BASE_TIMESTAMP).ok_or(BadBatch::Malformed)?);
    let mut rest = decompress(header.attributes, batch.slice(HEADER_BYTES..))?;
    let placed = |_| {
        let length = usize::try_from(get_varint(&mut rest)?).map_err(|_| BadBatch::Malformed)?;
        if rest.len() < length {
            return Err(BadBatch::Malformed);
        }
        let mut body = rest.split_to(length);
        body.try_get_u8().map_err(|_| BadBatch::Malformed)?;
        let timestamp = base_timestamp.wrapping_add(get_varint(&mut body)?);
        let offset = header.base_offset.wrapping_add(get_varint(&mut body)?);
        Ok(Placed { offset, timestamp, body })
    };
    (0..header.count).map(placed).collect()
}

fn field(record: &mut Bytes) -> Result<Option<Bytes>, BadBatch> {
    let Ok(length) = usize::try_from(get_varint(record)?) else { return Ok(None) };
    if record.len() < length { Err(BadBatch::Malformed) } else { Ok(Some(record.split_to(length))) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{filler, first};
    use super::*;

    #[test]
    fn keys_and_values_are_read() {
        let batch = filler(0, 3, Some(b"k"), 0).freeze();
        let header = first(&batch).unwrap().unwrap();
        assert_eq!(records(&header, &batch).unwrap(), vec![(Some(Bytes::from_static(b"k")), None); 3]);
        assert_eq!(records(&Header { count: 4, ..header }, &batch), Err(BadBatch::Malformed));
        let places: Vec<_> =
            placed(&header, &batch).unwrap().iter().map(|r| (r.offset, r.timestamp)).collect();
        assert_eq!(places, [(0, 0), (1, 0), (2, 0)]);
        assert_eq!(placed(&Header { count: 4, ..header }, &batch), Err(BadBatch::Malformed));
    }
}
