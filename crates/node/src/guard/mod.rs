//! What this node does at its own site to keep every member shut but the primary: leases, witness, gates.
//!
//! The problem: a site that is cut off cannot be told anything, so whatever keeps a primary open there must end by itself.
//! The idea: everything here holds only under a lease, and each guard ends itself when the lease does. The [`Guards`]
//! follow the committed state and the leases: they attach the witness where this node is appointed, seal its tail when
//! an unplanned transition begins, and say so to the leader at once.
//!
//! It must not decide who is primary, and must not fence a primary because a lease was lost: coordinators that are down
//! stop nobody's Redis.

mod ahead;
mod ask;
mod gates;
mod holder;
mod kill;
mod leases;
mod mirrors;
mod orphans;
mod post;
mod tails;
mod unheard;

pub(crate) use gates::Gates;
pub(crate) use holder::watch_holder;
pub(crate) use tails::{Asked, TailError, send};
pub(crate) use unheard::watch_unheard;

use crate::config::NodeConfig;
use crate::lead::Board;
use crate::observe::{News, until};
use crate::peers::Peers;
use holder::Holding;
use leases::{Leases, Want};
use metrics::{counter, gauge};
use mirrors::Mirrors;
use orphans::Orphan;
use post::Post;
use primacy_consensus::Consensus;
use primacy_core::lease;
use primacy_core::view::GateReport;
use primacy_core::{Epoch, FencePolicy, Group, GroupKind, GroupName, Moment, NodeId, State};
use primacy_redis::{Links, TailServer, WitnessOptions};
use primacy_runtime::{now, spawn, watch};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tracing::{error, warn};

/// Gates that close are looked at again so soon: until their last connection is gone.
const CLOSING: Duration = Duration::from_millis(2);

/// The guards of one node.
pub(crate) struct Guards {
    pub(crate) me: NodeId,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) consensus: Consensus,
    pub(crate) links: Links,
    pub(crate) board: Arc<Board>,
    pub(crate) news: Arc<News>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) tails: TailServer,
    /// Where replicas fetch tails from this node, and under which address a primary lists its witness.
    pub(crate) announce: (String, u16),
    pub(crate) gates: Gates,
    /// Locked before the holdings, and both before the board.
    posts: Mutex<BTreeMap<GroupName, Post>>,
    /// The copies of streams for another site.
    holdings: Mutex<BTreeMap<GroupName, Holding>>,
    leases: Leases,
    /// Locked before the board.
    mirrors: Mirrors,
    wake: Notify,
    /// Rises whenever a post appears or goes, for those who follow its tail.
    changed: watch::Sender<u64>,
}

/// What the guards are made of.
pub(crate) struct Parts {
    pub(crate) me: NodeId,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) consensus: Consensus,
    pub(crate) links: Links,
    pub(crate) board: Arc<Board>,
    pub(crate) news: Arc<News>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) announce: (String, u16),
    pub(crate) gates: Gates,
}

impl Guards {
    pub(crate) fn new(parts: Parts) -> Arc<Guards> {
        let Parts { me, config, consensus, links, board, news, peers, announce, gates } = parts;
        let (changed, _) = watch::channel(0);
        Arc::new(Guards {
            me,
            config,
            consensus,
            links,
            board,
            news,
            peers,
            tails: TailServer::new(),
            announce,
            gates,
            posts: Mutex::default(),
            holdings: Mutex::default(),
            leases: Leases::default(),
            mirrors: Mirrors::default(),
            wake: Notify::new(),
            changed,
        })
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut revisions = self.consensus.revision_watch();
        let mut asking = leases::Asking::default();
        let mut ahead = ahead::AskingAhead::default();
        loop {
            let (wanted, to_come) =
                self.consensus.read(|state| (self.wanted(state), self.wanted_ahead(state)));
            let ask_at = asking.plan(&self, wanted, now());
            let ahead_at = ahead.plan(&self, &to_come, now());
            let end_at = self.reconcile();
            let wake_at = [ask_at, ahead_at, end_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                // Before the news that it waited for: the witness attaches with it.
                answer = ahead.answered() => ahead.take_in(&self, &answer, now()),
                changed = revisions.changed() => if changed.is_err() { return },
                answer = asking.answered() => asking.take_in(&self, answer),
                () = self.wake.notified() => {}
                () = until(wake_at) => {}
            }
        }
    }

