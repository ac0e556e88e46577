//! Copies the offsets of consumer groups, twice a second and when asked.
//!
//! A group's offset means the same record on both sides, because records have the same offsets there; but it must not
//! be beyond what the target holds, or consumers would start over. Behind gaps it is translated. A group that is gone at the source is not written
//! again, and what the target still has of it is left to its own retention.

use super::context::Context;
use super::{GroupStatus, MirrorStatus};
use crate::calls::{Committed, Listed, Place, commit, committed, create_consumer_group, groups};
use crate::link::{LinkError, Wanted};
use futures::StreamExt;
use kafka_protocol::error::ResponseError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const EVERY: Duration = Duration::from_millis(500);

/// What is being done, in the words of the status.
const LISTING: &str = "listing consumer groups";

/// Groups that are read or written at once.
const AT_ONCE: usize = 16;

/// Somebody who waits until all offsets are copied.
pub(super) type Ask = oneshot::Sender<Result<(), LinkError>>;

/// What is known to be on the target, so that only changes are written.
#[derive(Default)]
struct Copied {
    /// Whether the groups could be listed last time; what fails later is told of the group.
    listed: bool,
    offsets: BTreeMap<String, BTreeMap<Place, Both>>,
    made: BTreeSet<String>,
}

/// An offset at the source, and what it is on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Both {
    source: i64,
    target: Committed,
}

impl Both {
    /// Whether this says more than what was written: of the same offset a translation may know less than it did.
    fn is_news_after(&self, known: &Both) -> bool {
        let same_record = self.source == known.source && self.target.metadata == known.target.metadata;
        if same_record { self.target.offset > known.target.offset } else { self != known }
    }
}

/// Copies until it is dropped.
pub(super) async fn run(context: Arc<Context>, mut asked: mpsc::Receiver<Ask>) {
    let mut copied = Copied::default();
    loop {
        let ask = tokio::select! {
            biased;
            ask = asked.recv() => match ask {
                Some(ask) => Some(ask),
                None => return,
            },
            () = tokio::time::sleep(EVERY) => None,
        };
        let outcome = copy(&context, &mut copied).await;
        if let Err(e) = &outcome {
            tracing::debug!(group = context.plan.group, "copying group offsets: {e}");
        }
        if context.plan.authority.holds() {
            context.tell(LISTING, outcome.as_ref().err().filter(|_| !copied.listed));
        }
        if let Some(ask) = ask {
            // Who asked may have gone away.
            let _ = ask.send(outcome);
        }
    }
}

async fn copy(context: &Context, copied: &mut Copied) -> Result<(), LinkError> {
    let plan = &context.plan;
    context.may_write()?;
    copied.listed = false;
    let brokers = context.source.topology(Wanted::None).await?.brokers;
    let mut found = groups(&context.source, brokers.into_keys()).await?;
    copied.listed = true;
    found.retain(|name, _| plan.groups.match_group(name));
    copied.offsets.retain(|name, _| found.contains_key(name));
    // What the target holds is looked at before the offsets are read, so that none is clamped more than it must be.
    let mut statuses = BTreeMap::new();
    let mut failure = None;
    let read = futures::stream::iter(found).map(|(name, listed)| async move {
        let offsets = committed(&context.source, &name).await;
        (name, listed, offsets)
    });
    let mut read = std::pin::pin!(read.buffer_unordered(AT_ONCE));
    let mut due = Vec::new();
    while let Some((name, listed, offsets)) = read.next().await {
        let held = context.status.borrow().clone();
        match offsets {
            Ok(offsets) => {
                let translate = |place: &Place, offset| {
                    let translation = context.translation(place)?;
                    Some(translation.lock().unwrap_or_else(PoisonError::into_inner).floor(offset))
                };
                let (clamped, status) = clamp(offsets, &held, translate);
                statuses.insert(name.clone(), status);
                due.push((name, listed, clamped));
            }
            Err(e) => {
                statuses.insert(name, GroupStatus { problem: Some(describe(&e)), ..GroupStatus::default() });
                failure = Some(e);
            }
        }
    }
    let mut writes = Vec::new();
    for (name, listed, clamped) in due {
        let known = copied.offsets.entry(name.clone()).or_default();
        let changed: BTreeMap<_, _> = clamped
            .into_iter()
            .filter(|(place, both)| known.get(place).is_none_or(|k| both.is_news_after(k)))
            .collect();
        if !changed.is_empty() {
            writes.push((name, listed, changed));
        }
    }
    let made = &copied.made;
    let writing = futures::stream::iter(writes).map(|(name, listed, changed)| async move {
        let written = write(context, &name, &listed, &changed, made.contains(&name)).await;
        (name, listed, changed, written)
    });
    let written: Vec<_> = writing.buffer_unordered(AT_ONCE).collect().await;
    for (name, listed, changed, written) in written {
        match written {
            Ok(()) => {
                if listed.is_consumer {
                    copied.made.insert(name.clone());
                }
                copied.offsets.entry(name).or_default().extend(changed);
            }
            Err(e) => {
                if let Some(status) = statuses.get_mut(&name) {
                    status.problem = Some(describe(&e));
                }
                failure = Some(e);
            }
        }
    }
    context.status.send_if_modified(|status| {
        let changed = status.groups != statuses;
        status.groups = statuses;
        changed
    });
    failure.map_or(Ok(()), Err)
}

