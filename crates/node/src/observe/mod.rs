//! What this node sees of the members of all groups, at once at the leader.
//!
//! The problem: a failover is as fast as the news of a death, and a death is certain only when several nodes say so
//! and the standbys agree. The idea: one prober a member, started and stopped with the committed configuration; what
//! they see goes onto the [`Board`], which is the leader's view when this node leads, and is streamed to the leader
//! when it does not. When one connection ends the whole group is asked at once, so that the standbys' view of it is
//! known within a round trip and not at the next probe.
//!
//! It must not judge: what a sighting means is the leader's business.

mod endpoint;
mod kafka;
mod looking;
mod recheck;
mod report;

pub(crate) use report::run as report_to_leader;

use crate::config::KafkaAccess;
use crate::lead::Board;
use crate::serve::cluster_access;
use looking::Looking;
use primacy_consensus::Consensus;
use primacy_core::view::{LinkEnd, Observation, Reach};
use primacy_core::{Address, GroupName, MemberName, Moment, Probe};
use primacy_redis::{Links, Prober, ProberHandle, Sighting};
use primacy_runtime::{now, sleep_until};
use recheck::Rechecks;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// How often a member is asked.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// Sightings that wait to be taken in; a prober replaces its own when there is no room.
const SIGHTINGS_MAX: usize = 1_024;
/// Sightings that are taken in at one go.
const BATCH_MAX: usize = 64;

/// Watches the members of all groups.
pub(crate) struct Observer {
    pub(crate) consensus: Consensus,
    pub(crate) links: Links,
    pub(crate) kafka: KafkaAccess,
    pub(crate) board: Arc<Board>,
    /// Told of each sighting that says something new.
    pub(crate) news: Arc<News>,
    /// Tells which groups are to be asked now.
    pub(crate) nudges: Arc<Nudges>,
}

/// Groups whose members are to be asked now instead of at the next interval.
#[derive(Default)]
pub(crate) struct Nudges {
    groups: Mutex<BTreeSet<GroupName>>,
    wake: Notify,
}