    /// The leases that this node needs: as witness, for its gates, and for the mirrors that it could run.
    fn wanted(&self, state: &State) -> BTreeMap<GroupName, Want> {
        let of = |(name, group): (&GroupName, &Group)| {
            let primary = group.primary.as_ref()?;
            let witness = primary.witness == Some(self.me) && group.spec.kind == GroupKind::Redis;
            let mirrors = self.could_mirror(group);
            (witness || !mirrors.is_empty() || self.gates.has(name))
                .then(|| (name.clone(), Want { epoch: primary.epoch, witness, mirrors }))
        };
        state.groups.iter().filter_map(of).collect()
    }

    /// The leases that this node will need once transitions have made their primaries.
    fn wanted_ahead(&self, state: &State) -> BTreeMap<GroupName, Want> {
        let of = |(name, group): (&GroupName, &Group)| {
            let t = group.transition.as_ref().filter(|t| lease::may_come(group, t.epoch))?;
            let beside = group.spec.member(&t.to).is_some_and(|to| to.site == self.config.node.site);
            let witness = beside && group.spec.kind == GroupKind::Redis;
            let want = Want { epoch: t.epoch, witness, mirrors: Vec::new() };
            (witness || self.gates.has(name)).then(|| (name.clone(), want))
        };
        state.groups.iter().filter_map(of).collect()
    }

    /// Makes posts and gates follow state and leases. Says when the first lease ends.
    fn reconcile(self: &Arc<Self>) -> Option<Moment> {
        let at = now();
        let (mut changed, mut gates) = (false, BTreeMap::new());
        {
            let (mut posts, mut holdings) = (self.posts(), self.holdings());
            let mut held = Vec::new();
            self.consensus.read(|state| {
                let before = posts.len();
                posts.retain(|name, _| state.groups.contains_key(name));
                holdings.retain(|name, _| state.groups.contains_key(name));
                changed |= posts.len() != before;
                for (name, group) in &state.groups {
                    changed |= self.reconcile_post(&mut posts, name, group, at);
                    let report = self.reconcile_holding(&mut holdings, name, group, at);
                    held.extend(report.map(|report| (name.clone(), report)));
                    let leads = self.gates.follow(self, name, group, at);
                    gates.insert(name.clone(), (group.epoch_last(), leads));
                }
            });
            self.board.keep_witnesses(|group| posts.contains_key(group));
            self.board.keep_holders(|group| holdings.contains_key(group));
            for (group, report) in &held {
                self.tell_holder(group, report);
            }
        }
        if changed {
            self.changed.send_if_modified(|n| {
                *n += 1;
                true
            });
        }
        self.reconcile_mirrors(at);
        let again = self.tell_gates(gates, at).then(|| at.after(CLOSING));
        [self.leases.next_end(at), again].into_iter().flatten().min()
    }

    /// Tells the leader how the gates are: the last epoch, and whether they lead anywhere.
    /// Says whether some are not shut yet and will be.
    fn tell_gates(&self, gates: BTreeMap<GroupName, (Epoch, bool)>, at: Moment) -> bool {
        self.board.keep_gates(|group| gates.contains_key(group));
        let mut closing = false;
        for (name, (epoch, leads)) in gates {
            let open = leads || self.gates.are_open(&name);
            closing |= open && !leads;
            if self.board.note_gates(&name, &GateReport { at, epoch, open }) {
                self.news.tell();
            }
        }
        closing
    }

    fn reconcile_post(
        self: &Arc<Self>,
        posts: &mut BTreeMap<GroupName, Post>,
        name: &GroupName,
        group: &Group,
        at: Moment,
    ) -> bool {
        let epoch = group.primary.as_ref().map(|p| p.epoch);
        let outdated = posts.get(name).is_some_and(|post| Some(post.epoch) != epoch);
        if outdated && let Some(post) = posts.remove(name) {
            self.keep_orphan(name, group, &post);
        }
        if posts.get_mut(name).is_some_and(Post::ends_now) {
            self.leases.let_go(name, at);
        }
        let intent = intent(group);
        let lease = self.leases.witness(name, epoch, at);
        let mine = group.spec.fence == FencePolicy::Witness
            && group.primary.as_ref().is_some_and(|p| p.witness == Some(self.me));
        match posts.get_mut(name) {
            // What was sealed for a transition stays until that is over.
            Some(post) if post.sealed_for.is_some_and(|e| e > group.epoch_last()) => outdated,
            Some(post) if intent == Intent::Unplanned => {
                post.seal(group.epoch_last());
                outdated
            }
            Some(post) if !mine || lease.is_none() => {
                post.close();
                outdated
            }
            Some(post) if post.is_over() && intent == Intent::None => {
                posts.remove(name);
                self.attach(posts, name, group, lease);
                true
            }
            Some(post) => {
                if let Some(until) = lease {
                    post.keep_until(until);
                }
                outdated
            }
            None if mine && lease.is_some() && intent == Intent::None => {
                self.attach(posts, name, group, lease);
                true
            }
            None => outdated,
        }
    }

