//! The decisions of a mirror, apart from everything that acts on them.
//!
//! A record that is copied to another offset than its own cannot be taken back: a log only grows. So each question here
//! is answered "leave the topic alone" unless the facts say that the copy is exact.

use super::translation::Translation;
use super::{Gaps, Unaligned};
use crate::batch::{BadBatch, Header};
use kafka_protocol::error::ResponseError;
use uuid::Uuid;

/// What both sides hold of a partition before it is copied.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) source_id: Uuid,
    pub(super) target_id: Uuid,
    pub(super) source_start: i64,
    pub(super) source_end: i64,
    pub(super) target_start: i64,
    /// What all of the target's replicas have.
    pub(super) target_end: i64,
    /// What its leader has.
    pub(super) target_log_end: i64,
    pub(super) kept: Option<Kept>,
}

/// What the mirror wrote down about a partition: up to `offset`, the two topics of these ids are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) source_id: Uuid,
    pub(super) target_id: Uuid,
    pub(super) offset: i64,
    /// If they are not, because there are gaps: how they correspond.
    pub(super) moved: Option<Moved>,
}

/// How a partition corresponds to one whose gaps are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// How far the source was copied.
    pub(super) reached: i64,
    pub(super) translation: Translation,
}

impl Kept {
    /// As the metadata of a committed offset.
    pub(super) fn metadata(&self) -> String {
        let ids = format!("{} {}", self.source_id, self.target_id);
        match &self.moved {
            None => format!("aligned {ids}"),
            Some(moved) => format!("translated {ids} {} {}", moved.reached, moved.translation.write()),
        }
    }

    /// Reads a committed offset with its metadata; none if somebody else wrote it.
    pub(super) fn read(offset: i64, metadata: &str) -> Option<Kept> {
        let mut words = metadata.split(' ');
        let moves = match words.next()? {
            "aligned" => false,
            "translated" => true,
            _ => return None,
        };
        let source_id = Uuid::parse_str(words.next()?).ok()?;
        let target_id = Uuid::parse_str(words.next()?).ok()?;
        let moved = if moves {
            let reached = words.next()?.parse().ok()?;
            Some(Moved { reached, translation: Translation::read(words.next()?)? })
        } else {
            None
        };
        words.next().is_none().then_some(Kept { source_id, target_id, offset, moved })
    }
}

/// How a partition begins to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// The target's replicas do not agree yet on where its log ends.
    Wait,
    /// Compare what both sides hold from `from` to `to`, then copy from `to`.
    Verify { from: i64, to: i64 },
    /// Copy from here.
    Copy(i64),
    /// Behind gaps: compare what the target holds beyond what was written down, then copy on.
    Rejoin(Rejoin),
    /// The target ends at `from` and the source begins at `to`: records that are gone at the source have to be stood
    /// in for.
    Fill { from: i64, to: i64 },
    /// Leave it alone.
    Refuse(Unaligned),
}

/// From where on what both sides hold has to be brought together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejoin {
    pub(super) source: i64,
    pub(super) target: i64,
    /// Where the target ends.
    pub(super) to: i64,
    /// How what is before corresponds; none where both sides are equal.
    pub(super) translation: Option<Translation>,
}

