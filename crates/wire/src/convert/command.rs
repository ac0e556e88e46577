//! The content of log entries.

use super::{FORMAT, check_format, chosen, each, optional, parsed, required};
use crate::{WireError, v1};
use primacy_core::{Command, Epoch, NodeId, StartTransition, Term, WallTime};
use prost::Message;
use v1::command::{self, Kind};

/// The bytes of a command, as the log keeps them.
pub fn encode_command(command: &Command) -> Vec<u8> {
    v1::Command::from(command).encode_to_vec()
}

/// The command of these bytes.
///
/// # Errors
/// Names the field that is missing or impossible; `command` where the bytes are no message at all.
pub fn decode_command(bytes: &[u8]) -> Result<Command, WireError> {
    let command = v1::Command::decode(bytes).map_err(|e| WireError::new("command", e.to_string()))?;
    Command::try_from(command)
}

impl From<&StartTransition> for command::StartTransition {
    fn from(start: &StartTransition) -> Self {
        let authority = |(member, epoch): &(primacy_core::MemberName, Epoch)| command::Authority {
            member: member.as_str().to_owned(),
            epoch: epoch.0,
        };
        Self {
            group: start.group.as_str().to_owned(),
            from: start.from.as_ref().map(authority),
            to: start.to.as_str().to_owned(),
            cause: v1::Cause::from(start.cause).into(),
            planned: start.planned,
            requested_by: start.requested_by.clone(),
            reason: start.reason.clone(),
            evidence: start.evidence.iter().map(Into::into).collect(),
            proof: start.proof.as_ref().map(Into::into),
            expected: start.expected.clone(),
            to_run_id: start.to_run_id.clone(),
            end: start.end.as_ref().map(Into::into),
            rescue: start.rescue.map(|n| n.0),
            lost: Some((&start.lost).into()),
            loss_accepted: start.loss_accepted,
            detected_at_us: start.detected_at.0,
            at_us: start.at.0,
        }
    }
}

impl TryFrom<command::StartTransition> for StartTransition {
    type Error = WireError;

    fn try_from(start: command::StartTransition) -> Result<Self, WireError> {
        let from = match start.from {
            None => None,
            Some(from) => Some((parsed(&from.member, "from.member")?, Epoch(from.epoch))),
        };
        Ok(Self {
            group: parsed(&start.group, "group")?,
            from,
            to: parsed(&start.to, "to")?,
            cause: chosen::<v1::Cause, _>(start.cause, "cause")?,
            planned: start.planned,
            requested_by: start.requested_by,
            reason: start.reason,
            evidence: each(start.evidence, "evidence")?,
            proof: optional(start.proof, "proof")?,
            expected: start.expected,
            to_run_id: start.to_run_id,
            end: optional(start.end, "end")?,
            rescue: start.rescue.map(NodeId),
            lost: required(start.lost, "lost")?,
            loss_accepted: start.loss_accepted,
            detected_at: WallTime(start.detected_at_us),
            at: WallTime(start.at_us),
        })
    }
}

impl From<&Command> for v1::Command {
    fn from(command: &Command) -> Self {
        Self { format: FORMAT, kind: Some(kind_of(command)) }
    }
}

