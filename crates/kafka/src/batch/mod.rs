//! Record batches as bytes: what their headers say, and the few fields that a mirror may change.
//!
//! The layout is that of Kafka's message format 2. Records inside are never looked at here: they may be compressed, and
//! copying them as they are is what makes the mirror cheap.

mod aborted;
mod filler;
mod rebuild;
mod records;

pub(crate) use aborted::Aborted;
pub(crate) use filler::{FILLER_KEY, filler};
pub(crate) use rebuild::{condense, cut, rebuild};
pub(crate) use records::{Placed, placed, records};

use std::fmt;

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: usize = 61;

/// Before the length field ends, nothing is known about a batch.
const PREFIX_BYTES: usize = 12;

const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const COUNT: usize = 57;

const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// What a batch's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    /// All of it, in bytes.
    pub(crate) size: usize,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) count: i32,
}

impl Header {
    /// The offset after its last one.
    pub(crate) fn end(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// Whether it marks the end of a transaction instead of carrying records.
    pub(crate) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether it belongs to a transaction.
    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether a broker set its timestamps.
    pub(crate) fn is_stamped_by_broker(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Whether each of its offsets has a record.
    pub(crate) fn is_dense(&self) -> bool {
        self.count == self.last_offset_delta.saturating_add(1)
    }
}

/// Why bytes are not a batch that can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadBatch {
    /// Message formats 0 and 1, of before Kafka 0.11.
    OldFormat(i8),
    /// A field that cannot be.
    Malformed,
    /// The bytes are not those that were written.
    Corrupt,
}

impl fmt::Display for BadBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadBatch::OldFormat(magic) => write!(f, "a batch in message format {magic}"),
            BadBatch::Malformed => f.write_str("a malformed batch"),
            BadBatch::Corrupt => f.write_str("a batch whose checksum is wrong"),
        }
    }
}

/// Reads the header of the first batch in `bytes`; none when its end is missing, as it may be at the end of an answer.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<Header>, BadBatch> {
    let Some(length) = get::<4>(bytes, 8).map(i32::from_be_bytes) else { return Ok(None) };
    let size = usize::try_from(length).map_err(|_| BadBatch::Malformed)? + PREFIX_BYTES;
    let Some(magic) = get::<1>(bytes, 16).map(i8::from_be_bytes) else { return Ok(None) };
    if magic != 2 {
        return Err(BadBatch::OldFormat(magic));
    }
    if size < HEADER_BYTES {
        return Err(BadBatch::Malformed);
    }
    if bytes.len() < size {
        return Ok(None);
    }
    let header = Header {
        base_offset: i64::from_be_bytes(field(bytes, 0)),
        size,
        attributes: i16::from_be_bytes(field(bytes, ATTRIBUTES)),
        last_offset_delta: i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA)),
        max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP)),
        producer_id: i64::from_be_bytes(field(bytes, PRODUCER_ID)),
        count: i32::from_be_bytes(field(bytes, COUNT)),
    };
    let sound = header.base_offset >= 0 && header.last_offset_delta >= 0 && header.count >= 0;
    if sound { Ok(Some(header)) } else { Err(BadBatch::Malformed) }
}

/// Whether the bytes of one whole batch are those that were written.
pub(crate) fn verify(batch: &[u8]) -> Result<(), BadBatch> {
    let written = get::<4>(batch, 17).map(u32::from_be_bytes);
    let actual = batch.get(ATTRIBUTES..).map(crc32c::crc32c);
    if written.is_some() && written == actual { Ok(()) } else { Err(BadBatch::Corrupt) }
}

