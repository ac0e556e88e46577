//! The primaries that were asked for, kept fresh by one watch.
//!
//! The problem: a writer asks before each write, and the leader must not feel it. The idea: the first lookup of a
//! group asks the leader; from then on a background watch of everything changes or drops what is kept. While the
//! watch is out of touch, nothing kept is trusted. An answer that is older than an event of its group is not kept.
//!
//! When no leader can be asked, what was known last is told, marked as such with its age: a writer that tries it does no
//! harm, because a member that is primary no more refuses it, and the primary serves on while all nodes are down.

use crate::follow::{Follow, SILENCE_MAX, Step};
use crate::pool::Pool;
use crate::{Client, ClientError, v1};
use primacy_core::{Event, EventBatch, Phase};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

/// Who knows a primary of the past waits no longer than this for the leader.
const LAST_KNOWN_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Cache {
    kept: Arc<Kept>,
    pool: Arc<Pool>,
    /// The background watch, once a group was asked for.
    feeder: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct Kept {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    /// When the watch last heard from its node; none while it never did.
    heard: Mutex<Option<Instant>>,
}

/// One group.
#[derive(Debug)]
struct Slot {
    known: watch::Sender<Option<Known>>,
    /// The last event of this group that the watch delivered.
    newest: AtomicU64,
    /// Held by the one lookup that asks the leader; when the last one that was answered began.
    asking: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Clone, Debug)]
struct Known {
    primary: v1::Primary,
    /// When that was known to be so.
    at: Instant,
    /// Whether the leader is to be asked before this is used: a caller reported it, or an event does not say enough.
    doubted: bool,
}

impl Cache {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        let kept = Kept { slots: Mutex::default(), heard: Mutex::default() };
        Self { kept: Arc::new(kept), pool, feeder: Mutex::default() }
    }

    pub(crate) async fn primary(&self, client: &Client, group: &str) -> Result<v1::Primary, ClientError> {
        let slot = self.kept.slot(group);
        if let Some(primary) = self.kept.fresh(&slot) {
            return Ok(primary);
        }
        let mut within = self.pool.settings.deadline;
        let last_known = self.kept.last_known(&slot);
        if last_known.is_some() {
            within = within.min(LAST_KNOWN_AFTER);
        }
        let out_of_reach = match timeout(within, self.ask(client, group, &slot)).await {
            Ok(Err(
                error @ (ClientError::NoLeader { .. }
                | ClientError::Unreachable { .. }
                | ClientError::TimedOut { .. }
                | ClientError::Stale { .. }),
            )) => error,
            Ok(answer) => return answer,
            Err(_) => ClientError::TimedOut {
                outcome_unknown: false,
                detail: format!("the primary of {group} was not found out within {within:?}"),
            },
        };
        last_known.ok_or(out_of_reach)
    }

    /// Asks the leader. Callers that come while another one asks wait for the question after it, and share its answer.
    async fn ask(&self, client: &Client, group: &str, slot: &Slot) -> Result<v1::Primary, ClientError> {
        let called = Instant::now();
        let mut asked = slot.asking.lock().await;
        if asked.is_some_and(|at| at >= called)
            && let Some(known) = slot.known.borrow().clone()
        {
            return Ok(known.primary);
        }
        loop {
            let begun = Instant::now();
            let answer = client.get_primary(group, v1::Consistency::Linearizable).await;
            if let Err(ClientError::NotFound { .. }) = &answer {
                lock(&self.kept.slots).remove(group);
            }
            let primary = answer?;
            self.feed_from(primary.revision);
            if slot.keep(&primary) {
                *asked = Some(begun);
                return Ok(primary);
            }
        }
    }

    pub(crate) fn report_failure(&self, group: &str, epoch: u64) {
        let Some(slot) = lock(&self.kept.slots).get(group).cloned() else { return };
        slot.known.send_if_modified(|known| {
            if let Some(known) = known.as_mut().filter(|known| known.primary.epoch <= epoch) {
                known.doubted = true;
            }
            false
        });
    }

    /// Returns when an event of the group came after `seen`, or after `within`.
    pub(crate) async fn news(&self, seen: &v1::Primary, within: Duration) {
        let mut known = self.kept.slot(&seen.group).known.subscribe();
        let newer =
            |now: &Option<Known>| now.as_ref().is_some_and(|now| now.primary.revision > seen.revision);
        // Both ends of the wait are the same to the caller, who looks again.
        let _ = timeout(within, known.wait_for(newer)).await;
    }

    /// Starts the background watch, if it does not run.
    fn feed_from(&self, revision: u64) {
        let mut feeder = lock(&self.feeder);
        if feeder.is_none() {
            let follow = Follow::new(Arc::clone(&self.pool), vec![], Some(revision));
            let task = tokio::spawn(feed(Arc::clone(&self.kept), follow, self.pool.settings.backoff_max));
            *feeder = Some(task.abort_handle());
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.feeder).take() {
            task.abort();
        }
    }
}

