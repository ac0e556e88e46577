//! The loop of a mirror: one owner of all that is under way, so that nothing is shared and each decision sees it all.
//!
//! Fetches, produces, preparations and surveys run beside it and report here; it keeps the state of each partition,
//! starts what can be started, and judges what comes back.

mod deliver;
mod recognise;

use super::context::{Context, Surveyed};
use super::judge::{self, Kept, Take};
use super::part::{Origin, Part, Phase};
use super::prepare::{self, Asked, Outcome, Prepared};
use super::pull::{self, Pull, PullKey, Pulled};
use super::push::{Push, Pushed};
use super::{Gaps, Unaligned, ledger, report};
use crate::batch::{self, Producer};
use crate::calls::{Place, init_producer};
use crate::link::LinkError;
use crate::wire::fetch::Fetched;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use kafka_protocol::error::ResponseError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use uuid::Uuid;

/// Lanes to each source broker: while one answer crosses, the next request is on its way.
const LANES: u8 = 2;

/// The least that a fetch asks for.
const FETCH_BYTES_MIN: usize = 256 << 10;

/// What is being done when a topic suffers, in the words of the status.
pub(super) const READING: &str = "reading ";
pub(super) const WRITING: &str = "writing to ";
pub(super) const PREPARING: &str = "preparing ";

const TICK: Duration = Duration::from_millis(200);

/// How long a partition rests after something did not go well.
const REST: Duration = Duration::from_millis(300);

/// Why the loop ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was asked to.
    Stopped,
    /// A newer owner writes.
    Fenced,
}

/// A topic that is copied.
pub(super) struct Copied {
    pub(super) source_id: Uuid,
    pub(super) target_id: Uuid,
    pub(super) unaligned: Option<Unaligned>,
    pub(super) parts: BTreeMap<i32, usize>,
}

pub(super) struct Engine {
    pub(super) context: Arc<Context>,
    pub(super) parts: Vec<Part>,
    pub(super) topics: BTreeMap<Arc<str>, Copied>,
    pub(super) pulls: BTreeMap<PullKey, Pull>,
    pub(super) meter: report::Meter,
    pub(super) ledger: ledger::Ledger,
    /// What partitions suffer from at the moment, by what is being done.
    pub(super) troubles: BTreeMap<(&'static str, usize), String>,
    /// When the source was last asked for the ends of its logs, and answered.
    pub(super) looked: Option<Instant>,
    pushes: BTreeMap<i32, Push>,
    pulled: FuturesUnordered<BoxFuture<'static, Pulled>>,
    results: (mpsc::UnboundedSender<Pushed>, mpsc::UnboundedReceiver<Pushed>),
    prepared: (mpsc::UnboundedSender<Prepared>, mpsc::UnboundedReceiver<Prepared>),
    /// Work beside the copying, each with what it found out.
    asides: FuturesUnordered<BoxFuture<'static, ledger::Aside>>,
    budget: Arc<Semaphore>,
    surveyed: watch::Receiver<Option<Arc<Surveyed>>>,
    latest: Option<Arc<Surveyed>>,
    producer: Producer,
    turn: usize,
}

impl Engine {
    pub(super) fn new(
        context: Arc<Context>,
        surveyed: watch::Receiver<Option<Arc<Surveyed>>>,
        producer: Producer,
        ledger: ledger::Ledger,
    ) -> Engine {
        let budget = Arc::new(Semaphore::new(context.plan.buffer_bytes_max.max(FETCH_BYTES_MIN) >> 10));
        Engine {
            context,
            parts: Vec::new(),
            topics: BTreeMap::new(),
            pulls: BTreeMap::new(),
            meter: report::Meter::default(),
            ledger,
            troubles: BTreeMap::new(),
            looked: None,
            pushes: BTreeMap::new(),
            pulled: FuturesUnordered::new(),
            results: mpsc::unbounded_channel(),
            prepared: mpsc::unbounded_channel(),
            asides: FuturesUnordered::new(),
            budget,
            surveyed,
            latest: None,
            producer,
            turn: 0,
        }
    }

