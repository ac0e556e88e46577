//! The records that MirrorMaker 2 keeps, as its own schemas lay them out.

use bytes::Buf;

/// Which offset of the source is which on the target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OffsetSync {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) upstream: i64,
}

/// Which offset of a group is which on the target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) upstream: i64,
    pub(super) downstream: i64,
}

impl OffsetSync {
    pub(super) fn read(mut key: &[u8], mut value: &[u8]) -> Option<OffsetSync> {
        let topic = string(&mut key)?;
        let partition = key.try_get_i32().ok()?;
        let upstream = value.try_get_i64().ok()?;
        let _downstream = value.try_get_i64().ok()?;
        Some(OffsetSync { topic, partition, upstream })
    }
}

impl Checkpoint {
    /// Version 0, the only one there is.
    pub(super) fn read(mut key: &[u8], mut value: &[u8]) -> Option<Checkpoint> {
        let group = string(&mut key)?;
        let topic = string(&mut key)?;
        let partition = key.try_get_i32().ok()?;
        if value.try_get_i16().ok()? != 0 {
            return None;
        }
        let upstream = value.try_get_i64().ok()?;
        let downstream = value.try_get_i64().ok()?;
        Some(Checkpoint { group, topic, partition, upstream, downstream })
    }
}

fn string(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layouts_are_those_of_mirror_maker() {
        let key = b"\x00\x01t\x00\x00\x00\x03";
        let value = b"\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x07";
        let expected = OffsetSync { topic: "t".into(), partition: 3, upstream: 9 };
        assert_eq!(OffsetSync::read(key, value), Some(expected));
        let key = b"\x00\x01g\x00\x01t\x00\x00\x00\x03";
        let value = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00";
        let (group, topic) = ("g".into(), "t".into());
        let expected = Checkpoint { group, topic, partition: 3, upstream: 9, downstream: 7 };
        assert_eq!(Checkpoint::read(key, value), Some(expected));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_bad(key in proptest::collection::vec(any::<u8>(), 0..40), value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = OffsetSync::read(&key, &value);
            let _ = Checkpoint::read(&key, &value);
        }
    }
}
