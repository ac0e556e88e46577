#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;

/// The byte at offset `n`.
fn byte(n: u64) -> u8 {
    (n % 251) as u8
}

fn stretch(from: u64, to: u64) -> Vec<u8> {
    (from + 1..=to).map(byte).collect()
}

fn all_after(tail: &Tail, mut from: u64, step: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Read::Bytes(some) = tail.read(from, step) {
        assert!(!some.is_empty() && some.len() <= step);
        from += some.len() as u64;
        bytes.extend_from_slice(&some);
    }
    bytes
}

#[test]
fn bytes_come_back_as_they_came_and_the_oldest_go() {
    let max = 3 * BLOCK_BYTES as u64;
    let tail = Tail::new("a".into(), 1000, max);
    let mut end = 1000;
    for step in [1, 7, 100_000, 300_000, 5, 900_000, 262_144, 3] {
        tail.append(end, &stretch(end, end + step)).unwrap();
        end += step;
        assert_eq!(tail.end(), end);
        assert_eq!(tail.start(), 1000.max(end.saturating_sub(max)));
        assert_eq!(all_after(&tail, tail.start(), 70_001), stretch(tail.start(), end));
    }
    assert_eq!(tail.read(999, 1), Read::Gone { start: tail.start() });
    assert_eq!(tail.read(end + 1, 1), Read::Ahead { end });
    let kept = tail.kept();
    let memory: usize = kept.blocks.iter().map(|(_, b)| b.len()).sum::<usize>() + kept.open.len();
    assert!(memory <= max as usize + 2 * BLOCK_BYTES, "{memory}");
}

#[test]
fn what_does_not_follow_is_refused() {
    let tail = Tail::new("a".into(), 10, 100);
    assert_eq!(tail.append(9, b"x"), Err(TailGap::Elsewhere { at: 9, end: 10 }));
    assert_eq!(tail.append(11, b"x"), Err(TailGap::Elsewhere { at: 11, end: 10 }));
    tail.append(10, b"xy").unwrap();
    let mut progress = tail.progress();
    assert_eq!(tail.read(12, 9), Read::AtEnd);
    assert_eq!((tail.seal(), tail.seal(), tail.sealed()), (12, 12, true));
    assert!(progress.has_changed() && *progress.borrow_and_update() == 12);
    assert_eq!(tail.append(12, b"z"), Err(TailGap::Sealed { end: 12 }));
    assert_eq!(tail.read(12, 9), Read::Sealed);
    assert_eq!(tail.read(10, 9), Read::Bytes(Bytes::from_static(b"xy")));
}

#[test]
fn another_history_is_another_tail() {
    let old = Tail::new("a".into(), 0, 1000);
    old.append(0, b"common").unwrap();
    let new = old.continued_as("b".into());
    new.append(6, b" and new").unwrap();
    assert!(old.sealed() && old.append(6, b"x").is_err());
    assert_eq!((old.end(), old.replid(), new.replid()), (6, "a".to_owned(), "b".to_owned()));
    assert_eq!(all_after(&old, 0, 100), b"common");
    assert_eq!(all_after(&new, 0, 100), b"common and new");
}

#[tokio::test]
async fn a_socket_is_read_into_it() {
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;
    let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
    let tail = Tail::new("a".into(), 0, 1 << 20);
    theirs.write_all(&stretch(0, 600_000)).await.unwrap();
    drop(theirs);
    while poll_fn(|cx| tail.poll_fill(cx, &mut ours)).await.unwrap() > 0 {}
    assert_eq!(all_after(&tail, 0, 100_000), stretch(0, 600_000));
    tail.seal();
    assert!(poll_fn(|cx| tail.poll_fill(cx, &mut ours)).await.is_err());
}