async fn feed(kept: Arc<Kept>, mut follow: Follow, pause: Duration) {
    loop {
        match follow.step().await {
            Ok(Step::Alive) => {}
            Ok(Step::Batch(batch)) => kept.take(&batch),
            Err(error) => {
                tracing::debug!(%error, "the watch behind the cache is out of touch");
                *lock(&kept.heard) = None;
                match follow.relist().await {
                    Ok(list) => kept.replace(&list),
                    Err(_) => sleep(pause).await,
                }
                continue;
            }
        }
        *lock(&kept.heard) = Some(Instant::now());
    }
}

impl Kept {
    fn slot(&self, group: &str) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        Arc::clone(slots.entry(group.to_owned()).or_insert_with(|| {
            Arc::new(Slot {
                known: watch::Sender::new(None),
                newest: AtomicU64::new(0),
                asking: tokio::sync::Mutex::new(None),
            })
        }))
    }

    /// What is known of the group, while the watch is in touch and nobody doubts it.
    fn fresh(&self, slot: &Slot) -> Option<v1::Primary> {
        let heard = (*lock(&self.heard))?;
        let known = slot.known.borrow();
        let known = known.as_ref().filter(|known| !known.doubted && heard.elapsed() <= SILENCE_MAX);
        known.map(|known| known.primary.clone())
    }

    /// What was known of the group, fresh or not, with its age.
    fn last_known(&self, slot: &Slot) -> Option<v1::Primary> {
        let heard = *lock(&self.heard);
        let known = slot.known.borrow();
        let known = known.as_ref().filter(|known| known.primary.member.is_some())?;
        let at = heard.filter(|_| !known.doubted).map_or(known.at, |heard| known.at.max(heard));
        let mut primary = known.primary.clone();
        primary.consistency = v1::Consistency::Local.into();
        primary.age_ms = at.elapsed().as_millis() as u64;
        Some(primary)
    }

    fn take(&self, batch: &EventBatch) {
        for event in &batch.events {
            let Some(group) = event.group() else { continue };
            let slot = lock(&self.slots).get(group.as_str()).cloned();
            if let Some(slot) = slot {
                slot.take(batch.revision.0, event);
            }
        }
    }

    /// Events were missed: takes what the list says.
    fn replace(&self, list: &v1::ListGroupsResponse) {
        let slots: Vec<(String, Arc<Slot>)> =
            lock(&self.slots).iter().map(|(name, slot)| (name.clone(), Arc::clone(slot))).collect();
        for (name, slot) in slots {
            slot.newest.fetch_max(list.revision, Ordering::SeqCst);
            let listed = list.groups.iter().find(|g| g.group == name).and_then(|g| g.primary.clone());
            slot.known.send_replace(listed.map(Known::now));
        }
    }
}

impl Slot {
    /// Keeps an answer of the leader, unless an event has overtaken it.
    fn keep(&self, answer: &v1::Primary) -> bool {
        self.known.send_if_modified(|known| {
            let current = answer.revision >= self.newest.load(Ordering::SeqCst);
            if current {
                *known = Some(Known::now(answer.clone()));
            }
            current
        })
    }

    fn take(&self, revision: u64, event: &Event) {
        self.known.send_if_modified(|known| {
            self.newest.fetch_max(revision, Ordering::SeqCst);
            match known.as_mut().filter(|known| known.primary.revision <= revision) {
                Some(known) => {
                    known.take(revision, event);
                    true
                }
                None => false,
            }
        });
    }
}

impl Known {
    fn now(primary: v1::Primary) -> Known {
        Known { primary, at: Instant::now(), doubted: false }
    }

    /// Takes in an event of this group.
    fn take(&mut self, revision: u64, event: &Event) {
        self.primary.revision = revision;
        let state = match event {
            Event::TransitionStarted { .. } => v1::GroupState::Switching,
            Event::PrimaryChanged { epoch, member, site, address, .. } => {
                self.primary.epoch = epoch.0;
                self.primary.member = Some(member.as_str().to_owned());
                self.primary.site = Some(site.as_str().to_owned());
                self.primary.address = Some(address.to_string());
                v1::GroupState::Switching
            }
            Event::PhasePassed { phase: Phase::Redirect, .. } => v1::GroupState::Serving,
            // Who keeps it open changes nothing of who it is.
            Event::PhasePassed { .. }
            | Event::LeadershipAssumed { .. }
            | Event::FenceChanged { .. }
            | Event::WitnessAppointed { .. }
            | Event::OrphanedFound { .. }
            | Event::HolderAppointed { .. } => return,
            Event::TransitionEnded { .. }
            | Event::GroupConfigured { .. }
            | Event::GroupRemoved { .. }
            | Event::GroupPaused { .. }
            | Event::GroupResumed { .. }
            | Event::GroupBlocked { .. }
            | Event::GroupUnblocked { .. } => {
                self.doubted = true;
                return;
            }
        };
        self.doubted = false;
        self.at = Instant::now();
        self.primary.reason = None;
        self.primary.state = state.into();
    }
}

/// What a panicking holder left behind is still whole: each change here is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
