//! Finds out where copying a partition begins: asks both sides for their ends, compares what they hold, stands in for
//! what is gone at the source.

use super::context::{Context, Surveyed};
use super::fill;
use super::judge::{self, Beginning, Facts, Kept, Moved, Rejoin};
use super::translation::Translation;
use super::verify::{self, Difference, Rejoined};
use super::{Gaps, TopicState, Unaligned};
use crate::batch::Producer;
use crate::calls::{At, Place, ReadError, Reader, ends};
use crate::link::LinkError;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Partitions that are compared or filled at once.
const AT_ONCE: usize = 4;

/// A partition whose beginning is wanted.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) part: usize,
    pub(super) generation: u64,
    pub(super) place: Place,
    pub(super) kept: Option<Kept>,
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) asked: Asked,
    pub(super) outcome: Outcome,
    /// As whom it is to be written.
    pub(super) producer: Producer,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// Copy from where `kept` ends; up to there it is known how both sides correspond.
    Ready { source_start: i64, source_end: i64, first_copy: bool, kept: Kept },
    /// Leave it alone.
    Refused(Unaligned),
    /// Ask again later.
    Later(String),
}

/// Answers for each partition in its own time.
pub(super) async fn run(
    context: Arc<Context>,
    surveyed: Arc<Surveyed>,
    asked: Vec<Asked>,
    producer: Producer,
    answers: mpsc::UnboundedSender<Prepared>,
) {
    let places: Vec<Place> = asked.iter().map(|a| a.place.clone()).collect();
    let known = match Ends::ask(&context, &surveyed, &places).await {
        Ok(known) => known,
        Err(e) => {
            for asked in asked {
                let outcome = Outcome::Later(e.to_string());
                let _ = answers.send(Prepared { asked, outcome, producer });
            }
            return;
        }
    };
    let (known, context, surveyed, answers) = (&known, &context, &surveyed, &answers);
    let each = futures::stream::iter(asked).for_each_concurrent(AT_ONCE, |asked| async move {
        let outcome = prepare(context, surveyed, known, &asked, producer).await;
        // The mirror may have ended meanwhile.
        let _ = answers.send(Prepared { asked, outcome, producer });
    });
    each.await;
}

/// The ends of many partitions, asked at once.
struct Ends {
    source_start: BTreeMap<Place, i64>,
    source_end: BTreeMap<Place, i64>,
    target_start: BTreeMap<Place, i64>,
    target_end: BTreeMap<Place, i64>,
    target_log_end: BTreeMap<Place, i64>,
}

impl Ends {
    async fn ask(context: &Context, surveyed: &Surveyed, places: &[Place]) -> Result<Ends, LinkError> {
        let Surveyed { source, target, .. } = surveyed;
        // The target's before the source's: what the target holds must not seem to be beyond the source's end.
        let (target_start, target_end, target_log_end) = tokio::try_join!(
            ends(&context.target, target, places, At::Start),
            ends(&context.target, target, places, At::End),
            ends(&context.target, target, places, At::LogEnd),
        )?;
        let (source_start, source_end) = tokio::try_join!(
            ends(&context.source, source, places, At::Start),
            ends(&context.source, source, places, At::End),
        )?;
        Ok(Ends { source_start, source_end, target_start, target_end, target_log_end })
    }

    fn facts(&self, surveyed: &Surveyed, asked: &Asked) -> Option<Facts> {
        let topic = &*asked.place.0;
        Some(Facts {
            source_id: surveyed.source.topics.get(topic)?.id,
            target_id: surveyed.target.topics.get(topic)?.id,
            source_start: *self.source_start.get(&asked.place)?,
            source_end: *self.source_end.get(&asked.place)?,
            target_start: *self.target_start.get(&asked.place)?,
            target_end: *self.target_end.get(&asked.place)?,
            target_log_end: *self.target_log_end.get(&asked.place)?,
            kept: asked.kept.clone(),
        })
    }
}

