//! Compares what both sides hold of a partition, batch by batch.

use super::judge::{self, Rejoin, Take};
use super::translation::Translation;
use super::{Gaps, Unaligned};
use crate::batch::{self, Header, Placed};
use crate::calls::{ReadError, Reader};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Why a comparison did not end well.
#[derive(Debug)]
pub(super) enum Difference {
    /// The sides differ.
    Found(Unaligned),
    /// It could not be carried out.
    Failed(ReadError),
}

impl From<ReadError> for Difference {
    fn from(error: ReadError) -> Self {
        Difference::Failed(error)
    }
}

/// Compares up to the offset `to`. Where gaps are filled, what the source has no record for is not compared.
pub(super) async fn compare(
    source: &mut Reader<'_>,
    target: &mut Reader<'_>,
    partition: i32,
    (from, to): (i64, i64),
    gaps: Gaps,
) -> Result<(), Difference> {
    let mut next = from;
    while next < to {
        let Some((theirs, bytes)) = source.peek().await?.cloned() else {
            let what = "the source holds nothing there";
            return Err(Difference::Found(judge::differs(partition, next, what)));
        };
        match judge::take(partition, theirs.base_offset.max(next), &theirs, gaps, false, false) {
            Take::Copy | Take::CopyRest(_) | Take::Skip if gaps == Gaps::Refuse || theirs.is_dense() => {
                skip_until(target, theirs.base_offset, gaps).await?;
                let Some(ours) = target.peek().await? else {
                    return Err(Difference::Found(judge::differs(
                        partition,
                        next,
                        "the standby holds nothing there",
                    )));
                };
                if !same(&theirs, &bytes, ours) {
                    next = by_record(source, target, partition, next, to).await?;
                    continue;
                }
                target.advance();
            }
            Take::Refuse(why) if theirs.base_offset >= next => return Err(Difference::Found(why)),
            _ => {}
        }
        next = theirs.end();
        source.advance();
    }
    Ok(())
}

/// What both sides hold, brought together.
pub(super) struct Rejoined {
    /// From where the source is copied on.
    pub(super) next: i64,
    pub(super) translation: Option<Translation>,
}

/// Goes along both sides up to the target's end, where gaps of the source are left out. Before the first gap both must
/// be equal. Behind it the target must hold what this mirror wrote, and what of that cannot be found at the source is
/// taken for something that has to be copied again.
pub(super) async fn rejoin(
    source: &mut Reader<'_>,
    target: &mut Reader<'_>,
    partition: i32,
    rejoin: Rejoin,
    producer_id: i64,
) -> Result<Rejoined, Difference> {
    let Rejoin { source: mut next, target: mut at, to, mut translation } = rejoin;
    while at < to {
        let Some((ours, held)) = target.peek().await?.cloned() else { break };
        if translation.is_some() && ours.producer_id != producer_id {
            return Err(Difference::Found(judge::stranger(partition, ours.base_offset, to)));
        }
        let Some((theirs, bytes)) = follow(source, partition, &mut next, &mut translation, at).await? else {
            if translation.is_some() {
                break;
            }
            let what = "the source holds nothing there";
            return Err(Difference::Found(judge::differs(partition, next, what)));
        };
        let Some(known) = &mut translation else {
            if !same(&theirs, &bytes, &(ours, held)) {
                next = by_record(source, target, partition, next, to).await?;
                at = next;
                continue;
            }
            (next, at) = (theirs.end(), ours.end());
            source.advance();
            target.advance();
            continue;
        };
        let timestamps = !ours.is_stamped_by_broker() && !theirs.is_stamped_by_broker();
        let thinned = !theirs.is_dense();
        let wanted = if thinned { batch::condense(&theirs, &bytes).map(BytesMut::freeze) } else { Ok(bytes) };
        let wanted = wanted.map_err(|bad| ReadError::Bad(bad, theirs.base_offset))?;
        if batch::digest(&wanted, timestamps) != batch::digest(&held, timestamps) {
            tracing::warn!(
                partition,
                source = theirs.base_offset,
                target = at,
                to,
                "what the standby holds there cannot be found at the source, and is copied again"
            );
            break;
        }
        if thinned {
            known.note_thinned(theirs.base_offset, theirs.end(), ours.base_offset, i64::from(theirs.count));
        } else {
            known.note(theirs.base_offset, ours.base_offset, i64::from(theirs.count));
        }
        (next, at) = (theirs.end(), ours.end());
        source.advance();
        target.advance();
    }
    Ok(Rejoined { next, translation })
}

