//! What this node does at its own site to keep every member shut but the primary: leases, witness, gates.
//!
//! The problem: a site that is cut off cannot be told anything, so whatever keeps a primary open there must end by itself.
//! The idea: everything here holds only under a lease, and each guard ends itself when the lease does. The [`Guards`]
//! follow the committed state and the leases: they attach the witness where this node is appointed, seal its tail when
//! an unplanned transition begins, and say so to the leader at once.
//!
//! It must not decide who is primary, and must not fence a primary because a lease was lost: coordinators that are down
//! stop nobody's Redis.

mod ask;
mod gates;
mod kill;
mod leases;
mod post;
mod tails;

pub(crate) use gates::Gates;
pub(crate) use tails::{TailError, send};

use crate::config::NodeConfig;
use crate::lead::Board;
use crate::observe::{News, until};
use crate::peers::Peers;
use leases::Leases;
use post::Post;
use primacy_consensus::Consensus;
use primacy_core::{Epoch, FencePolicy, Group, GroupKind, GroupName, Moment, NodeId, State};
use primacy_redis::{Links, TailServer, WitnessOptions};
use primacy_runtime::{now, watch};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

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
    posts: Mutex<BTreeMap<GroupName, Post>>,
    leases: Leases,
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
            leases: Leases::default(),
            wake: Notify::new(),
            changed,
        })
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut revisions = self.consensus.revision_watch();
        let mut asking = leases::Asking::default();
        loop {
            let wanted = self.consensus.read(|state| self.wanted(state));
            let ask_at = asking.plan(&self, wanted, now());
            let end_at = self.reconcile();
            let wake_at = [ask_at, end_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                changed = revisions.changed() => if changed.is_err() { return },
                answer = asking.answered() => asking.take_in(&self, answer),
                () = self.wake.notified() => {}
                () = until(wake_at) => {}
            }
        }
    }

    /// The leases that this node needs: as witness, and for its gates.
    fn wanted(&self, state: &State) -> BTreeMap<GroupName, (Epoch, bool)> {
        let of = |(name, group): (&GroupName, &Group)| {
            let primary = group.primary.as_ref()?;
            let witness = primary.witness == Some(self.me) && group.spec.kind == GroupKind::Redis;
            (witness || self.gates.has(name)).then(|| (name.clone(), (primary.epoch, witness)))
        };
        state.groups.iter().filter_map(of).collect()
    }

    /// Makes posts and gates follow state and leases. Says when the first lease ends.
    fn reconcile(self: &Arc<Self>) -> Option<Moment> {
        let at = now();
        let mut changed = false;
        {
            let mut posts = self.posts();
            self.consensus.read(|state| {
                let before = posts.len();
                posts.retain(|name, _| state.groups.contains_key(name));
                changed |= posts.len() != before;
                for (name, group) in &state.groups {
                    changed |= self.reconcile_post(&mut posts, name, group, at);
                    self.gates.follow(self, name, group, at);
                }
            });
            self.board.keep_witnesses(|group| posts.contains_key(group));
        }
        if changed {
            self.changed.send_if_modified(|n| {
                *n += 1;
                true
            });
        }
        self.leases.next_end(at)
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
        if outdated {
            posts.remove(name);
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
