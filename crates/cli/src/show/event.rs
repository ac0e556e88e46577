//! Events as they are committed.

use super::transition::LostReport;
use super::{Stamp, ms};
use crate::screen::units::millis;
use primacy_core::Event;
use serde::Serialize;

/// `watch -o json`, one object an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct EventReport {
    pub(crate) revision: u64,
    pub(crate) at: Stamp,
    #[serde(flatten)]
    pub(crate) event: EventKind,
}

/// What happened: the words of core's events.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum EventKind {
    LeadershipAssumed {
        node: u64,
        term: u64,
    },
    GroupConfigured {
        group: String,
    },
    GroupRemoved {
        group: String,
    },
    TransitionStarted {
        group: String,
        epoch: u64,
        from: Option<String>,
        to: String,
        cause: String,
    },
    PhasePassed {
        group: String,
        epoch: u64,
        phase: String,
        ms: f64,
        note: String,
    },
    PrimaryChanged {
        group: String,
        epoch: u64,
        member: String,
        site: String,
        address: String,
        previous: Option<String>,
        previous_address: Option<String>,
    },
    FenceChanged {
        group: String,
        epoch: u64,
        min_replicas: u64,
        replicas: Vec<String>,
    },
    WitnessAppointed {
        group: String,
        epoch: u64,
        node: Option<u64>,
    },
    HolderAppointed {
        group: String,
        epoch: u64,
        node: Option<u64>,
        degraded: bool,
    },
    OrphanedFound {
        group: String,
        epoch: u64,
        member: String,
        bytes: u64,
    },
    TransitionEnded {
        group: String,
        epoch: u64,
        outcome: String,
        lost: LostReport,
        failure: Option<String>,
    },
    GroupPaused {
        group: String,
        by: String,
    },
    GroupResumed {
        group: String,
        by: String,
    },
    GroupBlocked {
        group: String,
        code: String,
        reason: String,
        remedy: String,
    },
    GroupUnblocked {
        group: String,
    },
}

impl EventReport {
    /// `57  08:34:56.123  features  primary changed: east-a -> north-a (north), epoch 42`.
    pub(crate) fn line(&self) -> String {
        let (group, words) = self.event.words();
        format!("{:>6}  {}  {group:<12}  {words}", self.revision, self.at.clock())
    }
}

impl EventKind {
    fn words(&self) -> (&str, String) {
        match self {
            EventKind::LeadershipAssumed { node, term } => ("-", format!("n{node} leads in term {term}")),
            EventKind::GroupConfigured { group } => (group, "configured".to_owned()),
            EventKind::GroupRemoved { group } => (group, "removed".to_owned()),
            EventKind::TransitionStarted { group, epoch, from, to, cause } => {
                let from = from.as_deref().unwrap_or("nobody");
                (group, format!("transition started: {from} -> {to}, {cause}, epoch {epoch}"))
            }
            EventKind::PhasePassed { group, phase, ms, note, .. } => {
                (group, format!("{phase} passed in {}: {note}", millis(*ms)))
            }
            EventKind::PrimaryChanged { group, epoch, member, site, address, previous, .. } => {
                let previous = previous.as_deref().unwrap_or("nobody");
                (
                    group,
                    format!("primary changed: {previous} -> {member} ({site}) at {address}, epoch {epoch}"),
                )
            }
            EventKind::FenceChanged { group, min_replicas, replicas, .. } => {
                let admitted = if replicas.is_empty() { "nobody".to_owned() } else { replicas.join(", ") };
                (group, format!("fence changed: min-replicas-to-write {min_replicas}, admitted {admitted}"))
            }
            EventKind::WitnessAppointed { group, node, .. } => match node {
                Some(node) => (group, format!("n{node} is the witness")),
                None => (group, "no node is the witness".to_owned()),
            },
            EventKind::HolderAppointed { group, node, degraded, .. } => match (node, degraded) {
                (Some(node), _) => (group, format!("n{node} holds the stream for gates")),
                (None, true) => (group, "no other site holds the stream, gates go on without".to_owned()),
                (None, false) => (group, "no other site holds the stream, gates wait".to_owned()),
            },
            EventKind::OrphanedFound { group, member, bytes, .. } => {
                (group, format!("{member} is back with {bytes} bytes that nobody else has; they are dropped"))
            }
            EventKind::TransitionEnded { group, outcome, lost, failure, .. } => {
                let why = failure.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                (group, format!("transition {}, {}{why}", outcome.replace('_', " "), lost.words()))
            }
            EventKind::GroupPaused { group, by } => (group, format!("paused by {by}")),
            EventKind::GroupResumed { group, by } => (group, format!("resumed by {by}")),
            EventKind::GroupBlocked { group, reason, remedy, .. } => {
                (group, format!("blocked: {reason}; remedy: {remedy}"))
            }
            EventKind::GroupUnblocked { group } => (group, "no longer blocked".to_owned()),
        }
    }
}