/// Decides how a partition begins to be copied.
pub(super) fn begin(partition: i32, facts: &Facts, gaps: Gaps) -> Beginning {
    let end = facts.target_log_end;
    if facts.target_end != end {
        return Beginning::Wait;
    }
    let kept = facts.kept.as_ref().filter(|kept| kept.target_id == facts.target_id);
    if kept.is_some_and(|kept| kept.source_id != facts.source_id) && end > 0 {
        return Beginning::Refuse(recreated(Some(partition)));
    }
    if let Some((kept, moved)) = kept.and_then(|kept| Some((kept, kept.moved.as_ref()?))).filter(|_| end > 0)
    {
        if gaps != Gaps::Translate {
            return Beginning::Refuse(without_gaps(partition, moved.translation.first_gap()));
        }
        let mut translation = moved.translation.clone();
        let reached = if kept.offset > end { translation.cut(end) } else { moved.reached };
        return Beginning::Rejoin(Rejoin {
            source: reached.max(facts.source_start),
            target: kept.offset.min(end).max(facts.target_start),
            to: end,
            translation: Some(translation),
        });
    }
    if end > facts.source_end {
        return Beginning::Refuse(Unaligned {
            partition: Some(partition),
            offset: Some(facts.source_end),
            reason: format!(
                "the standby holds records up to {end} and the source ends at {}: either somebody else wrote to the \
                 standby, or the source lost what it had",
                facts.source_end
            ),
            remedy: COPY_ANEW.into(),
        });
    }
    // What was verified once stays so: logs only grow. What the target lost of it is copied again.
    let verified = kept.map_or(0, |kept| kept.offset);
    let from = verified.max(facts.target_start).max(facts.source_start);
    if from < end {
        return match gaps {
            Gaps::Translate => {
                Beginning::Rejoin(Rejoin { source: from, target: from, to: end, translation: None })
            }
            Gaps::Refuse | Gaps::Fill => Beginning::Verify { from, to: end },
        };
    }
    if facts.source_start > end {
        Beginning::Fill { from: end, to: facts.source_start }
    } else {
        Beginning::Copy(end)
    }
}

const FILL: &str = "write gaps = \"translate\", or accept empty records in their place with gaps = \"fill\"";

const COPY_ANEW: &str = "delete the topic on the standby, and the mirror copies it anew";

/// A topic of the same name that is another one.
pub(super) fn recreated(partition: Option<i32>) -> Unaligned {
    Unaligned {
        partition,
        offset: None,
        reason: "the topic was deleted and created again at the source".into(),
        remedy: COPY_ANEW.into(),
    }
}

/// It was copied without its gaps, and that is not wanted any more.
fn without_gaps(partition: i32, offset: i64) -> Unaligned {
    Unaligned {
        partition: Some(partition),
        offset: Some(offset),
        reason: "from there on its records have other offsets on the standby".into(),
        remedy: format!("write gaps = \"translate\"; or {COPY_ANEW}"),
    }
}

/// Both sides hold something else at an offset.
pub(super) fn differs(partition: i32, offset: i64, what: &str) -> Unaligned {
    Unaligned {
        partition: Some(partition),
        offset: Some(offset),
        reason: format!("what the standby holds is not what the source holds: {what}"),
        remedy: COPY_ANEW.into(),
    }
}

/// Somebody else's records on the standby.
pub(super) fn stranger(partition: i32, offset: i64, until: i64) -> Unaligned {
    Unaligned {
        partition: Some(partition),
        offset: Some(offset),
        reason: format!("{} records there were written by somebody else than the mirror", until - offset),
        remedy: format!(
            "find who writes to the standby and take the right away; read what is worth keeping, then {COPY_ANEW}"
        ),
    }
}

/// What becomes of a batch that the source gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Nothing: it was copied before.
    Skip,
    /// It follows what was copied last.
    Copy,
    /// The first so many of its records are there already: copy the others.
    CopyRest(i32),
    /// Leave out the offsets before this one, which have no record; then ask again where the batch ends later.
    LeaveOut(i64),
    /// Some of its offsets have no record: it has to be written anew without them.
    Condense,
    /// So many offsets before it have no record: fill them, then ask again.
    FillBefore(i64),
    /// It has no records that consumers see: fill its offsets.
    FillInstead(i64),
    /// Some of its offsets have no record: it has to be written anew, with fillers.
    Rebuild,
    /// Leave the topic alone.
    Refuse(Unaligned),
}