fn kind_of(command: &Command) -> Kind {
    match command {
        Command::ConfigureGroups { groups, prune, by, at } => {
            Kind::ConfigureGroups(command::ConfigureGroups {
                groups: groups.iter().map(Into::into).collect(),
                prune: *prune,
                by: by.clone(),
                at_us: at.0,
            })
        }
        Command::AssumeLeadership { node, term, at } => {
            Kind::AssumeLeadership(command::AssumeLeadership { node_id: node.0, term: term.0, at_us: at.0 })
        }
        Command::StartTransition(start) => Kind::StartTransition(start.as_ref().into()),
        Command::ConfirmFence { group, epoch, proof, end, drained_us, closed_at, rescue, lost, at } => {
            Kind::ConfirmFence(command::ConfirmFence {
                group: group.as_str().to_owned(),
                epoch: epoch.0,
                proof: Some(proof.into()),
                end: end.as_ref().map(Into::into),
                drained_us: *drained_us,
                closed_at_us: closed_at.0,
                rescue: rescue.map(|n| n.0),
                lost: lost.as_ref().map(Into::into),
                at_us: at.0,
            })
        }
        Command::ConfirmRescue { group, epoch, end, fetched_bytes, lost, note, at } => {
            Kind::ConfirmRescue(command::ConfirmRescue {
                group: group.as_str().to_owned(),
                epoch: epoch.0,
                end: end.as_ref().map(Into::into),
                fetched_bytes: *fetched_bytes,
                lost: Some(lost.into()),
                note: note.clone(),
                at_us: at.0,
            })
        }
        Command::ConfirmPromotion { group, epoch, lineage, fence, witness, at } => {
            Kind::ConfirmPromotion(command::ConfirmPromotion {
                group: group.as_str().to_owned(),
                epoch: epoch.0,
                lineage: Some(lineage.into()),
                fence: Some(fence.into()),
                witness: witness.map(|n| n.0),
                at_us: at.0,
            })
        }
        Command::ChangeFence { group, epoch, fence, at } => Kind::ChangeFence(command::ChangeFence {
            group: group.as_str().to_owned(),
            epoch: epoch.0,
            fence: Some(fence.into()),
            at_us: at.0,
        }),
        Command::AppointWitness { group, epoch, node, at } => Kind::AppointWitness(command::AppointWitness {
            group: group.as_str().to_owned(),
            epoch: epoch.0,
            node_id: node.map(|n| n.0),
            at_us: at.0,
        }),
        Command::AppointHolder { group, epoch, node, degraded, at } => {
            Kind::AppointHolder(command::AppointHolder {
                group: group.as_str().to_owned(),
                epoch: epoch.0,
                node_id: node.map(|n| n.0),
                degraded: *degraded,
                at_us: at.0,
            })
        }
        Command::RecordOrphaned { group, epoch, member, bytes, at } => {
            Kind::RecordOrphaned(command::RecordOrphaned {
                group: group.as_str().to_owned(),
                epoch: epoch.0,
                member: member.as_str().to_owned(),
                bytes: *bytes,
                at_us: at.0,
            })
        }
        Command::ConfirmOpen { group, epoch, at } => Kind::ConfirmOpen(command::ConfirmOpen {
            group: group.as_str().to_owned(),
            epoch: epoch.0,
            at_us: at.0,
        }),
        Command::Settle { group, epoch, note, at } => Kind::Settle(command::Settle {
            group: group.as_str().to_owned(),
            epoch: epoch.0,
            note: note.clone(),
            at_us: at.0,
        }),
        Command::RollBack { group, epoch, failure, at } => Kind::RollBack(command::RollBack {
            group: group.as_str().to_owned(),
            epoch: epoch.0,
            failure: failure.clone(),
            at_us: at.0,
        }),
        Command::ConfirmRollBack { group, epoch, at } => Kind::ConfirmRollBack(command::ConfirmRollBack {
            group: group.as_str().to_owned(),
            epoch: epoch.0,
            at_us: at.0,
        }),
        Command::Pause { group, by, reason, at } => Kind::Pause(command::Pause {
            group: group.as_str().to_owned(),
            by: by.clone(),
            reason: reason.clone(),
            at_us: at.0,
        }),
        Command::Resume { group, by, at } => {
            Kind::Resume(command::Resume { group: group.as_str().to_owned(), by: by.clone(), at_us: at.0 })
        }
        Command::Block { group, epoch, reason, at } => Kind::Block(command::Block {
            group: group.as_str().to_owned(),
            epoch: epoch.0,
            reason: Some(reason.into()),
            at_us: at.0,
        }),
        Command::Unblock { group, at } => {
            Kind::Unblock(command::Unblock { group: group.as_str().to_owned(), at_us: at.0 })
        }
    }
}

impl TryFrom<v1::Command> for Command {
    type Error = WireError;

    fn try_from(command: v1::Command) -> Result<Self, WireError> {
        check_format(command.format)?;
        let kind = command.kind.ok_or_else(|| WireError::missing("kind"))?;
        let name = name_of(&kind);
        of_kind(kind).map_err(|e| e.within(name))
    }
}

