//! What this node has applied, and how fresh that is.

use openraft::entry::RaftPayload;
use openraft::storage::EntryResponder;
use primacy_core::{Moment, NodeId, Revision, State, Term};
use primacy_runtime::watch;
use primacy_storage::{Applied, Entry, LogId, Payload, Proposal, SnapshotMeta, StoredMembership, TypeConfig};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[derive(Debug, Default)]
struct Content {
    state: State,
    /// Which data directory belongs to a node. Kept for ever: an id is never used again.
    registry: BTreeMap<NodeId, u64>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// How far this node has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// One more than the index of the last applied entry; 0 when there is none.
    pub(crate) next: u64,
    /// The term of that entry.
    pub(crate) term: Term,
}

/// When this node last held all that the leader had committed.
#[derive(Debug, Default)]
struct Freshness {
    at: Option<Moment>,
    /// Heard of at this moment: entries below this index are committed. Not all of them are applied yet.
    awaiting: Option<(Moment, u64)>,
}

pub(crate) struct Replica {
    content: RwLock<Content>,
    revision: watch::Sender<Revision>,
    progress: watch::Sender<Progress>,
    freshness: Mutex<Freshness>,
}

impl Replica {
    pub(crate) fn new() -> Self {
        Self {
            content: RwLock::default(),
            revision: watch::channel(Revision::default()).0,
            progress: watch::channel(Progress::default()).0,
            freshness: Mutex::default(),
        }
    }

    fn locked(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked_mut(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read<R>(&self, f: impl FnOnce(&State) -> R) -> R {
        f(&self.locked().state)
    }

    /// The store registered for `node`.
    pub(crate) fn store_of(&self, node: NodeId) -> Option<u64> {
        self.locked().registry.get(&node).copied()
    }

    pub(crate) fn applied_state(&self) -> (Option<LogId>, StoredMembership) {
        let content = self.locked();
        (content.applied, content.membership.clone())
    }

    pub(super) fn copy(&self) -> (SnapshotMeta, State, BTreeMap<NodeId, u64>) {
        let content = self.locked();
        let meta = SnapshotMeta { last_log_id: content.applied, last_membership: content.membership.clone() };
        (meta, content.state.clone(), content.registry.clone())
    }

    pub(super) fn replace(&self, meta: &SnapshotMeta, state: State, registry: BTreeMap<NodeId, u64>) {
        let mut content = self.locked_mut();
        content.state = state;
        content.registry = registry;
        content.applied = meta.last_log_id;
        content.membership = meta.last_membership.clone();
        self.publish(content);
    }

    /// Applies a batch under one lock; answers go out after it, so that who gets one also reads it.
    pub(super) fn apply(&self, batch: Vec<io::Result<EntryResponder<TypeConfig>>>) -> io::Result<()> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut content = self.locked_mut();
        let mut failed = None;
        for item in batch {
            match item {
                Ok((entry, responder)) => {
                    let applied = content.apply(&entry);
                    answers.extend(responder.map(|responder| (responder, applied)));
                }
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        self.publish(content);
        for (responder, applied) in answers {
            responder.send(applied);
        }
        failed.map_or(Ok(()), Err)
    }

    fn publish(&self, content: RwLockWriteGuard<'_, Content>) {
        let revision = content.state.revision;
        let progress = content.applied.map_or_else(Progress::default, |id| Progress {
            next: id.index + 1,
            term: Term(id.leader_id.term),
        });
        drop(content);
        self.progress.send_if_modified(|held| std::mem::replace(held, progress) != progress);
        self.revision.send_if_modified(|held| std::mem::replace(held, revision) != revision);
        let mut fresh = self.freshness.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, next)) = fresh.awaiting
            && progress.next >= next
        {
            fresh.at = fresh.at.max(Some(at));
            fresh.awaiting = None;
        }
    }

    pub(crate) fn revisions(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn progress_now(&self) -> Progress {
        *self.progress.borrow()
    }

    /// At `at`, all that was committed were the entries below `next`, by a leader's word.
    pub(crate) fn heard(&self, at: Moment, next: u64) {
        let mut fresh = self.freshness.lock().unwrap_or_else(PoisonError::into_inner);
        if self.progress_now().next >= next {
            fresh.at = fresh.at.max(Some(at));
            fresh.awaiting = None;
        } else if fresh.awaiting.is_none() {
            // Not the latest word: under load that would be chased for ever.
            fresh.awaiting = Some((at, next));
        }
    }

    /// When this node last held all that was committed.
    pub(crate) fn fresh_at(&self) -> Option<Moment> {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner).at
    }
}

impl Content {
    fn apply(&mut self, entry: &Entry) -> Applied {
        let outcome = match &entry.payload {
            Payload::Normal(Proposal::Command(command)) => self.state.apply(entry.log_id.index, command),
            Payload::Normal(Proposal::RegisterNode { node, store_id }) => {
                // The first registration stands.
                self.registry.entry(*node).or_insert(*store_id);
                Ok(vec![])
            }
            Payload::Blank | Payload::Membership(_) => Ok(vec![]),
        };
        if let Some(membership) = entry.payload.get_membership() {
            self.membership = StoredMembership::new(Some(entry.log_id), membership);
        }
        self.applied = Some(entry.log_id);
        Applied { revision: self.state.revision, outcome }
    }
}