/// Decides what becomes of a batch, when `next` is the offset that must come next. `aborted` says that its
/// transaction was, and `moved` that offsets differ already.
pub(super) fn take(
    partition: i32,
    next: i64,
    batch: &Header,
    gaps: Gaps,
    aborted: bool,
    moved: bool,
) -> Take {
    if batch.end() <= next {
        return Take::Skip;
    }
    let empty = batch.is_control() || aborted || batch.count == 0;
    let refuse = |reason: String, remedy: &str| {
        Take::Refuse(Unaligned {
            partition: Some(partition),
            offset: Some(next),
            reason,
            remedy: remedy.into(),
        })
    };
    let in_hand = next - batch.base_offset;
    let plain = batch.is_dense() && !empty && (gaps != Gaps::Refuse || !batch.is_transactional());
    if in_hand > 0 && plain && !moved {
        return i32::try_from(in_hand).map_or(Take::Copy, Take::CopyRest);
    }
    if in_hand > 0 && !(moved && gaps == Gaps::Translate) {
        return refuse(
            format!(
                "the standby ends inside the batch {} to {} of the source",
                batch.base_offset,
                batch.end() - 1
            ),
            COPY_ANEW,
        );
    }
    let missing = batch.base_offset - next;
    let count = i64::from(batch.last_offset_delta) + 1;
    match gaps {
        Gaps::Refuse if batch.is_transactional() || batch.is_control() => refuse(
            "it is written in transactions, whose markers take up offsets that nobody can write".into(),
            FILL,
        ),
        Gaps::Refuse if missing > 0 || !batch.is_dense() => {
            refuse("offsets without a record, as compaction leaves them, cannot be copied".into(), FILL)
        }
        Gaps::Translate if empty => Take::LeaveOut(batch.end()),
        Gaps::Translate if missing > 0 => Take::LeaveOut(batch.base_offset),
        Gaps::Translate if !batch.is_dense() => Take::Condense,
        Gaps::Fill if missing > 0 => Take::FillBefore(missing),
        Gaps::Fill if empty => Take::FillInstead(count),
        Gaps::Fill if !batch.is_dense() => Take::Rebuild,
        Gaps::Translate | Gaps::Refuse | Gaps::Fill => Take::Copy,
    }
}

/// A batch that cannot be read.
pub(super) fn unreadable(partition: i32, offset: i64, bad: BadBatch) -> Unaligned {
    let remedy = match bad {
        BadBatch::OldFormat(_) => {
            "write the topic anew with clients of Kafka 0.11 or later, or leave it out of `topics`"
        }
        BadBatch::Malformed | BadBatch::Corrupt => "look into the source broker's disk and log",
    };
    Unaligned {
        partition: Some(partition),
        offset: Some(offset),
        reason: format!("the source gave {bad}"),
        remedy: remedy.into(),
    }
}

/// What an acknowledgement means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// The batch is at its offset.
    Taken,
    /// Send it again, the same.
    Again,
    /// The broker and the mirror disagree on what it holds: look again at where it ends.
    Resync,
    /// A newer owner writes: stop everything.
    Fenced,
    /// It will not be taken as it is.
    Refuse(Unaligned),
}

