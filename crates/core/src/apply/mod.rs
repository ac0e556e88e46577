//! The replicated state and the one way to change it.
//!
//! Every node applies the same commands in the same order and must come to the same state, so this module reads
//! nothing but its arguments. A command that no longer fits is rejected, never bent into shape: its sender has
//! planned against a state that is gone.

mod configure;
mod guards;
mod rejected;
mod transition;

pub use configure::check as check_groups;
pub use rejected::Rejected;

use crate::{
    BlockReason, Blocked, Command, Epoch, Event, EventBatch, Group, GroupName, NodeId, Pause, Revision, Term,
    WallTime,
};
use std::collections::{BTreeMap, VecDeque};

/// Who plans, since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The leader.
    pub node: NodeId,
    /// Its term.
    pub term: Term,
    /// The revision of its `AssumeLeadership`.
    pub revision: Revision,
}

/// The events that a watcher asked for are no longer kept; it must list the groups anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "revision {asked} is compacted: events are kept from revision {oldest}; list the groups, then watch from there"
)]
pub struct Compacted {
    /// What was asked for.
    pub asked: Revision,
    /// The oldest revision from which a watch can begin.
    pub oldest: Revision,
}

/// All that the cluster agrees on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The groups by name.
    pub groups: BTreeMap<GroupName, Group>,
    /// Who plans.
    pub leadership: Option<Leadership>,
    /// The log index of the last applied command that changed something.
    pub revision: Revision,
    /// Recent events, oldest first, at most [`State::EVENTS_MAX`] batches.
    pub events: VecDeque<EventBatch>,
    /// Events up to and including this revision are gone.
    pub compacted: Revision,
}

impl State {
    /// How many batches of events are kept for watchers that come back.
    pub const EVENTS_MAX: usize = 4_096;

    /// Applies the command of log entry `index`. Returns what happened; nothing, when it was true already.
    ///
    /// # Errors
    /// [`Rejected`] names the rule. The state is unchanged then.
    pub fn apply(&mut self, index: u64, command: &Command) -> Result<Vec<Event>, Rejected> {
        let revision = Revision(index);
        let (events, at) = match command {
            Command::ConfigureGroups { groups, prune, at, .. } => {
                (configure::apply(self, revision, groups, *prune)?, *at)
            }
            Command::AssumeLeadership { node, term, at } => {
                (self.assume_leadership(revision, *node, *term)?, *at)
            }
            Command::StartTransition(start) => (transition::start(self, revision, start)?, start.at),
            Command::ConfirmFence { group, epoch, proof, end, drained_us, closed_at, rescue, lost, at } => {
                let fence = transition::Fence {
                    proof: proof.clone(),
                    end: end.clone(),
                    drained_us: *drained_us,
                    closed_at: *closed_at,
                    rescue: *rescue,
                    lost: *lost,
                };
                (transition::confirm_fence(self, revision, group, *epoch, &fence, *at)?, *at)
            }
            Command::ConfirmRescue { group, epoch, end, fetched_bytes, lost, note, at } => {
                let rescue = transition::Rescue {
                    end: end.clone(),
                    fetched_bytes: *fetched_bytes,
                    lost: *lost,
                    note: note.clone(),
                };
                (transition::confirm_rescue(self, revision, group, *epoch, rescue, *at)?, *at)
            }
            Command::ConfirmPromotion { group, epoch, lineage, fence, witness, at } => {
                let promotion = transition::Promotion { lineage, fence, witness: *witness };
                (transition::confirm_promotion(self, revision, group, *epoch, &promotion, *at)?, *at)
            }
            Command::ChangeFence { group, epoch, fence, at } => {
                (guards::change_fence(self, revision, group, *epoch, fence)?, *at)
            }
            Command::AppointWitness { group, epoch, node, at } => {
                (guards::appoint_witness(self, revision, group, *epoch, *node)?, *at)
            }
            Command::RecordOrphaned { group, epoch, member, bytes, at } => {
                (transition::record_orphaned(self, revision, group, *epoch, member, *bytes)?, *at)
            }
            Command::AppointHolder { group, epoch, node, degraded, at } => {
                (guards::appoint_holder(self, revision, group, *epoch, *node, *degraded)?, *at)
            }
            Command::ConfirmOpen { group, epoch, at } => {
                (transition::confirm_open(self, revision, group, *epoch, *at)?, *at)
            }
            Command::Settle { group, epoch, note, at } => {
                (transition::settle(self, revision, group, *epoch, note, *at)?, *at)
            }
            Command::RollBack { group, epoch, failure, at } => {
                (transition::roll_back(self, revision, group, *epoch, failure, *at)?, *at)
            }
            Command::ConfirmRollBack { group, epoch, at } => {
                (transition::confirm_roll_back(self, revision, group, *epoch, *at)?, *at)
            }
            Command::Pause { group, by, reason, at } => {
                (self.pause(revision, group, by, reason.as_deref(), *at)?, *at)
            }
            Command::Resume { group, by, at } => (self.resume(revision, group, by)?, *at),
            Command::Block { group, epoch, reason, at } => {
                (self.block(revision, group, *epoch, reason, *at)?, *at)
            }
            Command::Unblock { group, at } => (self.unblock(revision, group)?, *at),
        };
        self.publish(revision, at, &events);
        Ok(events)
    }