impl From<&Event> for EventKind {
    fn from(event: &Event) -> Self {
        match event {
            Event::LeadershipAssumed { node, term } => {
                EventKind::LeadershipAssumed { node: node.0, term: term.0 }
            }
            Event::GroupConfigured { group } => EventKind::GroupConfigured { group: group.to_string() },
            Event::GroupRemoved { group } => EventKind::GroupRemoved { group: group.to_string() },
            Event::TransitionStarted { group, epoch, from, to, cause } => EventKind::TransitionStarted {
                group: group.to_string(),
                epoch: epoch.0,
                from: from.as_ref().map(ToString::to_string),
                to: to.to_string(),
                cause: cause.word().to_owned(),
            },
            Event::PhasePassed { group, epoch, phase, us, note } => EventKind::PhasePassed {
                group: group.to_string(),
                epoch: epoch.0,
                phase: phase.word().to_owned(),
                ms: ms(*us),
                note: note.clone(),
            },
            Event::PrimaryChanged { group, epoch, member, site, address, previous } => {
                EventKind::PrimaryChanged {
                    group: group.to_string(),
                    epoch: epoch.0,
                    member: member.to_string(),
                    site: site.to_string(),
                    address: address.to_string(),
                    previous: previous.as_ref().map(|(member, _)| member.to_string()),
                    previous_address: previous.as_ref().map(|(_, address)| address.to_string()),
                }
            }
            Event::FenceChanged { group, epoch, fence } => EventKind::FenceChanged {
                group: group.to_string(),
                epoch: epoch.0,
                min_replicas: fence.min_replicas,
                replicas: fence.replicas.iter().map(ToString::to_string).collect(),
            },
            Event::WitnessAppointed { group, epoch, node } => EventKind::WitnessAppointed {
                group: group.to_string(),
                epoch: epoch.0,
                node: node.map(|node| node.0),
            },
            Event::HolderAppointed { group, epoch, node, degraded } => EventKind::HolderAppointed {
                group: group.to_string(),
                epoch: epoch.0,
                node: node.map(|node| node.0),
                degraded: *degraded,
            },
            Event::OrphanedFound { group, epoch, member, bytes } => EventKind::OrphanedFound {
                group: group.to_string(),
                epoch: epoch.0,
                member: member.to_string(),
                bytes: *bytes,
            },
            Event::TransitionEnded { group, epoch, outcome, lost, failure } => EventKind::TransitionEnded {
                group: group.to_string(),
                epoch: epoch.0,
                outcome: outcome.word().to_owned(),
                lost: (*lost).into(),
                failure: failure.clone(),
            },
            Event::GroupPaused { group, by } => {
                EventKind::GroupPaused { group: group.to_string(), by: by.clone() }
            }
            Event::GroupResumed { group, by } => {
                EventKind::GroupResumed { group: group.to_string(), by: by.clone() }
            }
            Event::GroupBlocked { group, reason } => EventKind::GroupBlocked {
                group: group.to_string(),
                code: reason.code().to_owned(),
                reason: reason.to_string(),
                remedy: reason.remedy(group),
            },
            Event::GroupUnblocked { group } => EventKind::GroupUnblocked { group: group.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::transition::tests::NOW_US;
    use super::*;
    use expect_test::expect;

    fn events() -> Vec<EventReport> {
        let group = || "features".to_owned();
        let lost = LostReport { bytes: Some(0), records: None, exact: true };
        [
            EventKind::LeadershipAssumed { node: 2, term: 5 },
            EventKind::TransitionStarted {
                group: group(),
                epoch: 42,
                from: Some("east-a".into()),
                to: "north-a".into(),
                cause: "death".into(),
            },
            EventKind::PhasePassed {
                group: group(),
                epoch: 42,
                phase: "fence".into(),
                ms: 0.4,
                note: "detached".into(),
            },
            EventKind::PrimaryChanged {
                group: group(),
                epoch: 42,
                member: "north-a".into(),
                site: "north".into(),
                address: "10.0.0.2:6379".into(),
                previous: Some("east-a".into()),
                previous_address: Some("10.0.0.1:6379".into()),
            },
            EventKind::TransitionEnded {
                group: group(),
                epoch: 42,
                outcome: "settled".into(),
                lost,
                failure: None,
            },
        ]
        .into_iter()
        .zip(57..)
        .map(|(event, revision)| EventReport { revision, at: Stamp(NOW_US), event })
        .collect()
    }

    #[test]
    fn an_event_is_a_line() {
        let lines: Vec<String> = events().iter().map(EventReport::line).collect();
        expect![[r#"
            $ primacy watch
                57  09:14:56.123  -             n2 leads in term 5
                58  09:14:56.123  features      transition started: east-a -> north-a, death, epoch 42
                59  09:14:56.123  features      fence passed in 0.4 ms: detached
                60  09:14:56.123  features      primary changed: east-a -> north-a (north) at 10.0.0.2:6379, epoch 42
                61  09:14:56.123  features      transition settled, 0 lost"#]]
        .assert_eq(&format!("$ primacy watch\n{}", lines.join("\n")));
    }

    #[test]
    fn who_keeps_the_primary_open_is_told() {
        let group = || "features".to_owned();
        let fence = |replicas: &[&str]| EventKind::FenceChanged {
            group: group(),
            epoch: 42,
            min_replicas: 1,
            replicas: replicas.iter().map(|m| (*m).to_owned()).collect(),
        };
        let holder =
            |node, degraded| EventKind::HolderAppointed { group: group(), epoch: 42, node, degraded };
        let told = [
            fence(&["north-a", "west-a"]),
            fence(&[]),
            EventKind::WitnessAppointed { group: group(), epoch: 42, node: Some(1) },
            holder(Some(3), false),
            holder(None, true),
        ];
        assert_eq!(
            told.map(|event| event.words().1),
            [
                "fence changed: min-replicas-to-write 1, admitted north-a, west-a",
                "fence changed: min-replicas-to-write 1, admitted nobody",
                "n1 is the witness",
                "n3 holds the stream for gates",
                "no other site holds the stream, gates go on without",
            ]
        );
    }

    #[test]
    fn json_is_flat() {
        expect![[r#"{"revision":60,"at":"2026-11-24T09:14:56.123Z","event":"primary_changed","group":"features","epoch":42,"member":"north-a","site":"north","address":"10.0.0.2:6379","previous":"east-a","previous_address":"10.0.0.1:6379"}"#]]
            .assert_eq(&serde_json::to_string(&events()[3]).unwrap());
    }
}
