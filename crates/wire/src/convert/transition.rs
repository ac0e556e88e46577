//! One change of primary, under way or over.

use super::{chosen, each, mirror, optional, optional_parsed, parsed, required};
use crate::{WireError, v1};
use primacy_core::{Cause, Epoch, NodeId, Phase, PhaseRecord, Transition, TransitionOutcome, WallTime};

mirror!(Cause { Initial, Death, Silence, Demotion, Operator, Failback });
mirror!(Phase { Fence, Rescue, Promote, Redirect, Settle, RollBack });
mirror!(TransitionOutcome { Settled, RolledBack });

impl From<&PhaseRecord> for v1::PhaseRecord {
    fn from(record: &PhaseRecord) -> Self {
        Self {
            phase: v1::Phase::from(record.phase).into(),
            started_at_us: record.started_at.0,
            us: record.us,
            note: record.note.clone(),
        }
    }
}

impl TryFrom<v1::PhaseRecord> for PhaseRecord {
    type Error = WireError;

    fn try_from(record: v1::PhaseRecord) -> Result<Self, WireError> {
        Ok(Self {
            phase: chosen::<v1::Phase, _>(record.phase, "phase")?,
            started_at: WallTime(record.started_at_us),
            us: record.us,
            note: record.note,
        })
    }
}

impl From<&Transition> for v1::Transition {
    fn from(t: &Transition) -> Self {
        Self {
            group: t.group.as_str().to_owned(),
            epoch: t.epoch.0,
            from: t.from.as_ref().map(|m| m.as_str().to_owned()),
            to: t.to.as_str().to_owned(),
            cause: v1::Cause::from(t.cause).into(),
            planned: t.planned,
            requested_by: t.requested_by.clone(),
            reason: t.reason.clone(),
            evidence: t.evidence.iter().map(Into::into).collect(),
            proof: t.proof.as_ref().map(Into::into),
            expected: t.expected.clone(),
            to_run_id: t.to_run_id.clone(),
            end: t.end.as_ref().map(Into::into),
            rescue: t.rescue.map(|n| n.0),
            rescued_bytes: t.rescued_bytes,
            orphaned_bytes: t.orphaned_bytes,
            phase: v1::Phase::from(t.phase).into(),
            phase_since_us: t.phase_since.0,
            phases: t.phases.iter().map(Into::into).collect(),
            detected_at_us: t.detected_at.0,
            started_at_us: t.started_at.0,
            closed_at_us: t.closed_at.map(|at| at.0),
            opened_at_us: t.opened_at.map(|at| at.0),
            lost: Some((&t.lost).into()),
            loss_accepted: t.loss_accepted,
            outcome: t.outcome.map(|o| v1::TransitionOutcome::from(o).into()),
            failure: t.failure.clone(),
        }
    }
}

impl TryFrom<v1::Transition> for Transition {
    type Error = WireError;

    fn try_from(t: v1::Transition) -> Result<Self, WireError> {
        let outcome = t.outcome.map(|o| chosen::<v1::TransitionOutcome, _>(o, "outcome")).transpose()?;
        Ok(Self {
            group: parsed(&t.group, "group")?,
            epoch: Epoch(t.epoch),
            from: optional_parsed(t.from.as_deref(), "from")?,
            to: parsed(&t.to, "to")?,
            cause: chosen::<v1::Cause, _>(t.cause, "cause")?,
            planned: t.planned,
            requested_by: t.requested_by,
            reason: t.reason,
            evidence: each(t.evidence, "evidence")?,
            proof: optional(t.proof, "proof")?,
            expected: t.expected,
            to_run_id: t.to_run_id,
            end: optional(t.end, "end")?,
            rescue: t.rescue.map(NodeId),
            rescued_bytes: t.rescued_bytes,
            orphaned_bytes: t.orphaned_bytes,
            phase: chosen::<v1::Phase, _>(t.phase, "phase")?,
            phase_since: WallTime(t.phase_since_us),
            phases: each(t.phases, "phases")?,
            detected_at: WallTime(t.detected_at_us),
            started_at: WallTime(t.started_at_us),
            closed_at: t.closed_at_us.map(WallTime),
            opened_at: t.opened_at_us.map(WallTime),
            lost: required(t.lost, "lost")?,
            loss_accepted: t.loss_accepted,
            outcome,
            failure: t.failure,
        })
    }
}
