//! How a record lies on the disk: a format byte, a CRC-32 over format, key and bytes, then the bytes.
//!
//! The key is part of the sum, so that a good value in the wrong place is a bad one.

mod convert;
mod key;

pub(crate) use convert::{
    Linked, SnapshotHead, State, decode_entry, decode_identity, decode_snapshot, decode_state, encode_entry,
    encode_identity, encode_snapshot, encode_state,
};
pub(crate) use key::Key;

use bytes::Bytes;

/// The layout of all that the store keeps. A change that this code could not read again raises it.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// The only format of a framed record so far.
const FORMAT: u8 = 1;

/// Bytes that the frame adds.
const HEAD: usize = 5;

/// A record that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Which record.
    pub(crate) key: String,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl Fault {
    pub(crate) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[FORMAT]);
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

/// Puts `body` in its frame.
pub(crate) fn frame(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD + body.len());
    value.push(FORMAT);
    value.extend_from_slice(&checksum(key, body).to_le_bytes());
    value.extend_from_slice(body);
    value
}

/// Takes the bytes out of their frame; `name` says in a fault which record it was.
pub(crate) fn unframe(name: impl Into<String>, key: &[u8], value: &[u8]) -> Result<Bytes, Fault> {
    let Some((&[format, a, b, c, d], body)) = value.split_first_chunk::<HEAD>() else {
        return Err(Fault::new(name, format!("{} bytes are too few for a record", value.len())));
    };
    if format != FORMAT {
        return Err(Fault::new(name, format!("format {format} is not known to this version")));
    }
    let (stored, computed) = (u32::from_le_bytes([a, b, c, d]), checksum(key, body));
    if stored != computed {
        return Err(Fault::new(name, format!("CRC mismatch: stored {stored:08x}, computed {computed:08x}")));
    }
    Ok(Bytes::copy_from_slice(body))
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_frame_gives_its_bytes_back() {
        assert_eq!(unframe("r", b"key", &frame(b"key", b"body")).unwrap(), "body");
    }

    #[test]
    fn each_flipped_bit_is_noticed() {
        let good = frame(b"key", b"body");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unframe("r", b"key", &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_belongs_to_its_key() {
        assert!(unframe("r", b"other", &frame(b"key", b"body")).unwrap_err().reason.contains("CRC mismatch"));
    }
}