/// The source's next batch with records that are committed, at `at` on the target if there was no gap before.
async fn follow(
    source: &mut Reader<'_>,
    partition: i32,
    next: &mut i64,
    translation: &mut Option<Translation>,
    at: i64,
) -> Result<Option<(Header, Bytes)>, Difference> {
    while let Some((theirs, bytes)) = source.peek().await?.cloned() {
        let moved = translation.is_some();
        let from = if moved { *next } else { theirs.base_offset.max(*next) };
        match judge::take(partition, from, &theirs, Gaps::Translate, source.is_hidden(), moved) {
            Take::LeaveOut(end) if end == theirs.end() => {
                translation.get_or_insert_with(|| Translation::equal_up_to(at));
                *next = end;
                source.advance();
            }
            Take::Refuse(why) => return Err(Difference::Found(why)),
            Take::Skip => source.advance(),
            Take::LeaveOut(_) | Take::Condense => {
                translation.get_or_insert_with(|| Translation::equal_up_to(at));
                return Ok(Some((theirs, bytes)));
            }
            Take::Copy | Take::CopyRest(_) | Take::FillBefore(_) | Take::FillInstead(_) | Take::Rebuild => {
                return Ok(Some((theirs, bytes)));
            }
        }
    }
    Ok(None)
}

/// Goes past fillers that stand before a batch.
async fn skip_until(target: &mut Reader<'_>, offset: i64, gaps: Gaps) -> Result<(), ReadError> {
    while gaps == Gaps::Fill && target.peek().await?.is_some_and(|(header, _)| header.end() <= offset) {
        target.advance();
    }
    Ok(())
}

/// Whether two batches are equal, as far as a checksum over all of them tells.
fn same(theirs: &Header, bytes: &[u8], (ours, held): &(Header, Bytes)) -> bool {
    let timestamps = !ours.is_stamped_by_broker() && !theirs.is_stamped_by_broker();
    (ours.base_offset, ours.end()) == (theirs.base_offset, theirs.end())
        && batch::digest(bytes, timestamps) == batch::digest(held, timestamps)
}

/// Records of one side that the other has not come to yet.
#[derive(Default)]
struct Ahead {
    records: VecDeque<Placed>,
    stamped: bool,
}

impl Ahead {
    /// Takes the next batch, from `next` on; false at the end of the log.
    async fn refill(&mut self, reader: &mut Reader<'_>, next: i64) -> Result<bool, ReadError> {
        let Some((header, bytes)) = reader.peek().await?.cloned() else { return Ok(false) };
        let placed = batch::placed(&header, &bytes).map_err(|bad| ReadError::Bad(bad, header.base_offset))?;
        let visible = placed.into_iter().filter(|record| record.offset >= next && !header.is_control());
        self.records.extend(visible);
        self.stamped = header.is_stamped_by_broker();
        reader.advance();
        Ok(true)
    }
}

/// Compares record by record where batches are not the same: other clients, or another compression, may have put the same
/// records into other batches. Returns where both sides come to the end of a batch at once, or the target ends.
async fn by_record(
    source: &mut Reader<'_>,
    target: &mut Reader<'_>,
    partition: i32,
    mut next: i64,
    to: i64,
) -> Result<i64, Difference> {
    let differs = |offset, what: &str| Difference::Found(judge::differs(partition, offset, what));
    let (mut theirs, mut ours) = (Ahead::default(), Ahead::default());
    loop {
        if ours.records.is_empty() && next < to && !ours.refill(target, next).await? {
            return Err(differs(next, "the standby holds nothing there"));
        }
        if theirs.records.is_empty() && !theirs.refill(source, next).await? {
            return Err(differs(next, "the source holds nothing there"));
        }
        while let (Some(a), Some(b)) = (theirs.records.front(), ours.records.front()) {
            let timestamps = !ours.stamped && !theirs.stamped;
            if a.offset != b.offset || a.body != b.body || (timestamps && a.timestamp != b.timestamp) {
                return Err(differs(a.offset.min(b.offset), "its records differ"));
            }
            next = a.offset + 1;
            theirs.records.pop_front();
            ours.records.pop_front();
        }
        if ours.records.is_empty() && (theirs.records.is_empty() || next >= to) {
            return Ok(next);
        }
    }
}
