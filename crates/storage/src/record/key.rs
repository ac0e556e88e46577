//! The keys of the one tree: entries in the order of their index, and then what is said about them.

use std::fmt;

/// Where a record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// An entry, or the first part of a long one.
    Entry(u64),
    /// A further part of a long entry, from 1.
    Part(u64, u16),
    /// The schema version.
    Schema,
    /// Where the log begins and ends.
    State,
}

const ENTRY: u8 = b'e';
const SCHEMA: &[u8] = b"schema_version";
const STATE: &[u8] = b"state";

impl Key {
    /// The bytes, which sort as the index does: an entry, its parts, the next entry.
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Key::Entry(index) => [&[ENTRY], &index.to_be_bytes()[..]].concat(),
            Key::Part(index, part) => [&[ENTRY], &index.to_be_bytes()[..], &part.to_be_bytes()].concat(),
            Key::Schema => SCHEMA.to_vec(),
            Key::State => STATE.to_vec(),
        }
    }

    /// The key of these bytes, if they are one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes {
            SCHEMA => Some(Key::Schema),
            STATE => Some(Key::State),
            [ENTRY, rest @ ..] => {
                let (index, part) = rest.split_first_chunk()?;
                let index = u64::from_be_bytes(*index);
                match part {
                    [] => Some(Key::Entry(index)),
                    [a, b] => Some(Key::Part(index, u16::from_be_bytes([*a, *b]))),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.to_string()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Entry(index) => write!(f, "entry {index}"),
            Key::Part(index, part) => write!(f, "part {part} of entry {index}"),
            Key::Schema => f.write_str("schema_version"),
            Key::State => f.write_str("state"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_the_log_does() {
        let keys = [
            Key::Entry(0),
            Key::Entry(255),
            Key::Part(255, 1),
            Key::Part(255, 300),
            Key::Entry(256),
            Key::Schema,
        ];
        let bytes: Vec<_> = keys.iter().map(|key| key.bytes()).collect();
        assert!(bytes.is_sorted());
        assert_eq!(bytes.iter().filter_map(|b| Key::parse(b)).collect::<Vec<_>>(), keys);
    }
}