/// Judges the answer to a batch that belongs at `expected`.
pub(super) fn acknowledged(partition: i32, expected: i64, error: i16, base: i64, words: Option<&str>) -> Ack {
    let Some(error) = ResponseError::try_from_code(error) else {
        if base == expected {
            return Ack::Taken;
        }
        if base > expected {
            return Ack::Refuse(stranger(partition, expected, base));
        }
        return Ack::Refuse(Unaligned {
            partition: Some(partition),
            offset: Some(base),
            reason: format!(
                "the standby put the record of offset {expected} at {base}: it lost what it had acknowledged"
            ),
            remedy: COPY_ANEW.into(),
        });
    };
    match error {
        ResponseError::OutOfOrderSequenceNumber
        | ResponseError::UnknownProducerId
        | ResponseError::DuplicateSequenceNumber
        | ResponseError::InvalidProducerIdMapping => Ack::Resync,
        ResponseError::InvalidProducerEpoch | ResponseError::ProducerFenced => Ack::Fenced,
        error if error.is_retriable() && error != ResponseError::CorruptMessage => Ack::Again,
        // A missing right is given, a full disk emptied, and a limit raised, while the mirror waits.
        ResponseError::TopicAuthorizationFailed
        | ResponseError::ClusterAuthorizationFailed
        | ResponseError::MessageTooLarge
        | ResponseError::InvalidTimestamp => Ack::Again,
        error => Ack::Refuse(Unaligned {
            partition: Some(partition),
            offset: Some(expected),
            reason: format!(
                "the standby does not take the batch: {}",
                words.map_or_else(|| error.to_string(), |w| format!("{error}: {w}"))
            ),
            remedy: "look into the standby's log".into(),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    /// The source holds 10 to 100, and the target as much from the beginning as is given.
    fn facts(target_end: i64, kept: Option<(Uuid, i64)>) -> Facts {
        Facts {
            source_id: A,
            target_id: B,
            source_start: 10,
            source_end: 100,
            target_start: 0,
            target_end,
            target_log_end: target_end,
            kept: kept.map(|(source_id, offset)| Kept { source_id, target_id: B, offset, moved: None }),
        }
    }

    fn begin(partition: i32, facts: &Facts) -> Beginning {
        super::begin(partition, facts, Gaps::Refuse)
    }

    fn refused(beginning: Beginning) -> String {
        match beginning {
            Beginning::Refuse(why) => why.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_partition_begins_where_the_target_ends() {
        assert_eq!(begin(0, &facts(0, None)), Beginning::Fill { from: 0, to: 10 });
        assert_eq!(begin(0, &facts(5, Some((A, 5)))), Beginning::Fill { from: 5, to: 10 });
        assert_eq!(begin(0, &facts(60, Some((A, 60)))), Beginning::Copy(60));
        assert_eq!(begin(0, &facts(100, Some((A, 100)))), Beginning::Copy(100));
    }

    #[test]
    fn what_is_not_known_to_be_equal_is_compared() {
        assert_eq!(begin(0, &facts(60, None)), Beginning::Verify { from: 10, to: 60 });
        assert_eq!(begin(0, &facts(60, Some((A, 40)))), Beginning::Verify { from: 40, to: 60 });
    }

    #[test]
    fn what_the_target_lost_is_copied_again() {
        assert_eq!(begin(0, &facts(40, Some((A, 60)))), Beginning::Copy(40));
    }

    #[test]
    fn replicas_that_do_not_agree_are_waited_for() {
        assert_eq!(begin(0, &Facts { target_log_end: 61, ..facts(60, None) }), Beginning::Wait);
    }

    #[test]
    fn more_than_the_source_has_is_refused() {
        let why = refused(begin(3, &facts(101, None)));
        assert!(why.starts_with("partition 3, offset 100: the standby holds records up to 101"), "{why}");
    }

    #[test]
    fn a_topic_created_again_is_told_from_a_standby_s_new_one() {
        assert!(
            refused(begin(0, &facts(60, Some((Uuid::nil(), 60))))).contains("created again at the source")
        );
        // Deleted on the standby, as the remedy says: what was written down is of another topic.
        let kept = Some(Kept { source_id: Uuid::nil(), target_id: Uuid::nil(), offset: 60, moved: None });
        assert_eq!(begin(0, &Facts { kept, ..facts(0, None) }), Beginning::Fill { from: 0, to: 10 });
    }

    #[test]
    fn what_is_written_down_comes_back() {
        let kept = Kept { source_id: A, target_id: B, offset: 7, moved: None };
        assert_eq!(Kept::read(7, &kept.metadata()), Some(kept));
        let kept = behind_gaps(90, 60);
        assert_eq!(Kept::read(60, &kept.metadata()), Some(kept));
        for other in ["", "aligned", "aligned x y", "translated x y 4 0:0:1", "somebody's metadata"] {
            assert_eq!(Kept::read(7, other), None, "{other}");
        }
    }

    /// All up to `reached` is copied, and the target ends at `offset`; both are equal up to 50.
    fn behind_gaps(reached: i64, offset: i64) -> Kept {
        let mut translation = Translation::equal_up_to(50);
        translation.note(reached - (offset - 50), 50, offset - 50);
        Kept { source_id: A, target_id: B, offset, moved: Some(Moved { reached, translation }) }
    }

    #[test]
    fn behind_gaps_the_target_is_rejoined_from_what_was_written_down() {
        let of = |target_end, gaps| {
            let facts = Facts { kept: Some(behind_gaps(90, 60)), ..facts(target_end, None) };
            super::begin(0, &facts, gaps)
        };
        for (end, source, target) in [(60, 90, 60), (70, 90, 60), (55, 85, 55)] {
            match of(end, Gaps::Translate) {
                Beginning::Rejoin(rejoin) => {
                    assert_eq!((rejoin.source, rejoin.target, rejoin.to), (source, target, end));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(refused(of(60, Gaps::Refuse)).contains("offset 50"));
    }

    #[test]
    fn gaps_are_left_out_where_offsets_are_translated() {
        let take = |header: Header, aborted| take(0, 50, &header, Gaps::Translate, aborted, true);
        assert_eq!(take(batch(50, 9, 10, TRANSACTIONAL), false), Take::Copy);
        assert_eq!(take(batch(50, 9, 10, TRANSACTIONAL), true), Take::LeaveOut(60));
        assert_eq!(take(batch(50, 0, 1, MARKER), false), Take::LeaveOut(51));
        assert_eq!(take(batch(53, 9, 10, PLAIN), false), Take::LeaveOut(53));
        assert_eq!(take(batch(50, 9, 7, PLAIN), false), Take::Condense);
        assert_eq!(take(batch(50, 9, 0, PLAIN), false), Take::LeaveOut(60));
        // Where a target lost its end, the batch that it ended in is copied again.
        assert_eq!(take(batch(45, 9, 10, PLAIN), false), Take::Copy);
    }

    fn batch(base_offset: i64, last_offset_delta: i32, count: i32, attributes: i16) -> Header {
        Header {
            base_offset,
            size: 100,
            attributes,
            last_offset_delta,
            max_timestamp: 0,
            producer_id: 1,
            count,
        }
    }

    const PLAIN: i16 = 0;
    const TRANSACTIONAL: i16 = 0x10;
    const MARKER: i16 = 0x30;

    #[test]
    fn batches_follow_each_other_without_a_gap() {
        let take = |header: Header| take(0, 50, &header, Gaps::Refuse, false, false);
        assert_eq!(take(batch(50, 9, 10, PLAIN)), Take::Copy);
        assert_eq!(take(batch(40, 9, 10, PLAIN)), Take::Skip);
        assert_eq!(take(batch(45, 9, 10, PLAIN)), Take::CopyRest(5));
        for (header, reason) in [
            (batch(45, 9, 7, PLAIN), "ends inside the batch"),
            (batch(51, 9, 10, PLAIN), "compaction"),
            (batch(50, 9, 7, PLAIN), "compaction"),
            (batch(50, 9, 10, TRANSACTIONAL), "transactions"),
            (batch(50, 0, 1, MARKER), "transactions"),
        ] {
            match take(header) {
                Take::Refuse(why) => assert!(why.reason.contains(reason), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn gaps_are_filled_where_that_is_accepted() {
        let take = |header: Header, aborted| take(0, 50, &header, Gaps::Fill, aborted, false);
        assert_eq!(take(batch(50, 9, 10, TRANSACTIONAL), false), Take::Copy);
        assert_eq!(take(batch(50, 9, 10, TRANSACTIONAL), true), Take::FillInstead(10));
        assert_eq!(take(batch(50, 0, 1, MARKER), false), Take::FillInstead(1));
        assert_eq!(take(batch(53, 9, 10, PLAIN), false), Take::FillBefore(3));
        assert_eq!(take(batch(50, 9, 7, PLAIN), false), Take::Rebuild);
        assert_eq!(take(batch(50, 9, 0, PLAIN), false), Take::FillInstead(10));
    }

    #[test]
    fn an_acknowledgement_counts_at_its_own_offset_alone() {
        let ack = |error, base| acknowledged(2, 500, error, base, None);
        assert_eq!(ack(0, 500), Ack::Taken);
        for (base, words) in
            [(503, "3 records there were written by somebody else"), (497, "lost what it had")]
        {
            match ack(0, base) {
                Ack::Refuse(why) => assert!(why.reason.contains(words), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn errors_are_told_apart_by_what_to_do() {
        let ack = |error| acknowledged(2, 500, error, -1, None);
        // Another leader, too few replicas, a full disk, a missing right, limits.
        for error in [6, 19, 56, 29, 10, 32] {
            assert_eq!(ack(error), Ack::Again, "{error}");
        }
        assert_eq!([ack(45), ack(46), ack(59)], [Ack::Resync, Ack::Resync, Ack::Resync]);
        assert_eq!([ack(47), ack(90)], [Ack::Fenced, Ack::Fenced]);
        for error in [87, 2] {
            assert!(matches!(ack(error), Ack::Refuse(_)), "{error}");
        }
    }
}