    /// The batches after `after`, oldest first.
    ///
    /// # Errors
    /// [`Compacted`] when some of them are gone.
    pub fn events_after(&self, after: Revision) -> Result<impl Iterator<Item = &EventBatch>, Compacted> {
        if after < self.compacted {
            return Err(Compacted { asked: after, oldest: self.compacted });
        }
        let first = self.events.partition_point(|batch| batch.revision <= after);
        Ok(self.events.range(first..))
    }

    fn publish(&mut self, revision: Revision, at: WallTime, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        self.revision = revision;
        self.events.push_back(EventBatch { revision, at, events: events.to_vec() });
        while self.events.len() > Self::EVENTS_MAX {
            if let Some(gone) = self.events.pop_front() {
                self.compacted = gone.revision;
            }
        }
    }

    fn group_mut(&mut self, name: &GroupName) -> Result<&mut Group, Rejected> {
        self.groups.get_mut(name).ok_or_else(|| Rejected::UnknownGroup { group: name.clone() })
    }

    fn assume_leadership(
        &mut self,
        revision: Revision,
        node: NodeId,
        term: Term,
    ) -> Result<Vec<Event>, Rejected> {
        if let Some(known) = self.leadership {
            if known.term > term {
                return Err(Rejected::StaleTerm { term, current: known.term });
            }
            if known.term == term && known.node == node {
                return Ok(vec![]);
            }
        }
        self.leadership = Some(Leadership { node, term, revision });
        Ok(vec![Event::LeadershipAssumed { node, term }])
    }

    fn pause(
        &mut self,
        revision: Revision,
        name: &GroupName,
        by: &str,
        reason: Option<&str>,
        at: WallTime,
    ) -> Result<Vec<Event>, Rejected> {
        let group = self.group_mut(name)?;
        if let Some(t) = group.transition.as_ref().filter(|t| t.phase.closes_the_door()) {
            return Err(Rejected::TransitionInProgress { group: name.clone(), epoch: t.epoch });
        }
        if group.paused.is_some() {
            return Ok(vec![]);
        }
        group.paused = Some(Pause { by: by.to_owned(), reason: reason.map(str::to_owned), at });
        group.revision = revision;
        Ok(vec![Event::GroupPaused { group: name.clone(), by: by.to_owned() }])
    }

    fn resume(&mut self, revision: Revision, name: &GroupName, by: &str) -> Result<Vec<Event>, Rejected> {
        let group = self.group_mut(name)?;
        if group.paused.take().is_none() {
            return Ok(vec![]);
        }
        group.revision = revision;
        Ok(vec![Event::GroupResumed { group: name.clone(), by: by.to_owned() }])
    }

    fn block(
        &mut self,
        revision: Revision,
        name: &GroupName,
        epoch: Epoch,
        reason: &BlockReason,
        at: WallTime,
    ) -> Result<Vec<Event>, Rejected> {
        let group = self.group_mut(name)?;
        let found = group.epoch_last();
        if found != epoch {
            return Err(Rejected::StaleEpoch { group: name.clone(), given: epoch, found });
        }
        if group.blocked.as_ref().is_some_and(|b| b.reason == *reason) {
            return Ok(vec![]);
        }
        group.blocked = Some(Blocked { reason: reason.clone(), since: at });
        group.revision = revision;
        Ok(vec![Event::GroupBlocked { group: name.clone(), reason: reason.clone() }])
    }

    fn unblock(&mut self, revision: Revision, name: &GroupName) -> Result<Vec<Event>, Rejected> {
        let group = self.group_mut(name)?;
        if group.blocked.take().is_none() {
            return Ok(vec![]);
        }
        group.revision = revision;
        Ok(vec![Event::GroupUnblocked { group: name.clone() }])
    }
}
