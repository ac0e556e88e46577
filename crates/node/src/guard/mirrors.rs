//! The mirrors into the Kafka clusters at this node's site, each under a lease.
//!
//! The problem: two mirrors into one cluster would both write, and one that copies from a cluster that is no longer
//! active would write what must not be there. The idea: the leader leases each mirror to one node at a time, for one
//! epoch; a mirror asks before each write whether its lease still holds, and is ended when it does not. A mirror that
//! is started anew finds out from the target where to go on.
//!
//! It must not know how records are copied: that is `primacy_kafka`.

mod external;
mod figures;

use super::{Guards, Intent, intent};
use crate::serve::cluster_access;
use external::Watched;
use figures::report_of;
use primacy_core::view::MirrorReport;
use primacy_core::{
    Address, Epoch, GapPolicy, Group, GroupKind, GroupName, MemberName, MirrorEngine, MirrorSpec, Moment,
    SiteName,
};
use primacy_kafka::{Authority, Gaps, Mirror, MirrorPlan, Patterns, RateLimit};
use primacy_runtime::{Task, now, sleep, spawn};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tracing::{error, info};

/// How often a mirror's figures are read.
const FIGURES_EVERY: Duration = Duration::from_millis(250);

type Key = (GroupName, MemberName);

/// The mirrors that this node runs.
#[derive(Default)]
pub(super) struct Mirrors {
    running: Mutex<BTreeMap<Key, Running>>,
    /// One for all mirrors of a group, so that they share it fairly.
    limits: Mutex<BTreeMap<GroupName, (u64, RateLimit)>>,
}

/// What a mirror is started with; another one takes its place when this changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    epoch: Epoch,
    source: Vec<Address>,
    target: Vec<Address>,
    spec: MirrorSpec,
    /// The members and the id of the cluster that was made active, as far as it is known.
    from: MemberName,
    source_id: String,
}

/// Until when a mirror may write, for all who ask: in microseconds of this node's clock.
#[derive(Clone)]
struct Until(Arc<AtomicU64>);

impl Until {
    fn new(until: Moment) -> Until {
        Until(Arc::new(AtomicU64::new(until.0)))
    }

    fn set(&self, until: Moment) {
        self.0.store(until.0, Ordering::Release);
    }

    fn holds(&self, at: Moment) -> bool {
        at.0 < self.0.load(Ordering::Acquire)
    }
}

struct Running {
    job: Job,
    until: Until,
    work: Work,
    /// Tells what it does.
    _teller: Task<()>,
}

/// Who copies.
#[derive(Clone)]
enum Work {
    Ours(Arc<Mirror>),
    Others(Arc<Watched>),
}

impl Work {
    fn is_superseded(&self) -> bool {
        match self {
            Work::Ours(mirror) => mirror.is_superseded(),
            Work::Others(_) => false,
        }
    }

    fn report(&self, epoch: Epoch, leased: bool, at: Moment) -> MirrorReport {
        match self {
            Work::Ours(mirror) => report_of(&mirror.status(), epoch, leased, at),
            Work::Others(watched) => watched.report(epoch, leased, at),
        }
    }
}

impl Guards {
    /// The members into which this node could run the mirror: the standbys at its site, and those beside which no node is.
    pub(super) fn could_mirror(&self, group: &Group) -> Vec<MemberName> {
        let Some(primary) = group.primary.as_ref().filter(|_| is_mirrored(group)) else { return Vec::new() };
        let nodes = self.consensus.membership().nodes;
        let beside = |site: &SiteName| {
            *site == self.config.node.site || !nodes.values().any(|node| node.site == *site)
        };
        let standbys = group.spec.members.iter().filter(|m| m.name != primary.member);
        standbys.filter(|m| beside(&m.site)).map(|m| m.name.clone()).collect()
    }

    /// Starts what is leased and ends what is not.
    pub(super) fn reconcile_mirrors(self: &Arc<Self>, at: Moment) {
        let jobs = self.consensus.read(|state| {
            let mirrored = state.groups.values().filter(|g| is_mirrored(g) && intent(g) == Intent::None);
            let of = |group: &Group| {
                let standbys = self.could_mirror(group);
                let job = |member: MemberName| {
                    job(group, &member).map(|job| ((group.spec.name.clone(), member), job))
                };
                standbys.into_iter().filter_map(job).collect::<Vec<_>>()
            };
            mirrored.flat_map(of).collect::<BTreeMap<Key, Job>>()
        });
        let mut running = self.mirrors.running();
        running.retain(|key, mirror| {
            let job = jobs.get(key);
            let leased = self.leases.mirror(&key.0, &key.1, mirror.job.epoch, at).is_some();
            let goes_on = leased && job == Some(&mirror.job) && self.stranger(key, &mirror.job).is_none();
            // An owner that another one overtook, and that has the lease again, begins anew.
            let goes_on = goes_on && !mirror.work.is_superseded();
            if !goes_on {
                info!(group = %key.0, member = %key.1, epoch = mirror.job.epoch.0, "the mirror ends here");
                // Whatever it is about to write it asks for first.
                mirror.until.set(Moment(0));
                self.tell_mirror(key, &MirrorReport { running: false, ..mirror.report(at) });
            }
            goes_on
        });
        self.board.keep_mirrors(|group, member| jobs.contains_key(&(group.clone(), member.clone())));
        for (key, job) in jobs {
            let Some(until) = self.leases.mirror(&key.0, &key.1, job.epoch, at) else { continue };
            if let Some(mirror) = running.get(&key) {
                mirror.until.set(until);
                continue;
            }
            if let Some(trouble) = self.stranger(&key, &job) {
                let idle = MirrorReport::nothing(at, job.epoch);
                self.tell_mirror(&key, &MirrorReport { trouble: Some(trouble), ..idle });
                continue;
            }
            if let Some(mirror) = self.start_mirror(&key, job, until) {
                running.insert(key, mirror);
            }
        }
    }

