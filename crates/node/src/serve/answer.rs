//! The replicated state in the words of the wire.

use primacy_core::detect;
use primacy_core::view::View;
use primacy_core::{Group, GroupKind, GroupName, GroupState, Moment, Revision};
use primacy_wire::v1;

/// How fresh an answer is, and how old.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fresh {
    pub(crate) consistency: v1::Consistency,
    pub(crate) age_ms: u64,
}

/// A group's primary.
pub(crate) fn primary(group: &Group, revision: Revision, fresh: Fresh) -> v1::Primary {
    let primary = group.primary.as_ref();
    let member = primary.and_then(|p| group.spec.member(&p.member));
    v1::Primary {
        group: group.spec.name.to_string(),
        kind: kind(group.spec.kind).into(),
        member: member.map(|m| m.name.to_string()),
        site: member.map(|m| m.site.to_string()),
        address: member.map(|m| m.address.to_string()),
        epoch: primary.map_or(0, |p| p.epoch.0),
        revision: revision.0,
        state: state(group.state()).into(),
        reason: reason(group),
        consistency: fresh.consistency.into(),
        age_ms: fresh.age_ms,
    }
}

/// A group in one line; `view` says which standbys are ready.
pub(crate) fn summary(
    group: &Group,
    revision: Revision,
    fresh: Fresh,
    seen: Option<(&View, Moment)>,
) -> v1::GroupSummary {
    let ready = seen.map(|(view, at)| detect::candidates(group, view, at).len() as u32);
    let standbys =
        group.spec.members.iter().filter(|m| group.primary.as_ref().is_none_or(|p| p.member != m.name));
    v1::GroupSummary {
        group: group.spec.name.to_string(),
        kind: kind(group.spec.kind).into(),
        primary: group.primary.as_ref().map(|_| primary(group, revision, fresh)),
        state: state(group.state()).into(),
        reason: reason(group),
        remedy: remedy(group),
        standbys_ready: ready,
        standbys_total: standbys.count() as u32,
        last_transition: group.history.back().map(Into::into),
    }
}

/// Why a group does not serve as it should, in words.
pub(crate) fn reason(group: &Group) -> Option<String> {
    match group.state() {
        GroupState::Serving => None,
        GroupState::Unassigned => Some("no member is primary yet".to_owned()),
        GroupState::Switching => {
            group.transition.as_ref().map(|t| format!("{} is taking over: {}", t.to, t.phase))
        }
        GroupState::Blocked => group.blocked.as_ref().map(|b| b.reason.to_string()),
        GroupState::Paused => group.paused.as_ref().map(|p| match &p.reason {
            Some(why) => format!("paused by {}: {why}", p.by),
            None => format!("paused by {}", p.by),
        }),
    }
}

/// What an operator can do about it.
pub(crate) fn remedy(group: &Group) -> Option<String> {
    let name: &GroupName = &group.spec.name;
    match group.state() {
        GroupState::Serving | GroupState::Unassigned | GroupState::Switching => None,
        GroupState::Blocked => group.blocked.as_ref().map(|b| b.reason.remedy(name)),
        GroupState::Paused => Some(format!("primacy resume {name}")),
    }
}

pub(crate) fn kind(kind: GroupKind) -> v1::GroupKind {
    match kind {
        GroupKind::Redis => v1::GroupKind::Redis,
        GroupKind::Endpoint => v1::GroupKind::Endpoint,
        GroupKind::Kafka => v1::GroupKind::Kafka,
    }
}

pub(crate) fn state(state: GroupState) -> v1::GroupState {
    match state {
        GroupState::Unassigned => v1::GroupState::Unassigned,
        GroupState::Serving => v1::GroupState::Serving,
        GroupState::Switching => v1::GroupState::Switching,
        GroupState::Blocked => v1::GroupState::Blocked,
        GroupState::Paused => v1::GroupState::Paused,
    }
}
