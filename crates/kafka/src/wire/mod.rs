//! The two requests that carry records, encoded and decoded by hand.
//!
//! The problem: the library copies records and owns what it decodes, while a mirror wants to hand on the bytes it
//! received and change a few of them in place. The idea: fixed versions without flexible fields, which every broker
//! from 2.8 to 4.x speaks, and slices of the answer instead of copies.

pub(crate) mod fetch;
pub(crate) mod produce;

use bytes::{Buf, BufMut, BytesMut};

/// An answer that ends too early or holds what cannot be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

fn put_string(bytes: &mut BytesMut, text: &str) {
    // The longest topic name has 249 characters.
    bytes.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    bytes.put_slice(text.as_bytes());
}

fn get_i16(bytes: &mut BytesMut) -> Result<i16, Malformed> {
    bytes.try_get_i16().map_err(|_| Malformed)
}

fn get_i32(bytes: &mut BytesMut) -> Result<i32, Malformed> {
    bytes.try_get_i32().map_err(|_| Malformed)
}

fn get_i64(bytes: &mut BytesMut) -> Result<i64, Malformed> {
    bytes.try_get_i64().map_err(|_| Malformed)
}

fn get_bytes(bytes: &mut BytesMut, length: usize) -> Result<BytesMut, Malformed> {
    if bytes.len() < length { Err(Malformed) } else { Ok(bytes.split_to(length)) }
}

fn get_string(bytes: &mut BytesMut) -> Result<String, Malformed> {
    get_nullable_string(bytes)?.ok_or(Malformed)
}

fn get_nullable_string(bytes: &mut BytesMut) -> Result<Option<String>, Malformed> {
    let length = get_i16(bytes)?;
    if length < 0 {
        return Ok(None);
    }
    let text = get_bytes(bytes, usize::from(length.unsigned_abs()))?;
    String::from_utf8(text.to_vec()).map(Some).map_err(|_| Malformed)
}

/// Reads as many elements as the answer says there are; a null array is empty.
fn get_array<T>(
    bytes: &mut BytesMut,
    element: impl Fn(&mut BytesMut) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = get_i32(bytes)?;
    (0..count).map(|_| element(bytes)).collect()
}
