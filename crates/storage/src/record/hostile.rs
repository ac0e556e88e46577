//! Records that nobody wrote, or that a disk has damaged: each is a fault, and none a panic or a value.

#![allow(clippy::unwrap_used)]

use super::convert::{
    State, decode_entry, decode_identity, decode_snapshot, decode_state, encode_entry, encode_identity,
    encode_snapshot, encode_state,
};
use super::{Key, frame, unframe};
use crate::{Entry, Payload, SnapshotMeta, StoredMembership, Vote, log_id};
use bytes::Bytes;
use primacy_core::NodeId;
use proptest::collection::vec;
use proptest::prelude::*;

/// Reads a body as each kind of record.
fn read_as_all(body: &Bytes) {
    let _ = decode_state(body.clone());
    let _ = decode_entry(7, body.clone());
    let _ = decode_snapshot("snapshot", body.clone());
    let _ = decode_identity("identity", body.clone());
}

/// One good body of each kind.
fn good(term: u64, index: u64, data: &[u8]) -> Vec<Vec<u8>> {
    let id = log_id(term, index);
    let state = State { vote: Some(Vote::new(term, 1)), last: Some(id), ..State::default() };
    let meta = SnapshotMeta { last_log_id: Some(id), last_membership: StoredMembership::default() };
    vec![
        encode_state(&state),
        encode_entry(&Entry { log_id: id, payload: Payload::Blank }, 9).0,
        encode_snapshot(&meta, data),
        encode_identity("prod", NodeId(1), term),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in vec(any::<u8>(), 0..400)) {
        read_as_all(&Bytes::from(body.clone()));
        prop_assert!(unframe("r", b"key", &body).is_err(), "a checksum by chance");
        let _ = Key::parse(&body);
    }

    #[test]
    fn damaged_bodies_are_read_or_refused(
        (term, index) in (1_u64..1_000, 1_u64..1_000),
        data in vec(any::<u8>(), 0..40),
        which in 0_usize..4,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut body = good(term, index, &data).swap_remove(which);
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        read_as_all(&Bytes::from(body));
    }

    #[test]
    fn a_damaged_frame_is_never_opened(
        body in vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut value = frame(b"key", &body);
        prop_assert_eq!(unframe("r", b"key", &value).unwrap(), body);
        let at = at.index(value.len());
        value[at] ^= flip;
        prop_assert!(unframe("r", b"key", &value).is_err());
    }
}