async fn prepare(
    context: &Context,
    surveyed: &Surveyed,
    ends: &Ends,
    asked: &Asked,
    producer: Producer,
) -> Outcome {
    let Some(facts) = ends.facts(surveyed, asked) else {
        return Outcome::Later("a leader does not say where its log ends".into());
    };
    let (topic, partition) = &asked.place;
    let gaps = context.plan.gaps;
    let mut moved = None;
    let next = match judge::begin(*partition, &facts, gaps) {
        Beginning::Wait => return Outcome::Later("the standby's replicas do not agree yet".into()),
        Beginning::Refuse(why) => return Outcome::Refused(why),
        Beginning::Copy(next) => next,
        Beginning::Verify { from, to } => {
            show_verifying(context, topic);
            match compare(context, surveyed, asked, (from, to)).await {
                Ok(()) => to,
                Err(difference) => return differing(*partition, difference),
            }
        }
        Beginning::Rejoin(rejoin) => {
            show_verifying(context, topic);
            let to = rejoin.to;
            match bring_together(context, surveyed, asked, rejoin, producer).await {
                Ok(Rejoined { next, translation }) => {
                    moved = translation.map(|translation| Moved { reached: next, translation });
                    to
                }
                Err(difference) => return differing(*partition, difference),
            }
        }
        Beginning::Fill { from, to } => match fill::fill(context, surveyed, &asked.place, from, to).await {
            Ok(next) => next,
            Err(fill::Failure::NoFillers(first, _)) if gaps == Gaps::Translate => {
                let translation = match from {
                    0 => Translation::from_here(first, 0),
                    from => Translation::equal_up_to(from),
                };
                moved = Some(Moved { reached: first, translation });
                from
            }
            Err(fill::Failure::Refused(why) | fill::Failure::NoFillers(_, why)) => {
                return Outcome::Refused(why);
            }
            Err(fill::Failure::Later(why)) => return Outcome::Later(why),
        },
    };
    let kept = Kept { source_id: facts.source_id, target_id: facts.target_id, offset: next, moved };
    let first_copy = facts.target_log_end == 0;
    Outcome::Ready { source_start: facts.source_start, source_end: facts.source_end, first_copy, kept }
}

fn differing(partition: i32, difference: Difference) -> Outcome {
    match difference {
        Difference::Found(why) => Outcome::Refused(why),
        Difference::Failed(ReadError::Link(e)) => Outcome::Later(e.to_string()),
        Difference::Failed(ReadError::Bad(bad, at)) => {
            Outcome::Refused(judge::unreadable(partition, at, bad))
        }
    }
}

async fn bring_together(
    context: &Context,
    surveyed: &Surveyed,
    asked: &Asked,
    rejoin: Rejoin,
    producer: Producer,
) -> Result<Rejoined, Difference> {
    let (at_source, at_target) = leaders(surveyed, &asked.place)?;
    let mut source = Reader::new(&context.source, at_source, &asked.place, rejoin.source).committed();
    let mut target = Reader::new(&context.target, at_target, &asked.place, rejoin.target);
    verify::rejoin(&mut source, &mut target, asked.place.1, rejoin, producer.id).await
}

/// Who leads a partition at the source and at the target.
fn leaders(surveyed: &Surveyed, (topic, partition): &Place) -> Result<(i32, i32), ReadError> {
    let unknown = || LinkError::Api { code: 5, doing: format!("comparing {topic}-{partition}") };
    let source = surveyed.source.leader(topic, *partition);
    let leaders = source.zip(surveyed.target.leader(topic, *partition));
    leaders.ok_or_else(|| ReadError::Link(unknown()))
}

async fn compare(
    context: &Context,
    surveyed: &Surveyed,
    asked: &Asked,
    range: (i64, i64),
) -> Result<(), Difference> {
    let (at_source, at_target) = leaders(surveyed, &asked.place)?;
    let mut source = Reader::new(&context.source, at_source, &asked.place, range.0);
    let mut target = Reader::new(&context.target, at_target, &asked.place, range.0);
    verify::compare(&mut source, &mut target, asked.place.1, range, context.plan.gaps).await
}

fn show_verifying(context: &Context, topic: &str) {
    context.status.send_if_modified(|status| {
        let Some(topic) = status.topics.get_mut(topic) else { return false };
        let changed = topic.state.is_copied();
        if changed {
            topic.state = TopicState::Verifying;
        }
        changed
    });
}
