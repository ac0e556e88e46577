//! Compares what both sides hold of a partition, batch by batch.

use super::judge::{self, Take};

use super::{Gaps, Unaligned};
use crate::batch::{self, Header};
use crate::calls::{ReadError, Reader};
use bytes::Bytes;

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
        match judge::take(partition, theirs.base_offset.max(next), &theirs, gaps, false) {
            Take::Copy | Take::Skip if gaps == Gaps::Refuse || theirs.is_dense() => {
                skip_until(target, theirs.base_offset, gaps).await?;
                let Some(ours) = target.peek().await? else {
                    return Err(Difference::Found(judge::differs(
                        partition,
                        next,
                        "the standby holds nothing there",
                    )));
                };
                same(partition, &theirs, &bytes, ours).map_err(Difference::Found)?;
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

/// Goes past fillers that stand before a batch.
async fn skip_until(target: &mut Reader<'_>, offset: i64, gaps: Gaps) -> Result<(), ReadError> {
    while gaps == Gaps::Fill && target.peek().await?.is_some_and(|(header, _)| header.end() <= offset) {
        target.advance();
    }
    Ok(())
}

fn same(partition: i32, theirs: &Header, bytes: &[u8], ours: &(Header, Bytes)) -> Result<(), Unaligned> {
    let (header, held) = ours;
    if header.base_offset != theirs.base_offset || header.end() != theirs.end() {
        let what = format!(
            "a batch from {} to {} at the source, from {} to {} on the standby",
            theirs.base_offset,
            theirs.end() - 1,
            header.base_offset,
            header.end() - 1
        );
        return Err(judge::differs(partition, theirs.base_offset, &what));
    }
    let timestamps = !header.is_stamped_by_broker() && !theirs.is_stamped_by_broker();
    if batch::digest(bytes, timestamps) != batch::digest(held, timestamps) {
        let what = "the checksums of its records differ";
        return Err(judge::differs(partition, theirs.base_offset, what));
    }
    Ok(())
}