/// As whom batches are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// Makes one whole batch ours: our producer instead of its own, no transaction, and timestamps that its producer set.
pub(crate) fn stamp(batch: &mut [u8], producer: Producer, sequence: i32) {
    let attributes = i16::from_be_bytes(field(batch, ATTRIBUTES)) & !(TRANSACTIONAL | LOG_APPEND_TIME);
    put(batch, ATTRIBUTES, attributes.to_be_bytes());
    put(batch, PRODUCER_ID, producer.id.to_be_bytes());
    put(batch, PRODUCER_EPOCH, producer.epoch.to_be_bytes());
    put(batch, BASE_SEQUENCE, sequence.to_be_bytes());
    // The broker that takes it sets both.
    put(batch, 0, 0_i64.to_be_bytes());
    put(batch, 12, (-1_i32).to_be_bytes());
    seal(batch);
}

/// The sequence number after a batch: they go round without their sign.
pub(crate) fn next_sequence(sequence: i32, count: i32) -> i32 {
    let next = i64::from(sequence) + i64::from(count);
    i32::try_from(next % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

/// A sum over all of a batch that is equal on both sides: records, their number, compression and, unless brokers set
/// them, timestamps; not who wrote it.
pub(crate) fn digest(batch: &[u8], timestamps: bool) -> u32 {
    let attributes = i16::from_be_bytes(field(batch, ATTRIBUTES)) & !(TRANSACTIONAL | LOG_APPEND_TIME);
    let sum = crc32c::crc32c(&attributes.to_be_bytes());
    let sum = crc32c::crc32c_append(sum, &field::<4>(batch, LAST_OFFSET_DELTA));
    let sum = crc32c::crc32c_append(sum, &field::<4>(batch, COUNT));
    let sum = if timestamps { crc32c::crc32c_append(sum, &field::<16>(batch, BASE_TIMESTAMP)) } else { sum };
    crc32c::crc32c_append(sum, batch.get(HEADER_BYTES..).unwrap_or_default())
}

fn seal(batch: &mut [u8]) {
    let sum = crc32c::crc32c(batch.get(ATTRIBUTES..).unwrap_or_default());
    put(batch, 17, sum.to_be_bytes());
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// A field of a whole batch, whose length is checked.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    get(bytes, at).unwrap_or([0; N])
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: Producer = Producer { id: 7, epoch: 3 };

    #[test]
    fn a_stamped_batch_is_sound_and_says_the_same() {
        let original = filler(40, 3, None, 1_000);
        let mut stamped = original.to_vec();
        stamp(&mut stamped, OURS, 12);
        assert_eq!(verify(&stamped), Ok(()));
        assert_eq!(digest(&original, true), digest(&stamped, true));
        let header = first(&stamped).unwrap().unwrap();
        assert_eq!((header.producer_id, header.count, header.end()), (7, 3, 3));
        assert!(header.is_dense() && !header.is_transactional());
    }

    #[test]
    fn another_record_is_another_digest() {
        let one = filler(0, 3, None, 1_000);
        assert_ne!(digest(&one, true), digest(&filler(0, 3, Some(b"k"), 1_000), true));
        assert_ne!(digest(&one, true), digest(&filler(0, 4, None, 1_000), true));
        assert_ne!(digest(&one, true), digest(&filler(0, 3, None, 2_000), true));
        assert_eq!(digest(&one, false), digest(&filler(0, 3, None, 2_000), false));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut batch = filler(0, 3, None, 1_000).to_vec();
        batch[HEADER_BYTES + 1] ^= 4;
        assert_eq!(verify(&batch), Err(BadBatch::Corrupt));
    }

    #[test]
    fn sequences_go_round_as_brokers_count_them() {
        assert_eq!(next_sequence(0, 5), 5);
        assert_eq!(next_sequence(i32::MAX, 1), 0);
        assert_eq!(next_sequence(i32::MAX - 1, 4), 2);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_bad(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(header)) = first(&bytes) {
                prop_assert!(header.size <= bytes.len());
            }
            let _ = verify(&bytes);
            let _ = digest(&bytes, true);
        }

        #[test]
        fn what_is_cut_off_is_not_a_batch(count in 1..50_i32, cut in 1..60_usize) {
            let batch = filler(0, count, None, 0);
            prop_assert_eq!(first(&batch[..batch.len() - cut.min(batch.len())]), Ok(None));
        }
    }
}