    /// Why nothing may be copied: an address leads to another cluster than it should, or that is not known yet.
    fn stranger(&self, (group, member): &Key, job: &Job) -> Option<String> {
        let Some((_, source)) = self.board.own_answer(group, &job.from) else {
            return Some(format!("{} has not answered this node yet", job.from));
        };
        if !job.source_id.is_empty() && source.run_id != job.source_id {
            return Some(format!(
                "{} answers as cluster {}, and cluster {} was made active; correct its bootstrap addresses",
                job.from, source.run_id, job.source_id
            ));
        }
        let target = self.board.own_answer(group, member).map(|(_, target)| target.run_id);
        (target.as_ref() == Some(&source.run_id)).then(|| {
            format!(
                "{member} and {} are the same cluster ({}); correct the bootstrap addresses of one of them",
                job.from, source.run_id
            )
        })
    }

    fn start_mirror(self: &Arc<Self>, key: &Key, job: Job, until: Moment) -> Option<Running> {
        let (group, _) = key;
        let until = Until::new(until);
        let work = match job.spec.engine {
            MirrorEngine::Builtin => Work::Ours(self.start_ours(key, &job, &until)?),
            MirrorEngine::External => {
                let source = cluster_access(&self.config.kafka, group, &job.source);
                let target = cluster_access(&self.config.kafka, group, &job.target);
                Work::Others(Watched::start(source, target, patterns(key, &job.spec.topics)?))
            }
        };
        let teller = tell(Arc::downgrade(self), key.clone(), job.epoch, until.clone(), work.clone());
        Some(Running { job, until, work, _teller: spawn(teller) })
    }

    fn start_ours(&self, key: &Key, job: &Job, until: &Until) -> Option<Arc<Mirror>> {
        let (group, member) = key;
        let holds = until.clone();
        let plan = MirrorPlan {
            group: group.to_string(),
            epoch: job.epoch.0,
            source: cluster_access(&self.config.kafka, group, &job.source),
            target: cluster_access(&self.config.kafka, group, &job.target),
            topics: patterns(key, &job.spec.topics)?,
            groups: patterns(key, &job.spec.groups)?,
            gaps: match job.spec.gaps {
                GapPolicy::Translate => Gaps::Translate,
                GapPolicy::Refuse => Gaps::Refuse,
                GapPolicy::Fill => Gaps::Fill,
            },
            rate: job.spec.rate_max_bytes.map(|rate| self.mirrors.limit(group, rate)),
            authority: Authority::new(move || holds.holds(now())),
            buffer_bytes_max: MirrorPlan::BUFFER_BYTES_MAX,
        };
        info!(%group, %member, from = %job.from, epoch = job.epoch.0, "the mirror begins here");
        Some(Arc::new(Mirror::start(plan)))
    }

    fn tell_mirror(&self, (group, member): &Key, report: &MirrorReport) {
        if self.board.note_mirror(group, member, report) {
            self.news.tell();
        }
    }
}

impl Mirrors {
    /// Writes down how each mirror is.
    pub(super) fn record(&self, at: Moment) {
        for ((group, member), running) in self.running().iter() {
            let report = running.report(at);
            figures::record(group, member, &report, at);
            if let Work::Ours(mirror) = &running.work {
                figures::record_parts(group, member, &mirror.status());
            }
        }
    }

    fn limit(&self, group: &GroupName, rate: u64) -> RateLimit {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let known = limits.get(group).filter(|(known, _)| *known == rate);
        if let Some((_, limit)) = known {
            return limit.clone();
        }
        let limit = RateLimit::new(rate);
        limits.insert(group.clone(), (rate, limit.clone()));
        limit
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Key, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn report(&self, at: Moment) -> MirrorReport {
        self.work.report(self.job.epoch, self.until.holds(at), at)
    }
}

fn is_mirrored(group: &Group) -> bool {
    group.spec.mirror.is_some() && group.spec.kind == GroupKind::Kafka
}

fn job(group: &Group, member: &MemberName) -> Option<Job> {
    let primary = group.primary.as_ref()?;
    Some(Job {
        epoch: primary.epoch,
        source: group.spec.member(&primary.member)?.addresses().to_vec(),
        target: group.spec.member(member)?.addresses().to_vec(),
        spec: group.spec.mirror.clone()?,
        from: primary.member.clone(),
        source_id: primary.lineage.run_id.clone(),
    })
}

fn patterns((group, member): &Key, texts: &[String]) -> Option<Patterns> {
    match Patterns::new(texts) {
        Ok(patterns) => Some(patterns),
        Err(error) => {
            error!(%group, %member, %error, "nothing is mirrored; correct the pattern in groups.toml");
            None
        }
    }
}

/// Tells the leader how a mirror is, until it ends.
async fn tell(guards: Weak<Guards>, key: Key, epoch: Epoch, until: Until, work: Work) {
    loop {
        let Some(guards) = guards.upgrade() else { return };
        let at = now();
        guards.tell_mirror(&key, &work.report(epoch, until.holds(at), at));
        drop(guards);
        sleep(FIGURES_EVERY).await;
    }
}
