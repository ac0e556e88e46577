//! Stands in for records that are gone at the source, so that those that are still there get their own offsets: empty
//! records, deleted at once.

use super::Unaligned;
use super::context::{Context, Surveyed};

use crate::batch::{FILLER_KEY, filler};
use crate::calls::{Place, ReadError, Reader, WITHIN, delete_records};
use crate::link::{Lane, LinkError};
use crate::wire::produce;
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use std::collections::BTreeMap;

/// Offsets in one batch: half a megabyte, below the default of `max.message.bytes`.
const BATCH_MAX: i64 = 40_000;

/// Why the place could not be prepared.
pub(super) enum Failure {
    /// It never will be.
    Refused(Unaligned),
    /// It never will be, because what is before the source's first batch, which is at this offset, could not be deleted.
    NoFillers(i64, Unaligned),
    /// It may be later.
    Later(String),
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Failure::Later(error.to_string())
    }
}

/// Fills a partition of the target from its end `from` up to the batch at the source that holds `to`, and deletes what
/// is before that; where copying begins.
pub(super) async fn fill(
    context: &Context,
    surveyed: &Surveyed,
    place: &Place,
    from: i64,
    to: i64,
) -> Result<i64, Failure> {
    let (topic, partition) = place;
    let unknown = || LinkError::Api { code: 5, doing: format!("filling {topic}-{partition}") };
    let source = surveyed.source.leader(topic, *partition).ok_or_else(unknown)?;
    let target = surveyed.target.leader(topic, *partition).ok_or_else(unknown)?;
    let mut reader = Reader::new(&context.source, source, place, to);
    let to = match reader.peek().await {
        // A log may begin inside of a batch, which can be copied only as a whole.
        Ok(Some((header, _))) => header.base_offset.clamp(from, to),
        Ok(None) => to,
        Err(ReadError::Link(e)) => return Err(e.into()),
        Err(ReadError::Bad(bad, at)) => {
            return Err(Failure::Refused(super::judge::unreadable(*partition, at, bad)));
        }
    };
    tracing::info!(
        group = context.plan.group,
        %topic,
        partition,
        from,
        to,
        "the source begins later than the standby ends: filling the offsets between"
    );
    // Deletes nothing, and shows that what is about to be written can be deleted.
    let refused = |e: LinkError| refusal(&e, *partition, to);
    delete_records(&context.target, target, place, 0).await.map_err(refused)?;
    let mut next = from;
    let mut batch = Bytes::new();
    let mut size = 0;
    while next < to {
        let count = (to - next).min(BATCH_MAX);
        if count != size {
            let now = primacy_runtime::wall().0;
            let count = i32::try_from(count).unwrap_or(1);
            batch = filler(0, count, Some(FILLER_KEY), i64::try_from(now / 1000).unwrap_or(0)).freeze();
            size = i64::from(count);
        }
        if !context.plan.authority.holds() {
            return Err(Failure::Later("this mirror may not write now".into()));
        }
        append(context, target, place, next, batch.clone()).await?;
        next += size;
    }
    delete_records(&context.target, target, place, to).await.map_err(refused)?;
    Ok(next)
}

fn refusal(error: &LinkError, partition: i32, to: i64) -> Failure {
    match error.api() {
        Some(ResponseError::PolicyViolation) => Failure::NoFillers(
            to,
            Unaligned {
                partition: Some(partition),
                offset: Some(to),
                reason: format!(
                    "the source begins at {to}, and a topic that is only compacted cannot be made to"
                ),
                remedy: "add delete to its cleanup.policy until it is copied, or leave it out of `topics`"
                    .into(),
            },
        ),
        _ => Failure::Later(error.to_string()),
    }
}

async fn append(
    context: &Context,
    leader: i32,
    place: &Place,
    expected: i64,
    batch: Bytes,
) -> Result<(), Failure> {
    let (topic, partition) = place;
    let batches = BTreeMap::from([(&**topic, vec![(*partition, batch)])]);
    let connection = context.writer().lane(leader, Lane::Control).await?;
    let segments = produce::encode(&batches, 10_000);
    let answer = connection.begin(ApiKey::Produce, produce::VERSION, segments, WITHIN).await?.await?;
    let malformed = || LinkError::Protocol {
        address: connection.address().into(),
        reason: "a malformed answer to Produce".into(),
    };
    let produced =
        produce::decode(answer).map_err(|_| malformed())?.into_iter().next().ok_or_else(malformed)?;
    LinkError::check(produced.error, format!("filling {topic}-{partition}"))?;
    if produced.base_offset == expected {
        return Ok(());
    }
    Err(Failure::Refused(super::judge::stranger(*partition, expected, produced.base_offset)))
}
