//! The records inside of a batch, for those few topics whose records are read rather than copied.

use super::rebuild::{decompress, get_varint};
use super::{BadBatch, HEADER_BYTES, Header};
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
    }
}