async fn write(
    context: &Context,
    name: &str,
    listed: &Listed,
    offsets: &BTreeMap<Place, Both>,
    made: bool,
) -> Result<(), LinkError> {
    let offsets: BTreeMap<_, _> =
        offsets.iter().map(|(place, both)| (place.clone(), both.target.clone())).collect();
    if let Some((topic, _)) = offsets.keys().next().filter(|_| listed.is_consumer && !made) {
        create_consumer_group(&context.target, name, topic).await?;
    }
    commit(&context.target, name, &offsets).await
}

/// What may be committed on the target now, and how the group stands. `translate` knows offsets that differ there.
fn clamp(
    offsets: BTreeMap<Place, Committed>,
    held: &MirrorStatus,
    translate: impl Fn(&Place, i64) -> Option<i64>,
) -> (BTreeMap<Place, Both>, GroupStatus) {
    let mut status = GroupStatus { partitions: 0, behind_records: 0, problem: None };
    let mut clamped = BTreeMap::new();
    for (place, committed) in offsets {
        let Some(topic) = held.topics.get(&*place.0) else { continue };
        let Some(partition) = topic.partitions.get(&place.1) else { continue };
        let ends = partition.target_end.zip(partition.copied_to).filter(|_| topic.state.is_copied());
        let Some((target_end, copied_to)) = ends else { continue };
        status.partitions += 1;
        status.behind_records += (committed.offset - copied_to).max(0).unsigned_abs();
        // The translation may know of more than the status; it knows of nothing that is not there.
        let offset = translate(&place, committed.offset).unwrap_or_else(|| committed.offset.min(target_end));
        let target = Committed { offset, metadata: committed.metadata };
        clamped.insert(place, Both { source: committed.offset, target });
    }
    (clamped, status)
}

fn describe(error: &LinkError) -> String {
    match error.api() {
        Some(ResponseError::UnknownMemberId | ResponseError::StaleMemberEpoch) => {
            "consumers of this group are at work on the standby; its offsets there are theirs".into()
        }
        _ => format!("{error}; {}", error.remedy()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PartitionStatus, TopicState, TopicStatus};
    use super::*;

    /// What is committed on the target where nothing is translated.
    fn clamp(
        offsets: BTreeMap<Place, Committed>,
        held: &MirrorStatus,
    ) -> (BTreeMap<Place, Committed>, GroupStatus) {
        let (clamped, status) = super::clamp(offsets, held, |_, _| None);
        (clamped.into_iter().map(|(place, both)| (place, both.target)).collect(), status)
    }

    fn held(state: TopicState, target_end: Option<i64>) -> MirrorStatus {
        let mut status = MirrorStatus::new("events", 1);
        let partition = PartitionStatus { target_end, copied_to: target_end, ..PartitionStatus::default() };
        let topic = TopicStatus { state, partitions: BTreeMap::from([(0, partition)]) };
        status.topics.insert("orders".into(), topic);
        status
    }

    fn at(offset: i64) -> BTreeMap<Place, Committed> {
        BTreeMap::from([(("orders".into(), 0), Committed { offset, metadata: "m".into() })])
    }

    #[test]
    fn an_offset_is_never_beyond_what_the_target_holds() {
        assert_eq!(clamp(at(5), &held(TopicState::Aligned, Some(8))).0, at(5));
        let (clamped, status) = clamp(at(12), &held(TopicState::Aligned, Some(8)));
        assert_eq!((clamped, status.behind_records, status.partitions), (at(8), 4, 1));
    }

    #[test]
    fn behind_gaps_an_offset_is_translated_and_never_taken_back() {
        let translated = held(TopicState::Translated { partition: 0, offset: 4 }, Some(8));
        let (both, _) = super::clamp(at(12), &translated, |_, offset| Some(offset - 5));
        let both = both[&("orders".into(), 0)].clone();
        assert_eq!((both.source, both.target.offset), (12, 7));
        let of = |source, offset| Both { source, target: Committed { offset, ..both.target.clone() } };
        assert!(of(12, 8).is_news_after(&both) && of(11, 6).is_news_after(&both));
        assert!(!of(12, 7).is_news_after(&both) && !of(12, 5).is_news_after(&both));
    }

    #[test]
    fn nothing_is_committed_where_offsets_mean_nothing() {
        assert!(clamp(at(5), &held(TopicState::Verifying, Some(8))).0.is_empty());
        assert!(clamp(at(5), &held(TopicState::Aligned, None)).0.is_empty());
        assert!(clamp(at(5), &MirrorStatus::new("events", 1)).0.is_empty());
    }
}