impl Nudges {
    /// Asks all members of a group now: something was done to one of them.
    pub(crate) fn ask(&self, group: &GroupName) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(group.clone());
        self.wake.notify_one();
    }

    async fn next(&self) -> BTreeSet<GroupName> {
        self.wake.notified().await;
        std::mem::take(&mut *self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Wakes the reporter when there is something that cannot wait for the next batch.
#[derive(Default)]
pub(crate) struct News(Notify);

impl News {
    pub(crate) fn tell(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn heard(&self) {
        self.0.notified().await;
    }
}

struct Watched {
    address: Address,
    probe: Probe,
    prober: Watcher,
}

/// Who looks.
enum Watcher {
    Redis(ProberHandle),
    Kafka(Looking, kafka::Topics),
    Other(Looking),
}

impl Watcher {
    fn probe_now(&self) {
        match self {
            Watcher::Redis(prober) => prober.probe_now(),
            Watcher::Kafka(prober, _) | Watcher::Other(prober) => prober.probe_now(),
        }
    }
}

impl Watcher {
    /// Goes on with these topics.
    fn follow(&self, topics: &Vec<String>) {
        if let Watcher::Kafka(_, told) = self {
            told.send_if_modified(|known| {
                let changed = known != topics;
                if changed {
                    known.clone_from(topics);
                }
                changed
            });
        }
    }
}

type Members = BTreeMap<GroupName, BTreeMap<MemberName, Watched>>;

impl Observer {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let (sink, mut sightings) = mpsc::channel(SIGHTINGS_MAX);
        let mut revisions = self.consensus.revision_watch();
        let mut members = Members::new();
        let mut rechecks = Rechecks::default();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        self.follow_configuration(&mut members, &sink);
        loop {
            let recheck_at = rechecks.next_at();
            tokio::select! {
                biased;
                _ = sightings.recv_many(&mut batch, BATCH_MAX) => {
                    for sighting in batch.drain(..) {
                        self.take_in(sighting, &members, &mut rechecks);
                    }
                }
                groups = self.nudges.next() => {
                    let nudged = groups.iter().filter_map(|group| members.get(group));
                    nudged.flat_map(BTreeMap::values).for_each(|watched| watched.prober.probe_now());
                }
                () = until(recheck_at) => {
                    for (group, member) in rechecks.take_due(now()) {
                        probe(&members, &group, &member);
                    }
                }
                changed = revisions.changed() => match changed {
                    Ok(()) => self.follow_configuration(&mut members, &sink),
                    Err(_) => return,
                },
            }
        }
    }

    /// Makes the set of probers equal to the committed members.
    fn follow_configuration(&self, members: &mut Members, sink: &mpsc::Sender<Sighting>) {
        let wanted: BTreeMap<GroupName, BTreeMap<MemberName, (Address, Probe)>> =
            self.consensus.read(|state| {
                let of = |group: &primacy_core::Group| {
                    group
                        .spec
                        .members
                        .iter()
                        .map(|m| (m.name.clone(), (m.address.clone(), m.probe.clone())))
                        .collect()
                };
                state.groups.iter().map(|(name, group)| (name.clone(), of(group))).collect()
            });
        let is_wanted = |group: &GroupName, member: &MemberName, w: &Watched| {
            let wanted = wanted.get(group).and_then(|g| g.get(member));
            wanted.is_some_and(|(address, probe)| *address == w.address && *probe == w.probe)
        };
        let mut changed = false;
        members.retain(|group, watched| {
            let before = watched.len();
            watched.retain(|member, w| is_wanted(group, member, w));
            changed |= watched.len() != before;
            !watched.is_empty()
        });
        if changed {
            self.board.keep_own(|g, m| members.get(g).is_some_and(|watched| watched.contains_key(m)));
        }
        for (group, wanted) in wanted {
            let watched = members.entry(group.clone()).or_default();
            let topics = self.topics(&group);
            for (member, (address, probe)) in wanted {
                if let Some(watched) = watched.get(&member) {
                    watched.prober.follow(&topics);
                    continue;
                }
                let (name, sink) = (member.clone(), sink.clone());
                let prober = match &probe {
                    Probe::Native => {
                        let group = group.clone();
                        Watcher::Redis(Prober::spawn(&self.links, group, name, &address, PROBE_EVERY, sink))
                    }
                    Probe::Tcp | Probe::Http { .. } => {
                        let names = (group.clone(), name);
                        Watcher::Other(endpoint::watch(names, address.clone(), probe.clone(), sink))
                    }
                    Probe::Cluster { bootstrap } => {
                        let access = cluster_access(&self.kafka, &group, bootstrap);
                        let (told, topics) = watch::channel(topics.clone());
                        Watcher::Kafka(kafka::watch((group.clone(), name), access, topics, sink), told)
                    }
                };
                watched.insert(member, Watched { address, probe, prober });
            }
        }
    }

    /// The topics of a Kafka group, on which our rights are looked at; none of other groups.
    fn topics(&self, group: &GroupName) -> Vec<String> {
        let topics =
            |state: &primacy_core::State| Some(state.groups.get(group)?.spec.mirror.as_ref()?.topics.clone());
        self.consensus.read(topics).unwrap_or_default()
    }

    fn take_in(&self, sighting: Sighting, members: &Members, rechecks: &mut Rechecks) {
        let Sighting { group, member, at, reach, last_up, rate_peak_bytes } = sighting;
        // A sighting of a member that was removed meanwhile.
        let Some(watched) = members.get(&group).filter(|watched| watched.contains_key(&member)) else {
            return;
        };
        let observation = Observation { at, reach, last_up, rate_peak_bytes };
        if !self.board.see(now(), &self.consensus, (&group, &member, &observation)) {
            return;
        }
        self.news.tell();
        rechecks.note(&group, &member, &watched[&member].address, &observation);
        if link_ended(&observation.reach) {
            for (_, other) in watched.iter().filter(|(name, _)| **name != member) {
                other.prober.probe_now();
            }
            tracing::debug!(%group, %member, "connection ended, asking the whole group");
        }
    }
}

fn probe(members: &Members, group: &GroupName, member: &MemberName) {
    if let Some(watched) = members.get(group).and_then(|g| g.get(member)) {
        watched.prober.probe_now();
    }
}

fn link_ended(reach: &Reach) -> bool {
    matches!(reach, Reach::Down { ended: Some(LinkEnd::Eof | LinkEnd::Reset), .. })
}

/// Waits until `at`; for ever without one.
pub(crate) async fn until(at: Option<Moment>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
