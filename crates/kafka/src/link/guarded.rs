//! A buffer that refuses lengths longer than itself.
//!
//! The problem: the protocol library reserves memory for as many elements as a length in an answer claims, so four
//! bytes from a broken or hostile broker could end the process. The idea: stand between the library and the bytes,
//! and let no length pass that the rest of the answer cannot hold.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::buf::ByteBuf;
use std::ops::Range;

/// Bytes of an answer.
pub(super) struct Guarded {
    rest: Bytes,
    /// Whether lengths are varints, as in all newer versions; else they are plain integers.
    flexible: bool,
    varint: u64,
    shift: u32,
}

impl Guarded {
    pub(super) fn new(rest: Bytes, flexible: bool) -> Guarded {
        Guarded { rest, flexible, varint: 0, shift: 0 }
    }

    fn refuse(&self, requested: u64) -> TryGetError {
        TryGetError {
            requested: usize::try_from(requested).unwrap_or(usize::MAX),
            available: self.rest.len(),
        }
    }

    fn exceeds(&self, length: u64) -> bool {
        // Compact lengths count from one.
        length > self.rest.len() as u64 + 1
    }
}

impl Buf for Guarded {
    fn remaining(&self) -> usize {
        self.rest.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.rest.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.rest.advance(count);
    }

    /// The library reads varints byte by byte, and nothing else that spans bytes this way.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.rest.try_get_u8()?;
        self.varint |= u64::from(byte & 0x7f) << self.shift;
        if byte & 0x80 != 0 {
            self.shift += 7;
            return if self.shift < 35 { Ok(byte) } else { Err(self.refuse(u64::MAX)) };
        }
        let several = self.shift > 0;
        let value = std::mem::take(&mut self.varint);
        self.shift = 0;
        if several && self.exceeds(value) { Err(self.refuse(value)) } else { Ok(byte) }
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let value = self.rest.try_get_i32()?;
        match u64::try_from(value) {
            Ok(length) if !self.flexible && self.exceeds(length) && length > 1 << 20 => {
                Err(self.refuse(length))
            }
            _ => Ok(value),
        }
    }
}

impl ByteBuf for Guarded {
    fn peek_bytes(&mut self, range: Range<usize>) -> Bytes {
        self.rest.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.rest.split_to(size)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{ApiVersionsResponse, MetadataResponse};
    use kafka_protocol::protocol::{Decodable, Encodable};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_are_too_bad(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = MetadataResponse::decode(&mut Guarded::new(bytes.clone(), true), 12);
            let _ = ApiVersionsResponse::decode(&mut Guarded::new(bytes, false), 2);
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let bytes = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert!(
            MetadataResponse::decode(&mut Guarded::new(Bytes::copy_from_slice(&bytes), true), 12).is_err()
        );
        let bytes = [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert!(
            ApiVersionsResponse::decode(&mut Guarded::new(Bytes::copy_from_slice(&bytes), false), 2).is_err()
        );
    }

    #[test]
    fn what_is_true_passes() {
        let answer = MetadataResponse::default().with_throttle_time_ms(i32::MAX);
        let mut bytes = bytes::BytesMut::new();
        answer.encode(&mut bytes, 12).unwrap();
        let read = MetadataResponse::decode(&mut Guarded::new(bytes.freeze(), true), 12).unwrap();
        assert_eq!(read, answer);
    }
}
