//! Events and their batches.

use super::{chosen, each, parsed, required};
use crate::{WireError, v1};
use primacy_core::{Epoch, Event, EventBatch, GroupName, NodeId, Revision, Term, WallTime};
use v1::event::{
    ByOperator, FenceChanged, GroupBlocked, HolderAppointed, Kind, LeadershipAssumed, OfGroup, OrphanedFound,
    PhasePassed, Place, PrimaryChanged, TransitionEnded, TransitionStarted, WitnessAppointed,
};

fn of_group(group: &GroupName) -> OfGroup {
    OfGroup { group: group.as_str().to_owned() }
}

fn by_operator(group: &GroupName, by: &str) -> ByOperator {
    ByOperator { group: group.as_str().to_owned(), by: by.to_owned() }
}

impl From<&Event> for v1::Event {
    fn from(event: &Event) -> Self {
        let kind = match event {
            Event::LeadershipAssumed { node, term } => {
                Kind::LeadershipAssumed(LeadershipAssumed { node_id: node.0, term: term.0 })
            }
            Event::GroupConfigured { group } => Kind::GroupConfigured(of_group(group)),
            Event::GroupRemoved { group } => Kind::GroupRemoved(of_group(group)),
            Event::TransitionStarted { group, epoch, from, to, cause } => {
                Kind::TransitionStarted(TransitionStarted {
                    group: group.as_str().to_owned(),
                    epoch: epoch.0,
                    from: from.as_ref().map(|m| m.as_str().to_owned()),
                    to: to.as_str().to_owned(),
                    cause: v1::Cause::from(*cause).into(),
                })
            }
            Event::PhasePassed { group, epoch, phase, us, note } => Kind::PhasePassed(PhasePassed {
                group: group.as_str().to_owned(),
                epoch: epoch.0,
                phase: v1::Phase::from(*phase).into(),
                us: *us,
                note: note.clone(),
            }),
            Event::PrimaryChanged { group, epoch, member, site, address, previous } => {
                Kind::PrimaryChanged(PrimaryChanged {
                    group: group.as_str().to_owned(),
                    epoch: epoch.0,
                    member: member.as_str().to_owned(),
                    site: site.as_str().to_owned(),
                    address: address.to_string(),
                    previous: previous.as_ref().map(|(member, address)| Place {
                        member: member.as_str().to_owned(),
                        address: address.to_string(),
                    }),
                })
            }
            Event::FenceChanged { group, epoch, fence } => Kind::FenceChanged(FenceChanged {
                group: group.as_str().to_owned(),
                epoch: epoch.0,
                fence: Some(fence.into()),
            }),
            Event::WitnessAppointed { group, epoch, node } => Kind::WitnessAppointed(WitnessAppointed {
                group: group.as_str().to_owned(),
                epoch: epoch.0,
                node_id: node.map(|n| n.0),
            }),
            Event::HolderAppointed { group, epoch, node, degraded } => {
                Kind::HolderAppointed(HolderAppointed {
                    group: group.as_str().to_owned(),
                    epoch: epoch.0,
                    node_id: node.map(|n| n.0),
                    degraded: *degraded,
                })
            }
            Event::OrphanedFound { group, epoch, member, bytes } => Kind::OrphanedFound(OrphanedFound {
                group: group.as_str().to_owned(),
                epoch: epoch.0,
                member: member.as_str().to_owned(),
                bytes: *bytes,
            }),
            Event::TransitionEnded { group, epoch, outcome, lost, failure } => {
                Kind::TransitionEnded(TransitionEnded {
                    group: group.as_str().to_owned(),
                    epoch: epoch.0,
                    outcome: v1::TransitionOutcome::from(*outcome).into(),
                    lost: Some(lost.into()),
                    failure: failure.clone(),
                })
            }
            Event::GroupPaused { group, by } => Kind::GroupPaused(by_operator(group, by)),
            Event::GroupResumed { group, by } => Kind::GroupResumed(by_operator(group, by)),
            Event::GroupBlocked { group, reason } => Kind::GroupBlocked(GroupBlocked {
                group: group.as_str().to_owned(),
                reason: Some(reason.into()),
            }),
            Event::GroupUnblocked { group } => Kind::GroupUnblocked(of_group(group)),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = WireError;

    fn try_from(event: v1::Event) -> Result<Self, WireError> {
        Ok(match event.kind.ok_or_else(|| WireError::missing("kind"))? {
            Kind::LeadershipAssumed(assumed) => {
                Event::LeadershipAssumed { node: NodeId(assumed.node_id), term: Term(assumed.term) }
            }
            Kind::GroupConfigured(of) => {
                Event::GroupConfigured { group: parsed(&of.group, "group_configured.group")? }
            }
            Kind::GroupRemoved(of) => {
                Event::GroupRemoved { group: parsed(&of.group, "group_removed.group")? }
            }
            Kind::TransitionStarted(started) => {
                transition_started(&started).map_err(|e| e.within("transition_started"))?
            }
            Kind::PhasePassed(passed) => phase_passed(passed).map_err(|e| e.within("phase_passed"))?,
            Kind::PrimaryChanged(changed) => {
                primary_changed(changed).map_err(|e| e.within("primary_changed"))?
            }
            Kind::FenceChanged(changed) => Event::FenceChanged {
                group: parsed(&changed.group, "fence_changed.group")?,
                epoch: Epoch(changed.epoch),
                fence: required(changed.fence, "fence_changed.fence")?,
            },
            Kind::WitnessAppointed(appointed) => Event::WitnessAppointed {
                group: parsed(&appointed.group, "witness_appointed.group")?,
                epoch: Epoch(appointed.epoch),
                node: appointed.node_id.map(NodeId),
            },
            Kind::HolderAppointed(appointed) => Event::HolderAppointed {
                group: parsed(&appointed.group, "holder_appointed.group")?,
                epoch: Epoch(appointed.epoch),
                node: appointed.node_id.map(NodeId),
                degraded: appointed.degraded,
            },
            Kind::OrphanedFound(found) => Event::OrphanedFound {
                group: parsed(&found.group, "orphaned_found.group")?,
                epoch: Epoch(found.epoch),
                member: parsed(&found.member, "orphaned_found.member")?,
                bytes: found.bytes,
            },
            Kind::TransitionEnded(ended) => {
                transition_ended(ended).map_err(|e| e.within("transition_ended"))?
            }
            Kind::GroupPaused(paused) => {
                Event::GroupPaused { group: parsed(&paused.group, "group_paused.group")?, by: paused.by }
            }
            Kind::GroupResumed(resumed) => {
                Event::GroupResumed { group: parsed(&resumed.group, "group_resumed.group")?, by: resumed.by }
            }
            Kind::GroupBlocked(blocked) => Event::GroupBlocked {
                group: parsed(&blocked.group, "group_blocked.group")?,
                reason: required(blocked.reason, "group_blocked.reason")?,
            },
            Kind::GroupUnblocked(of) => {
                Event::GroupUnblocked { group: parsed(&of.group, "group_unblocked.group")? }
            }
        })
    }
}

fn transition_started(started: &TransitionStarted) -> Result<Event, WireError> {
    Ok(Event::TransitionStarted {
        group: parsed(&started.group, "group")?,
        epoch: Epoch(started.epoch),
        from: super::optional_parsed(started.from.as_deref(), "from")?,
        to: parsed(&started.to, "to")?,
        cause: chosen::<v1::Cause, _>(started.cause, "cause")?,
    })
}

fn phase_passed(passed: PhasePassed) -> Result<Event, WireError> {
    Ok(Event::PhasePassed {
        group: parsed(&passed.group, "group")?,
        epoch: Epoch(passed.epoch),
        phase: chosen::<v1::Phase, _>(passed.phase, "phase")?,
        us: passed.us,
        note: passed.note,
    })
}

fn primary_changed(changed: PrimaryChanged) -> Result<Event, WireError> {
    let previous = match changed.previous {
        None => None,
        Some(place) => {
            Some((parsed(&place.member, "previous.member")?, parsed(&place.address, "previous.address")?))
        }
    };
    Ok(Event::PrimaryChanged {
        group: parsed(&changed.group, "group")?,
        epoch: Epoch(changed.epoch),
        member: parsed(&changed.member, "member")?,
        site: parsed(&changed.site, "site")?,
        address: parsed(&changed.address, "address")?,
        previous,
    })
}

fn transition_ended(ended: TransitionEnded) -> Result<Event, WireError> {
    Ok(Event::TransitionEnded {
        group: parsed(&ended.group, "group")?,
        epoch: Epoch(ended.epoch),
        outcome: chosen::<v1::TransitionOutcome, _>(ended.outcome, "outcome")?,
        lost: required(ended.lost, "lost")?,
        failure: ended.failure,
    })
}

impl From<&EventBatch> for v1::EventBatch {
    fn from(batch: &EventBatch) -> Self {
        Self {
            revision: batch.revision.0,
            at_us: batch.at.0,
            events: batch.events.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::EventBatch> for EventBatch {
    type Error = WireError;

    fn try_from(batch: v1::EventBatch) -> Result<Self, WireError> {
        if batch.events.is_empty() {
            return Err(WireError::new("events", "is empty, and a batch has at least one event"));
        }
        Ok(Self {
            revision: Revision(batch.revision),
            at: WallTime(batch.at_us),
            events: each(batch.events, "events")?,
        })
    }
}