fn name_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::ConfigureGroups(_) => "configure_groups",
        Kind::AssumeLeadership(_) => "assume_leadership",
        Kind::StartTransition(_) => "start_transition",
        Kind::ConfirmFence(_) => "confirm_fence",
        Kind::ConfirmRescue(_) => "confirm_rescue",
        Kind::ConfirmPromotion(_) => "confirm_promotion",
        Kind::ChangeFence(_) => "change_fence",
        Kind::AppointWitness(_) => "appoint_witness",
        Kind::AppointHolder(_) => "appoint_holder",
        Kind::RecordOrphaned(_) => "record_orphaned",
        Kind::ConfirmOpen(_) => "confirm_open",
        Kind::Settle(_) => "settle",
        Kind::RollBack(_) => "roll_back",
        Kind::ConfirmRollBack(_) => "confirm_roll_back",
        Kind::Pause(_) => "pause",
        Kind::Resume(_) => "resume",
        Kind::Block(_) => "block",
        Kind::Unblock(_) => "unblock",
    }
}

fn of_kind(kind: Kind) -> Result<Command, WireError> {
    Ok(match kind {
        Kind::ConfigureGroups(c) => Command::ConfigureGroups {
            groups: each(c.groups, "groups")?,
            prune: c.prune,
            by: c.by,
            at: WallTime(c.at_us),
        },
        Kind::AssumeLeadership(c) => {
            Command::AssumeLeadership { node: NodeId(c.node_id), term: Term(c.term), at: WallTime(c.at_us) }
        }
        Kind::StartTransition(c) => Command::StartTransition(Box::new(c.try_into()?)),
        Kind::ConfirmFence(c) => Command::ConfirmFence {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            proof: required(c.proof, "proof")?,
            end: optional(c.end, "end")?,
            drained_us: c.drained_us,
            closed_at: WallTime(c.closed_at_us),
            rescue: c.rescue.map(NodeId),
            lost: optional(c.lost, "lost")?,
            at: WallTime(c.at_us),
        },
        Kind::ConfirmRescue(c) => Command::ConfirmRescue {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            end: optional(c.end, "end")?,
            fetched_bytes: c.fetched_bytes,
            lost: required(c.lost, "lost")?,
            note: c.note,
            at: WallTime(c.at_us),
        },
        Kind::ConfirmPromotion(c) => Command::ConfirmPromotion {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            lineage: required(c.lineage, "lineage")?,
            fence: optional(c.fence, "fence")?.unwrap_or_default(),
            witness: c.witness.map(NodeId),
            at: WallTime(c.at_us),
        },
        Kind::ChangeFence(c) => Command::ChangeFence {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            fence: required(c.fence, "fence")?,
            at: WallTime(c.at_us),
        },
        Kind::AppointWitness(c) => Command::AppointWitness {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            node: c.node_id.map(NodeId),
            at: WallTime(c.at_us),
        },
        Kind::AppointHolder(c) => Command::AppointHolder {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            node: c.node_id.map(NodeId),
            degraded: c.degraded,
            at: WallTime(c.at_us),
        },
        Kind::RecordOrphaned(c) => Command::RecordOrphaned {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            member: parsed(&c.member, "member")?,
            bytes: c.bytes,
            at: WallTime(c.at_us),
        },
        Kind::ConfirmOpen(c) => Command::ConfirmOpen {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            at: WallTime(c.at_us),
        },
        Kind::Settle(c) => Command::Settle {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            note: c.note,
            at: WallTime(c.at_us),
        },
        Kind::RollBack(c) => Command::RollBack {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            failure: c.failure,
            at: WallTime(c.at_us),
        },
        Kind::ConfirmRollBack(c) => Command::ConfirmRollBack {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            at: WallTime(c.at_us),
        },
        Kind::Pause(c) => Command::Pause {
            group: parsed(&c.group, "group")?,
            by: c.by,
            reason: c.reason,
            at: WallTime(c.at_us),
        },
        Kind::Resume(c) => {
            Command::Resume { group: parsed(&c.group, "group")?, by: c.by, at: WallTime(c.at_us) }
        }
        Kind::Block(c) => Command::Block {
            group: parsed(&c.group, "group")?,
            epoch: Epoch(c.epoch),
            reason: required(c.reason, "reason")?,
            at: WallTime(c.at_us),
        },
        Kind::Unblock(c) => Command::Unblock { group: parsed(&c.group, "group")?, at: WallTime(c.at_us) },
    })
}
