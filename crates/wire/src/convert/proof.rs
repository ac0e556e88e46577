//! Losses, positions, lineages, evidence and proofs.

use super::{each, parsed, required};
use crate::{WireError, v1};
use primacy_core::{Evidence, Finding, Lineage, Loss, LossBudget, NodeId, Position, Proof};

impl From<&Loss> for v1::Loss {
    fn from(loss: &Loss) -> Self {
        use v1::loss::Amount;
        let amount = match *loss {
            Loss::Exact(bytes) => Amount::ExactBytes(bytes),
            Loss::AtMost(bytes) => Amount::AtMostBytes(bytes),
            Loss::Unknown => Amount::Unknown(v1::Nothing {}),
        };
        Self { amount: Some(amount) }
    }
}

impl TryFrom<v1::Loss> for Loss {
    type Error = WireError;

    fn try_from(loss: v1::Loss) -> Result<Self, WireError> {
        use v1::loss::Amount;
        Ok(match loss.amount.ok_or_else(|| WireError::missing("amount"))? {
            Amount::ExactBytes(bytes) => Loss::Exact(bytes),
            Amount::AtMostBytes(bytes) => Loss::AtMost(bytes),
            Amount::Unknown(v1::Nothing {}) => Loss::Unknown,
        })
    }
}

impl From<&LossBudget> for v1::LossBudget {
    fn from(budget: &LossBudget) -> Self {
        use v1::loss_budget::Bound;
        let bound = match *budget {
            LossBudget::Bytes(bytes) => Bound::Bytes(bytes),
            LossBudget::Any => Bound::Any(v1::Nothing {}),
        };
        Self { bound: Some(bound) }
    }
}

impl TryFrom<v1::LossBudget> for LossBudget {
    type Error = WireError;

    fn try_from(budget: v1::LossBudget) -> Result<Self, WireError> {
        use v1::loss_budget::Bound;
        Ok(match budget.bound.ok_or_else(|| WireError::missing("bound"))? {
            Bound::Bytes(bytes) => LossBudget::Bytes(bytes),
            Bound::Any(v1::Nothing {}) => LossBudget::Any,
        })
    }
}

impl From<&Position> for v1::Position {
    fn from(position: &Position) -> Self {
        Self { replid: position.replid.clone(), offset_bytes: position.offset_bytes }
    }
}

impl TryFrom<v1::Position> for Position {
    type Error = WireError;

    fn try_from(position: v1::Position) -> Result<Self, WireError> {
        Ok(Self { replid: position.replid, offset_bytes: position.offset_bytes })
    }
}

impl From<&Lineage> for v1::Lineage {
    fn from(lineage: &Lineage) -> Self {
        Self {
            run_id: lineage.run_id.clone(),
            start: Some((&lineage.start).into()),
            previous: lineage.previous.clone(),
        }
    }
}

impl TryFrom<v1::Lineage> for Lineage {
    type Error = WireError;

    fn try_from(lineage: v1::Lineage) -> Result<Self, WireError> {
        Ok(Self {
            run_id: lineage.run_id,
            start: required(lineage.start, "start")?,
            previous: lineage.previous,
        })
    }
}