    /// Saves what the tail of a replaced primary has beyond what its successor took over.
    fn keep_orphan(&self, name: &GroupName, group: &Group, post: &Post) {
        post.close();
        let orphan = Orphan::of(name, group, post.tail(), &post.member);
        let Some(orphan) = orphan else { return };
        let (name, data_dir) = (name.clone(), self.config.node.data_dir.clone());
        let saving = async move {
            match primacy_runtime::blocking(move || orphan.write(&data_dir)).await {
                Ok(Ok((path, bytes))) => warn!(
                    group = %name,
                    bytes,
                    file = %path.display(),
                    "what the old primary had sent and the new one does not have is kept in a file"
                ),
                Ok(Err(error)) => {
                    error!(group = %name, %error, "what only the old primary's witness has could not be saved");
                }
                Err(_) => {}
            }
        };
        spawn(saving).detach();
    }

    /// Writes down how leases, witnesses and gates are.
    pub(crate) fn record(&self) {
        let at = now();
        self.gates.record();
        self.mirrors.record(at);
        for (group, post) in self.posts().iter() {
            let (status, labels) = (post.status(), [("group", group.to_string())]);
            gauge!("primacy_witness_attached", &labels).set(f64::from(u8::from(status.attached)));
            gauge!("primacy_witness_tail_bytes", &labels).set((status.end_bytes - status.start_bytes) as f64);
            counter!("primacy_witness_copies_total", &labels).absolute(status.copies);
            let left = self
                .leases
                .witness(group, Some(post.epoch), at)
                .map_or(0.0, |until| until.since(at).as_secs_f64());
            gauge!("primacy_lease_left_seconds", &labels).set(left);
        }
        for (group, holding) in self.holdings().iter() {
            let (report, labels) = (holding.report(at), [("group", group.to_string())]);
            gauge!("primacy_holder_covers", &labels).set(f64::from(u8::from(report.covers)));
            gauge!("primacy_holder_copy_bytes", &labels).set((report.end_bytes - report.start_bytes) as f64);
        }
    }

    fn attach(
        self: &Arc<Self>,
        posts: &mut BTreeMap<GroupName, Post>,
        name: &GroupName,
        group: &Group,
        lease: Option<Moment>,
    ) {
        let Some(primary) = &group.primary else { return };
        let (Some(member), Some(until)) = (group.spec.member(&primary.member), lease) else { return };
        let options = WitnessOptions {
            group: name.clone(),
            member: member.name.clone(),
            address: member.address.clone(),
            announce: self.announce.clone(),
            tail_max_bytes: group.spec.tail_max_bytes,
            lineage: primary.lineage.clone(),
            until,
        };
        let guards = Arc::downgrade(self);
        posts.insert(name.clone(), Post::open(&self.links, options, primary.epoch, guards));
    }

    /// Takes what a witness connection says to the leader.
    fn tell(&self, group: &GroupName, report: &primacy_core::view::WitnessReport) {
        if self.board.note_witness(now(), group, report) {
            self.news.tell();
            self.wake.notify_one();
        }
    }

    fn posts(&self) -> MutexGuard<'_, BTreeMap<GroupName, Post>> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is under way against the present primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    None,
    /// A switchover: the primary itself refuses writes, and may stay.
    Planned,
    Unplanned,
}

pub(super) fn intent(group: &Group) -> Intent {
    let epoch = group.primary.as_ref().map(|p| p.epoch);
    match group.transition.as_ref().filter(|t| Some(t.epoch) != epoch && t.phase.closes_the_door()) {
        Some(t) if t.planned => Intent::Planned,
        Some(_) => Intent::Unplanned,
        None => Intent::None,
    }
}
