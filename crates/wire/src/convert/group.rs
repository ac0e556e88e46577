//! What an operator asks for, who is primary, and why a group cannot be helped.

use super::{chosen, each, mirror, optional, parsed, required};
use crate::{WireError, v1};
use primacy_core::{
    BlockReason, Blocked, Durability, Epoch, FailoverMode, FencePolicy, FenceQuorum, GapPolicy, Group,
    GroupKind, GroupSpec, GroupState, LagBudget, MemberSpec, MirrorEngine, MirrorSpec, NodeId, OnNoSite,
    Pause, Primary, Probe, Revision, StandbyLag, WallTime,
};
use std::collections::BTreeSet;

/// What a record of format 1 means by an unset `tail_max_bytes`.
const TAIL_MAX_BYTES: u64 = 64 << 20;

mirror!(GroupKind { Redis, Endpoint, Kafka });
mirror!(MirrorEngine { Builtin, External });
mirror!(GapPolicy { Refuse, Fill, Translate });
mirror!(FailoverMode { Automatic, Manual });
mirror!(FencePolicy { Witness, None });
mirror!(Durability { Async, Local, Site });
mirror!(OnNoSite { Refuse, Degrade });
mirror!(GroupState { Unassigned, Serving, Switching, Blocked, Paused });

impl From<&Probe> for v1::Probe {
    fn from(probe: &Probe) -> Self {
        use v1::probe::{Cluster, Http, Kind};
        let kind = match probe {
            Probe::Native => Kind::Native(v1::Nothing {}),
            Probe::Tcp => Kind::Tcp(v1::Nothing {}),
            Probe::Http { path } => Kind::Http(Http { path: path.clone() }),
            Probe::Cluster { bootstrap } => {
                Kind::Cluster(Cluster { bootstrap: bootstrap.iter().map(ToString::to_string).collect() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Probe> for Probe {
    type Error = WireError;

    fn try_from(probe: v1::Probe) -> Result<Self, WireError> {
        use v1::probe::Kind;
        Ok(match probe.kind.ok_or_else(|| WireError::missing("kind"))? {
            Kind::Native(v1::Nothing {}) => Probe::Native,
            Kind::Tcp(v1::Nothing {}) => Probe::Tcp,
            Kind::Http(http) => Probe::Http { path: http.path },
            Kind::Cluster(cluster) => {
                let all = cluster.bootstrap.iter().enumerate();
                let bootstrap = all.map(|(i, a)| parsed(a, &format!("cluster.bootstrap[{i}]")));
                Probe::Cluster { bootstrap: bootstrap.collect::<Result<_, _>>()? }
            }
        })
    }
}

impl From<&MemberSpec> for v1::MemberSpec {
    fn from(member: &MemberSpec) -> Self {
        Self {
            name: member.name.as_str().to_owned(),
            site: member.site.as_str().to_owned(),
            address: member.address.to_string(),
            priority: member.priority,
            probe: Some((&member.probe).into()),
        }
    }
}

impl TryFrom<v1::MemberSpec> for MemberSpec {
    type Error = WireError;

    fn try_from(member: v1::MemberSpec) -> Result<Self, WireError> {
        Ok(Self {
            name: parsed(&member.name, "name")?,
            site: parsed(&member.site, "site")?,
            address: parsed(&member.address, "address")?,
            priority: member.priority,
            probe: optional(member.probe, "probe")?.unwrap_or(Probe::Native),
        })
    }
}

impl From<&GroupSpec> for v1::GroupSpec {
    fn from(spec: &GroupSpec) -> Self {
        Self {
            name: spec.name.as_str().to_owned(),
            kind: v1::GroupKind::from(spec.kind).into(),
            failover: v1::FailoverMode::from(spec.failover).into(),
            down_after_ms: spec.down_after_ms,
            max_loss: Some((&spec.max_loss).into()),
            fence: v1::FencePolicy::from(spec.fence).into(),
            tail_max_bytes: Some(spec.tail_max_bytes),
            may_kill: spec.may_kill,
            durability: Some(v1::Durability::from(spec.durability).into()),
            on_no_site: Some(v1::OnNoSite::from(spec.on_no_site).into()),
            members: spec.members.iter().map(Into::into).collect(),
            mirror: spec.mirror.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::GroupSpec> for GroupSpec {
    type Error = WireError;

    fn try_from(spec: v1::GroupSpec) -> Result<Self, WireError> {
        let fence = chosen::<v1::FencePolicy, _>(spec.fence, "fence")?;
        let durability_by_default = match fence {
            FencePolicy::Witness => Durability::Local,
            FencePolicy::None => Durability::Async,
        };
        let durability = spec.durability.map(|d| chosen::<v1::Durability, _>(d, "durability"));
        let on_no_site = spec.on_no_site.map(|o| chosen::<v1::OnNoSite, _>(o, "on_no_site"));
        Ok(Self {
            name: parsed(&spec.name, "name")?,
            kind: chosen::<v1::GroupKind, _>(spec.kind, "kind")?,
            failover: chosen::<v1::FailoverMode, _>(spec.failover, "failover")?,
            down_after_ms: spec.down_after_ms,
            max_loss: required(spec.max_loss, "max_loss")?,
            fence,
            tail_max_bytes: spec.tail_max_bytes.unwrap_or(TAIL_MAX_BYTES),
            may_kill: spec.may_kill,
            durability: durability.transpose()?.unwrap_or(durability_by_default),
            on_no_site: on_no_site.transpose()?.unwrap_or(OnNoSite::Refuse),
            members: each(spec.members, "members")?,
            mirror: optional(spec.mirror, "mirror")?,
        })
    }
}

impl From<&MirrorSpec> for v1::MirrorSpec {
    fn from(mirror: &MirrorSpec) -> Self {
        Self {
            engine: v1::MirrorEngine::from(mirror.engine).into(),
            topics: mirror.topics.clone(),
            groups: mirror.groups.clone(),
            rate_max_bytes: mirror.rate_max_bytes,
            gaps: v1::GapPolicy::from(mirror.gaps).into(),
            max_lag: Some(mirror.max_lag.into()),
        }
    }
}

impl TryFrom<v1::MirrorSpec> for MirrorSpec {
    type Error = WireError;

    fn try_from(mirror: v1::MirrorSpec) -> Result<Self, WireError> {
        Ok(Self {
            engine: chosen::<v1::MirrorEngine, _>(mirror.engine, "engine")?,
            topics: mirror.topics,
            groups: mirror.groups,
            rate_max_bytes: mirror.rate_max_bytes,
            gaps: chosen::<v1::GapPolicy, _>(mirror.gaps, "gaps")?,
            max_lag: required(mirror.max_lag, "max_lag")?,
        })
    }
}

impl From<LagBudget> for v1::LagBudget {
    fn from(budget: LagBudget) -> Self {
        use v1::lag_budget::Bound;
        let bound = match budget {
            LagBudget::Records(n) => Bound::Records(n),
            LagBudget::Ms(ms) => Bound::Ms(ms),
            LagBudget::Any => Bound::Any(v1::Nothing {}),
        };
        Self { bound: Some(bound) }
    }
}

impl TryFrom<v1::LagBudget> for LagBudget {
    type Error = WireError;

    fn try_from(budget: v1::LagBudget) -> Result<Self, WireError> {
        use v1::lag_budget::Bound;
        Ok(match budget.bound.ok_or_else(|| WireError::missing("bound"))? {
            Bound::Records(n) => LagBudget::Records(n),
            Bound::Ms(ms) => LagBudget::Ms(ms),
            Bound::Any(v1::Nothing {}) => LagBudget::Any,
        })
    }
}

impl From<&FenceQuorum> for v1::FenceQuorum {
    fn from(fence: &FenceQuorum) -> Self {
        Self {
            min_replicas: fence.min_replicas,
            replicas: fence.replicas.iter().map(|m| m.as_str().to_owned()).collect(),
        }
    }
}

impl TryFrom<v1::FenceQuorum> for FenceQuorum {
    type Error = WireError;

    fn try_from(fence: v1::FenceQuorum) -> Result<Self, WireError> {
        let mut replicas = BTreeSet::new();
        for (i, name) in fence.replicas.iter().enumerate() {
            let member = parsed(name, &format!("replicas[{i}]"))?;
            if !replicas.insert(member) {
                return Err(WireError::new(format!("replicas[{i}]"), format!("{name} is there twice")));
            }
        }
        Ok(Self { min_replicas: fence.min_replicas, replicas })
    }
}

impl From<&Primary> for v1::PrimaryRecord {
    fn from(primary: &Primary) -> Self {
        Self {
            member: primary.member.as_str().to_owned(),
            epoch: primary.epoch.0,
            lineage: Some((&primary.lineage).into()),
            since_us: primary.since.0,
            fence: Some((&primary.fence).into()),
            witness: primary.witness.map(|n| n.0),
            holder: primary.holder.map(|n| n.0),
            degraded: primary.degraded,
        }
    }
}

impl TryFrom<v1::PrimaryRecord> for Primary {
    type Error = WireError;

    fn try_from(primary: v1::PrimaryRecord) -> Result<Self, WireError> {
        Ok(Self {
            member: parsed(&primary.member, "member")?,
            epoch: Epoch(primary.epoch),
            lineage: required(primary.lineage, "lineage")?,
            since: WallTime(primary.since_us),
            fence: optional(primary.fence, "fence")?.unwrap_or_default(),
            witness: primary.witness.map(NodeId),
            holder: primary.holder.map(NodeId),
            degraded: primary.degraded,
        })
    }
}

impl From<&Pause> for v1::PauseRecord {
    fn from(pause: &Pause) -> Self {
        Self { by: pause.by.clone(), reason: pause.reason.clone(), at_us: pause.at.0 }
    }
}

impl TryFrom<v1::PauseRecord> for Pause {
    type Error = WireError;

    fn try_from(pause: v1::PauseRecord) -> Result<Self, WireError> {
        Ok(Self { by: pause.by, reason: pause.reason, at: WallTime(pause.at_us) })
    }
}

impl From<&BlockReason> for v1::BlockReason {
    fn from(reason: &BlockReason) -> Self {
        use v1::block_reason::{ClusterDown, Kind, LossOverBudget, OfAll, OfMember};
        let kind = match reason {
            BlockReason::FenceUnproven { member } => {
                Kind::FenceUnproven(OfMember { member: member.as_str().to_owned() })
            }
            BlockReason::LossOverBudget { loss, budget } => {
                Kind::LossOverBudget(LossOverBudget { loss: Some(loss.into()), budget: Some(budget.into()) })
            }
            BlockReason::NoCandidate { detail } => Kind::NoCandidate(OfAll { detail: detail.clone() }),
            BlockReason::ManualFailover { member } => {
                Kind::ManualFailover(OfMember { member: member.as_str().to_owned() })
            }
            BlockReason::NoFirstPrimary { detail } => Kind::NoFirstPrimary(OfAll { detail: detail.clone() }),
            BlockReason::ClusterDown { member, standbys } => {
                let standby = |lag: &StandbyLag| v1::StandbyLag {
                    member: lag.member.as_str().to_owned(),
                    records: lag.records,
                    sample_age_ms: lag.sample_age_ms,
                };
                let standbys = standbys.iter().map(standby).collect();
                Kind::ClusterDown(ClusterDown { member: member.as_str().to_owned(), standbys })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::BlockReason> for BlockReason {
    type Error = WireError;

    fn try_from(reason: v1::BlockReason) -> Result<Self, WireError> {
        use v1::block_reason::Kind;
        Ok(match reason.kind.ok_or_else(|| WireError::missing("kind"))? {
            Kind::FenceUnproven(of) => {
                BlockReason::FenceUnproven { member: parsed(&of.member, "fence_unproven.member")? }
            }
            Kind::LossOverBudget(over) => BlockReason::LossOverBudget {
                loss: required(over.loss, "loss_over_budget.loss")?,
                budget: required(over.budget, "loss_over_budget.budget")?,
            },
            Kind::NoCandidate(of) => BlockReason::NoCandidate { detail: of.detail },
            Kind::ManualFailover(of) => {
                BlockReason::ManualFailover { member: parsed(&of.member, "manual_failover.member")? }
            }
            Kind::NoFirstPrimary(of) => BlockReason::NoFirstPrimary { detail: of.detail },
            Kind::ClusterDown(of) => {
                let standby = |lag: v1::StandbyLag| -> Result<StandbyLag, WireError> {
                    let member = parsed(&lag.member, "cluster_down.standbys.member")?;
                    Ok(StandbyLag { member, records: lag.records, sample_age_ms: lag.sample_age_ms })
                };
                BlockReason::ClusterDown {
                    member: parsed(&of.member, "cluster_down.member")?,
                    standbys: of.standbys.into_iter().map(standby).collect::<Result<_, _>>()?,
                }
            }
        })
    }
}

impl From<&Blocked> for v1::BlockRecord {
    fn from(blocked: &Blocked) -> Self {
        Self { reason: Some((&blocked.reason).into()), since_us: blocked.since.0 }
    }
}

impl TryFrom<v1::BlockRecord> for Blocked {
    type Error = WireError;

    fn try_from(blocked: v1::BlockRecord) -> Result<Self, WireError> {
        Ok(Self { reason: required(blocked.reason, "reason")?, since: WallTime(blocked.since_us) })
    }
}

impl From<&Group> for v1::Group {
    fn from(group: &Group) -> Self {
        Self {
            spec: Some((&group.spec).into()),
            primary: group.primary.as_ref().map(Into::into),
            transition: group.transition.as_ref().map(Into::into),
            paused: group.paused.as_ref().map(Into::into),
            blocked: group.blocked.as_ref().map(Into::into),
            history: group.history.iter().map(Into::into).collect(),
            revision: group.revision.0,
        }
    }
}

impl TryFrom<v1::Group> for Group {
    type Error = WireError;

    fn try_from(group: v1::Group) -> Result<Self, WireError> {
        Ok(Self {
            spec: required(group.spec, "spec")?,
            primary: optional(group.primary, "primary")?,
            transition: optional(group.transition, "transition")?,
            paused: optional(group.paused, "paused")?,
            blocked: optional(group.blocked, "blocked")?,
            history: each(group.history, "history")?,
            revision: Revision(group.revision),
        })
    }
}