impl From<&Finding> for v1::Finding {
    fn from(finding: &Finding) -> Self {
        use v1::finding::{Kind, LeaseOver, ProcessExited, Restarted, Silent, TakenAway, WriteRefused};
        let nothing = v1::Nothing {};
        let kind = match finding {
            Finding::EndedByEof => Kind::EndedByEof(nothing),
            Finding::EndedByReset => Kind::EndedByReset(nothing),
            Finding::ConnectRefused => Kind::ConnectRefused(nothing),
            Finding::ProcessExited { pid } => Kind::ProcessExited(ProcessExited { pid: *pid }),
            Finding::Silent { ms } => Kind::Silent(Silent { ms: *ms }),
            Finding::ReplicaLinkDown => Kind::ReplicaLinkDown(nothing),
            Finding::Restarted { run_id } => Kind::Restarted(Restarted { run_id: run_id.clone() }),
            Finding::NotPrimary => Kind::NotPrimary(nothing),
            Finding::TakenAway { ms } => Kind::TakenAway(TakenAway { ms: *ms }),
            Finding::LeaseOver { ms } => Kind::LeaseOver(LeaseOver { ms: *ms }),
            Finding::WriteRefused { code } => Kind::WriteRefused(WriteRefused { code: code.clone() }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Finding> for Finding {
    type Error = WireError;

    fn try_from(finding: v1::Finding) -> Result<Self, WireError> {
        use v1::finding::Kind;
        Ok(match finding.kind.ok_or_else(|| WireError::missing("kind"))? {
            Kind::EndedByEof(_) => Finding::EndedByEof,
            Kind::EndedByReset(_) => Finding::EndedByReset,
            Kind::ConnectRefused(_) => Finding::ConnectRefused,
            Kind::ProcessExited(exited) => Finding::ProcessExited { pid: exited.pid },
            Kind::Silent(silent) => Finding::Silent { ms: silent.ms },
            Kind::ReplicaLinkDown(_) => Finding::ReplicaLinkDown,
            Kind::Restarted(restarted) => Finding::Restarted { run_id: restarted.run_id },
            Kind::NotPrimary(_) => Finding::NotPrimary,
            Kind::TakenAway(taken) => Finding::TakenAway { ms: taken.ms },
            Kind::LeaseOver(over) => Finding::LeaseOver { ms: over.ms },
            Kind::WriteRefused(refused) => Finding::WriteRefused { code: refused.code },
        })
    }
}

impl From<&Evidence> for v1::Evidence {
    fn from(evidence: &Evidence) -> Self {
        let observer = evidence.observer.as_ref();
        Self {
            observer: observer
                .map(|(node, site)| v1::Observer { node_id: node.0, site: site.as_str().to_owned() }),
            member: evidence.member.as_str().to_owned(),
            finding: Some((&evidence.finding).into()),
        }
    }
}

impl TryFrom<v1::Evidence> for Evidence {
    type Error = WireError;

    fn try_from(evidence: v1::Evidence) -> Result<Self, WireError> {
        let observer = match evidence.observer {
            None => None,
            Some(observer) => Some((NodeId(observer.node_id), parsed(&observer.site, "observer.site")?)),
        };
        Ok(Self {
            observer,
            member: parsed(&evidence.member, "member")?,
            finding: required(evidence.finding, "finding")?,
        })
    }
}

impl From<&Proof> for v1::Proof {
    fn from(proof: &Proof) -> Self {
        use v1::proof::{Acknowledged, Detached, Expired, Kind};
        let kind = match proof {
            Proof::Acknowledged { code } => Kind::Acknowledged(Acknowledged { code: code.clone() }),
            Proof::Detached { evidence } => {
                Kind::Detached(Detached { evidence: evidence.iter().map(Into::into).collect() })
            }
            Proof::Expired { evidence, min_replicas, undetached } => Kind::Expired(Expired {
                evidence: evidence.iter().map(Into::into).collect(),
                min_replicas: *min_replicas,
                undetached: *undetached,
            }),
            Proof::Vacant => Kind::Vacant(v1::Nothing {}),
            Proof::Waived => Kind::Waived(v1::Nothing {}),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Proof> for Proof {
    type Error = WireError;

    fn try_from(proof: v1::Proof) -> Result<Self, WireError> {
        use v1::proof::Kind;
        Ok(match proof.kind.ok_or_else(|| WireError::missing("kind"))? {
            Kind::Acknowledged(acknowledged) => Proof::Acknowledged { code: acknowledged.code },
            Kind::Detached(detached) => {
                Proof::Detached { evidence: each(detached.evidence, "detached.evidence")? }
            }
            Kind::Expired(expired) => Proof::Expired {
                evidence: each(expired.evidence, "expired.evidence")?,
                min_replicas: expired.min_replicas,
                undetached: expired.undetached,
            },
            Kind::Vacant(v1::Nothing {}) => Proof::Vacant,
            Kind::Waived(v1::Nothing {}) => Proof::Waived,
        })
    }
}