    /// Copies until it is told to stop, or may no longer.
    pub(super) async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Ended {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = Instant::now();
            self.push(now);
            self.pull(now);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ended::Stopped,
                Some(pushed) = self.results.1.recv() => {
                    if let Some(ended) = self.on_pushed(pushed) {
                        return ended;
                    }
                }
                Some(pulled) = self.pulled.next(), if !self.pulled.is_empty() => self.on_pulled(pulled),
                Some(prepared) = self.prepared.1.recv() => self.on_prepared(prepared),
                Some(aside) = self.asides.next(), if !self.asides.is_empty() => self.on_aside(aside),
                Ok(()) = self.surveyed.changed() => self.on_survey(),
                _ = tick.tick() => self.on_tick(),
            }
        }
    }

    /// Writes down what is aligned, at the end.
    pub(super) async fn close(&mut self) {
        let due = self.ledger.due(&self.parts, true);
        // Without it the next owner compares more, and that is all.
        let _ = ledger::write(&self.context, due).await;
    }

    fn part_of(&self, topic: &str, partition: i32) -> Option<usize> {
        self.topics.get(topic)?.parts.get(&partition).copied()
    }

    /// Whether both clusters have a partition, led or not.
    pub(super) fn is_on_both_sides(&self, (topic, partition): &Place) -> bool {
        let has = |topology: &crate::link::Topology| {
            topology.topics.get(&**topic).is_some_and(|t| t.partitions.contains_key(partition))
        };
        self.latest.as_ref().is_some_and(|latest| has(&latest.source) && has(&latest.target))
    }

    /// Whether it is not known yet that its leader refuses earlier owners.
    pub(super) fn is_unproven(&self, place: &Place) -> bool {
        self.latest.as_ref().is_some_and(|latest| latest.unproven.contains(place))
    }

    /// Leaves a topic alone.
    fn refuse(&mut self, topic: &str, why: Unaligned) {
        let Some(copied) = self.topics.get_mut(topic) else { return };
        if copied.unaligned.is_none() {
            tracing::warn!(group = self.context.plan.group, topic, "unaligned: {why}");
            copied.unaligned = Some(why);
        }
        for part in copied.parts.values() {
            self.parts[*part].stop();
            self.troubles.retain(|(_, of), _| of != part);
        }
    }

    fn refuse_part(&mut self, part: usize, why: Unaligned) {
        let topic = self.parts[part].place.0.clone();
        self.refuse(&topic, why);
    }

    // --- where copying begins ---

    fn prepare(&mut self, now: Instant) {
        let Some(surveyed) = self.latest.clone() else { return };
        let mut asked = Vec::new();
        let mut wrote = false;
        for (index, part) in self.parts.iter_mut().enumerate() {
            let due = matches!(part.phase, Phase::Waiting(at) if at <= now);
            if due && part.source_leader.is_some() && part.target_leader.is_some() {
                part.phase = Phase::Preparing;
                wrote |= part.has_written_as(self.producer);
                let (generation, kept) = (part.generation, part.kept.clone());
                asked.push(Asked { part: index, generation, place: part.place.clone(), kept });
            }
        }
        if asked.is_empty() {
            return;
        }
        let (context, answers) = (self.context.clone(), self.prepared.0.clone());
        let producer = self.producer;
        let preparing = async move {
            // Sequence numbers begin again only with a new epoch.
            let renewed = if wrote { renew(&context).await } else { Ok(producer) };
            match renewed {
                Ok(producer) => {
                    prepare::run(context, surveyed, asked, producer, answers).await;
                    ledger::Aside::Done
                }
                Err(e) => ledger::Aside::Unprepared(asked, e),
            }
        };
        self.asides.push(preparing.boxed());
    }

    fn on_prepared(&mut self, prepared: Prepared) {
        let Prepared { asked: Asked { part: index, generation, place, .. }, outcome, producer } = prepared;
        if producer.id != self.producer.id || producer.epoch > self.producer.epoch {
            self.producer = producer;
        }
        let part = &mut self.parts[index];
        if part.generation != generation || part.phase != Phase::Preparing {
            return;
        }
        match outcome {
            Outcome::Ready { source_start, source_end, first_copy, kept } => {
                self.troubles.remove(&(PREPARING, index));
                part.source_start = source_start;
                part.first_copy = first_copy;
                part.kept = Some(Kept { moved: None, ..kept.clone() });
                let next = kept.moved.as_ref().map_or(kept.offset, |moved| moved.reached);
                let translation = kept.moved.clone().map(|moved| Arc::new(Mutex::new(moved.translation)));
                part.run(next, kept.offset, translation, producer);
                part.heard(source_end, Instant::now());
                self.ledger.note(&place, kept);
                self.publish_translation(index);
            }
            Outcome::Refused(why) => self.refuse_part(index, why),
            Outcome::Later(why) => {
                tracing::debug!(topic = %place.0, partition = place.1, why, "not ready to be copied");
                self.troubles.insert((PREPARING, index), why);
                part.phase = Phase::Waiting(Instant::now() + REST);
                self.context.look.notify_one();
            }
        }
    }

    /// Lets those who copy offsets of groups know where records are.
    fn publish_translation(&self, index: usize) {
        let part = &self.parts[index];
        let mut known = self.context.translations.lock().unwrap_or_else(PoisonError::into_inner);
        match &part.translation {
            Some(translation) => known.insert(part.place.clone(), translation.clone()),
            None => known.remove(&part.place),
        };
    }

    // --- from the source ---

    fn pull(&mut self, now: Instant) {
        let mut wanted: BTreeMap<PullKey, Vec<usize>> = BTreeMap::new();
        for (index, part) in self.parts.iter().enumerate() {
            if let Some(leader) = part.source_leader.filter(|_| part.is_running() && part.has_room()) {
                wanted.entry((leader, index as u8 % LANES)).or_default().push(index);
            }
        }
        let lanes = wanted.len().max(1);
        for (key, parts) in wanted {
            let pull = self.pulls.entry(key).or_insert_with(|| Pull::new(now));
            if pull.busy || pull.not_before > now {
                continue;
            }
            let plan = &self.context.plan;
            let mut bytes = (plan.buffer_bytes_max / 2 / lanes).max(FETCH_BYTES_MIN);
            if let Some(rate) = &plan.rate {
                bytes = bytes.min(usize::try_from(rate.portion_bytes()).unwrap_or(bytes)).max(1 << 10);
            }
            let permits = u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
            let Ok(share) = self.budget.clone().try_acquire_many_owned(permits) else { continue };
            let committed = plan.gaps != Gaps::Refuse;
            let pulling = pull.request(key, &self.parts, &parts, committed, bytes, share);
            let (source, rate) = (self.context.source.clone(), plan.rate.clone());
            self.pulled.push(pull::pull(source, rate, pulling).boxed());
        }
    }

    fn on_pulled(&mut self, pulled: Pulled) {
        let Pulled { key, asked, mut share, bytes, answer } = pulled;
        let now = Instant::now();
        let Some(pull) = self.pulls.get_mut(&key) else { return };
        pull.busy = false;
        let response = match answer {
            Ok(response) if response.error == 0 => response,
            refused => {
                pull.reset();
                pull.failures += 1;
                pull.not_before = now + (REST * pull.failures).min(Duration::from_secs(3));
                if let Err(e) = refused {
                    self.context.look.notify_one();
                    tracing::debug!(broker = key.0, "fetching: {e}");
                } else {
                    pull.not_before = now;
                }
                return;
            }
        };
        pull.failures = 0;
        pull.heard = Some(now);
        pull.opened(response.session_id);
        // What the answer did not use of its share is free again at once.
        let used = (bytes >> 10) + 1;
        if share.num_permits() > used {
            drop(share.split(share.num_permits() - used));
        }
        let share = Arc::new(share);
        for fetched in response.partitions {
            let Some(part) = self.part_of(&fetched.topic, fetched.partition) else { continue };
            let fresh = asked.get(&part) == Some(&self.parts[part].wanted()) && self.parts[part].is_running();
            if fresh {
                self.on_fetched(part, fetched, &share, now);
            }
        }
    }

    fn on_fetched(
        &mut self,
        index: usize,
        fetched: Fetched,
        share: &Arc<OwnedSemaphorePermit>,
        now: Instant,
    ) {
        let Fetched { error, end, start, aborted, mut records, .. } = fetched;
        let part = &mut self.parts[index];
        match ResponseError::try_from_code(error) {
            None => part.heard(end, now),
            // Retention has passed by, or the topic is another one: find out anew.
            Some(ResponseError::OffsetOutOfRange) => {
                tracing::info!(topic = %part.place.0, partition = part.place.1, next = part.next, start, "out of range");
                part.restart(now);
                return;
            }
            Some(error) => {
                part.restart(now + REST);
                self.suffer(READING, index, error);
                self.context.look.notify_one();
                return;
            }
        }
        self.troubles.remove(&(READING, index));
        let gaps = self.context.plan.gaps;
        let mut transactions = batch::Aborted::new(aborted);
        loop {
            let part = &mut self.parts[index];
            let partition = part.place.1;
            let header = match batch::first(&records) {
                Ok(Some(header)) => header,
                Ok(None) => return,
                Err(bad) => {
                    let why = judge::unreadable(partition, part.next, bad);
                    return self.refuse_part(index, why);
                }
            };
            let bytes = records.split_to(header.size);
            if let Err(bad) = batch::verify(&bytes) {
                let why = judge::unreadable(partition, part.next, bad);
                return self.refuse_part(index, why);
            }
            let hidden = transactions.covers(&header);
            let is_moved = part.translation.is_some();
            let take = |part: &Part| {
                judge::take(partition, part.next, &header, gaps, hidden, part.translation.is_some())
            };
            let taken = match take(part) {
                Take::FillBefore(count) => {
                    fill(part, count, header.max_timestamp, share);
                    take(part)
                }
                Take::LeaveOut(end) if end < header.end() => {
                    part.leave_out(end);
                    take(part)
                }
                taken => taken,
            };
            let mut origin = Origin { from: header.base_offset, end: header.end(), thinned: false };
            let done = match taken {
                Take::Skip | Take::FillBefore(_) => Ok(()),
                Take::LeaveOut(end) => {
                    part.leave_out(end);
                    Ok(())
                }
                Take::Copy => {
                    self.meter.copied(header.count, header.size);
                    part.enqueue(bytes, header.count, origin, share);
                    Ok(())
                }
                Take::CopyRest(there) => batch::cut(&header, &bytes.freeze(), there).map(|rest| {
                    origin.from = part.next;
                    part.enqueue(rest, header.count - there, origin, share);
                }),
                Take::FillInstead(count) => {
                    fill(part, count, header.max_timestamp, share);
                    Ok(())
                }
                Take::Rebuild => batch::rebuild(&header, &bytes.freeze())
                    .map(|dense| part.enqueue(dense, header.last_offset_delta + 1, origin, share)),
                Take::Condense => batch::condense(&header, &bytes.freeze()).map(|dense| {
                    // From its first gap on offsets differ.
                    part.leave_out(header.base_offset);
                    origin.thinned = true;
                    part.enqueue(dense, header.count, origin, share);
                }),
                Take::Refuse(why) => return self.refuse_part(index, why),
            };
            if let Err(bad) = done {
                let why = judge::unreadable(partition, self.parts[index].next, bad);
                return self.refuse_part(index, why);
            }
            if !is_moved && self.parts[index].translation.is_some() {
                self.publish_translation(index);
            }
        }
    }

    // --- beside it ---

    fn on_tick(&mut self) {
        let now = Instant::now();
        self.prepare(now);
        self.asides.extend(self.ledger.tick(&self.context, &self.parts, self.latest.as_ref()));
        report::publish(self, now);
    }

    fn on_aside(&mut self, aside: ledger::Aside) {
        let now = Instant::now();
        match aside {
            ledger::Aside::Unprepared(asked, e) => self.unprepared(asked, &e, now),
            ledger::Aside::Done => {}
            ledger::Aside::NotWritten => self.ledger.forget_written(),
            ledger::Aside::Watched(watched) => self.on_watched(watched, now),
        }
    }

    fn on_watched(&mut self, watched: ledger::Watched, now: Instant) {
        for (part, generation, acked, end) in watched.target {
            let known = &self.parts[part];
            let same = known.generation == generation && known.acked == acked && known.is_idle();
            if same && end > acked {
                self.refuse_part(part, judge::stranger(known.place.1, acked, end));
            } else if same && end < acked {
                self.parts[part].restart(now);
            }
        }
        if !watched.source.is_empty() {
            self.looked = Some(now);
        }
        for (part, end) in watched.source {
            let part = &mut self.parts[part];
            if part.source_end.is_none_or(|known| end > known) {
                part.heard(end, now);
            }
        }
    }

    fn unprepared(&mut self, asked: Vec<Asked>, error: &LinkError, now: Instant) {
        tracing::debug!("no producer id: {error}");
        for asked in asked {
            let part = &mut self.parts[asked.part];
            if part.generation == asked.generation {
                part.phase = Phase::Waiting(now + REST);
            }
        }
    }
}

/// A new epoch for this owner.
async fn renew(context: &Context) -> Result<Producer, LinkError> {
    context.may_write()?;
    let producer = init_producer(&context.target, &context.own_name()).await?;
    if let Some(writers) = &context.writers {
        writers.note(producer);
    }
    Ok(producer)
}

/// Puts empty records in the place of offsets that have none.
fn fill(part: &mut Part, count: i64, timestamp_ms: i64, share: &Arc<OwnedSemaphorePermit>) {
    const AT_ONCE: i64 = 10_000;
    let mut left = count;
    while left > 0 {
        let some = i32::try_from(left.min(AT_ONCE)).unwrap_or(1);
        let records = batch::filler(0, some, Some(batch::FILLER_KEY), timestamp_ms.max(0));
        let origin = Origin { from: part.next, end: part.next + i64::from(some), thinned: false };
        part.enqueue(records, some, origin, share);
        left -= i64::from(some);
    }
}
