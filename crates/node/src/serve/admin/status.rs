//! Status: everything this node knows and sees of the groups, and why one is not healthy.

mod boot;
mod kafka;

use super::super::answer::{self, Fresh};
use super::super::{Shared, refuse};
use primacy_core::detect::{self, CURRENT_WITHIN, Health, Verdict};
use primacy_core::view::{MemberRole, MemberStatus, Reach, View};
use primacy_core::{
    Durability, FencePolicy, Group, GroupKind, GroupName, GroupState, MemberSpec, Moment, Primary, Revision,
    SiteName,
};
use primacy_runtime::now;
use primacy_wire::{Refusal, v1};
use std::collections::BTreeSet;

impl Shared {
    /// The status of one group or of all, as this node sees them.
    pub(crate) fn status(&self, group: Option<&GroupName>) -> Result<v1::StatusResponse, Refusal> {
        let at = now();
        let age_ms = self.consensus.staleness().map_or(0, |age| age.as_millis() as u64);
        let fresh = Fresh { consistency: v1::Consistency::Local, age_ms };
        let groups = self.with_view(at, |view| {
            self.consensus.read(|state| {
                let wanted = state.groups.values().filter(|g| group.is_none_or(|name| g.spec.name == *name));
                wanted.map(|g| Seen { group: g, view, at }.status(state.revision, fresh)).collect::<Vec<_>>()
            })
        });
        match group {
            Some(name) if groups.is_empty() => Err(refuse::unknown_group(name)),
            _ => Ok(v1::StatusResponse { cluster: Some(self.cluster_status()), groups }),
        }
    }
}

/// A group and what is seen of it.
struct Seen<'a> {
    group: &'a Group,
    view: &'a View,
    at: Moment,
}

impl Seen<'_> {
    fn status(&self, revision: Revision, fresh: Fresh) -> v1::GroupStatus {
        let group = self.group;
        let verdicts: Vec<(&MemberSpec, Verdict)> = group
            .spec
            .members
            .iter()
            .map(|m| (m, detect::verdict(group, &m.name, self.view, self.at)))
            .collect();
        v1::GroupStatus {
            summary: Some(answer::summary(group, revision, fresh, Some((self.view, self.at)))),
            spec: Some((&group.spec).into()),
            epoch: group.epoch_last().0,
            members: verdicts.iter().map(|(m, verdict)| self.member(m, verdict)).collect(),
            transition: group.transition.as_ref().map(Into::into),
            paused: group.paused.as_ref().map(|p| v1::PauseStatus {
                by: p.by.clone(),
                reason: p.reason.clone(),
                at_us: p.at.0,
            }),
            blocked: group.blocked.as_ref().map(|b| v1::BlockStatus {
                code: b.reason.code().to_owned(),
                reason: b.reason.to_string(),
                remedy: b.reason.remedy(&group.spec.name),
                since_us: b.since.0,
            }),
            notes: self.notes(&verdicts),
            fence: group.primary.as_ref().map(|primary| self.fence(primary)),
        }
    }

    fn fence(&self, primary: &Primary) -> v1::FenceStatus {
        let (group, view) = (self.group, self.view);
        let last = view.last_of_primary(group).map(|(_, status)| status);
        let witness = view.witness(group).map(|(_, report)| report);
        let counted = |status: &MemberStatus| {
            let members = group.spec.members.iter().filter(|m| primary.fence.replicas.contains(&m.name));
            let members = members.filter(|m| status.counts(&m.address)).count() as u64;
            members + u64::from(witness.is_some_and(|report| report.attached))
        };
        let granted = view.witness_granted.iter().filter(|((name, _), _)| *name == group.spec.name);
        let granted = granted.map(|(_, (_, at))| *at);
        let lease_left = |at: Moment| at.after(view.times.lease_ttl).since(self.at).as_millis() as u64;
        v1::FenceStatus {
            min_replicas: primary.fence.min_replicas,
            min_replicas_in_force: last.map(|status| status.min_replicas),
            replicas: primary.fence.replicas.iter().map(ToString::to_string).collect(),
            attached: last.map(counted),
            strangers: detect::strangers(group, view),
            witness_node: primary.witness.map(|node| node.0),
            witness: witness.map(|report| v1::WitnessStatus {
                attached: report.attached,
                end_bytes: report.end_bytes,
                tail_bytes: report.end_bytes.saturating_sub(report.start_bytes),
                copies: report.copies,
                age_ms: self.at.since(report.at).as_millis() as u64,
            }),
            lease_left_ms: granted.max().map(lease_left),
            holder_node: primary.holder.map(|node| node.0),
            degraded: primary.degraded,
        }
    }

    fn member(&self, m: &MemberSpec, verdict: &Verdict) -> v1::MemberStatus {
        let group = self.group;
        let name = &group.spec.name;
        let is_primary = group.primary.as_ref().is_some_and(|p| p.member == m.name);
        let redis = group.spec.kind == GroupKind::Redis;
        let fresh = self.view.freshest(name, &m.name).filter(|(at, _)| self.at.since(*at) <= CURRENT_WITHIN);
        let fresh = fresh.map(|(_, status)| status);
        let last = self.last_answer(m);
        let why_not = if is_primary { None } else { detect::why_not(group, &m.name, self.view, self.at) };
        v1::MemberStatus {
            name: m.name.to_string(),
            site: m.site.to_string(),
            address: m.address.to_string(),
            role: if is_primary { v1::Role::Primary } else { v1::Role::Standby }.into(),
            health: verdict.health.word().to_owned(),
            reachable_from: self.sites(m, true).into_iter().map(ToString::to_string).collect(),
            offset_bytes: last.filter(|_| redis).map(MemberStatus::reach_bytes),
            lag_bytes: fresh.filter(|_| redis && !is_primary).and_then(|status| self.lag(status)),
            link_up: if is_primary { None } else { fresh.and_then(link_up) },
            shut: fresh.filter(|_| redis).map(|status| !status.accepts_writes()),
            rtt_us: self.rtt_us(m),
            version: last.filter(|s| !s.version.is_empty()).map(|status| status.version.clone()),
            eligible: !is_primary && group.primary.is_some() && why_not.is_none(),
            why_not,
            evidence: verdict.evidence.iter().map(Into::into).collect(),
            priority: m.priority,
            cluster: last.and_then(kafka::cluster),
            mirror: self.mirror(m),
            boot: self.boot(m).filter(|_| redis).map(Into::into),
        }
    }

    /// The sites whose nodes have an answer of the member that is current, or have none.
    fn sites(&self, m: &MemberSpec, answered: bool) -> BTreeSet<&SiteName> {
        let current = |at: Moment| self.at.since(at) <= CURRENT_WITHIN;
        let seen = self.view.of(&self.group.spec.name, &m.name);
        seen.filter(|(_, _, o)| current(o.at) && o.status().is_some() == answered)
            .map(|(_, site, _)| site)
            .collect()
    }

    /// What the member said last, however long ago.
    fn last_answer(&self, m: &MemberSpec) -> Option<&MemberStatus> {
        let answers = self.view.of(&self.group.spec.name, &m.name).filter_map(|(_, _, o)| match &o.reach {
            Reach::Up(status) => Some((o.at, status)),
            Reach::Down { .. } => o.last_up.as_ref().map(|(at, status)| (*at, status)),
        });
        answers.max_by_key(|(at, _)| *at).map(|(_, status)| status)
    }

    fn lag(&self, standby: &MemberStatus) -> Option<u64> {
        let primary = self.group.primary.as_ref()?;
        let at_primary = self.last_answer(self.group.spec.member(&primary.member)?)?;
        let same_history = standby.replid == at_primary.replid;
        same_history.then(|| at_primary.offset_bytes.saturating_sub(standby.reach_bytes()))
    }

    /// From its own site's node, else the fastest.
    fn rtt_us(&self, m: &MemberSpec) -> Option<u64> {
        let seen = self.view.of(&self.group.spec.name, &m.name);
        let answers = seen.filter_map(|(_, site, o)| Some((*site != m.site, o.status()?.rtt_us)));
        answers.min().map(|(_, rtt_us)| rtt_us)
    }

    fn notes(&self, verdicts: &[(&MemberSpec, Verdict)]) -> Vec<String> {
        let spec = &self.group.spec;
        let mut notes = Vec::new();
        let sites: BTreeSet<&SiteName> = spec.members.iter().map(|m| &m.site).collect();
        if sites.len() < 2 {
            notes.push("all members are at one site: its loss leaves nobody to fail over to".to_owned());
        }
        notes.extend(self.sentinel_notes());
        notes.extend(self.boot_notes());
        match spec.fence {
            FencePolicy::Witness => notes.extend(self.fence_notes().into_iter().chain(self.gate_note())),
            FencePolicy::None => {
                notes.push(
                    "fence = \"none\": a silent primary is replaced unproven, and two may accept writes"
                        .to_owned(),
                );
            }
        }
        notes.extend(self.kafka_notes());
        for (m, verdict) in verdicts {
            let (without, with) = (self.sites(m, false), self.sites(m, true));
            if verdict.health == Health::Suspected && !without.is_empty() && !with.is_empty() {
                notes.push(format!(
                    "{} is not reached from {}, and is from {}: no failover while a quorum of sites reaches it",
                    m.name,
                    join(&without),
                    join(&with)
                ));
            } else if verdict.health == Health::Up && !without.is_empty() {
                notes.push(format!("{} is not reached from {}", m.name, join(&without)));
            }
        }
        notes
    }
}

impl Seen<'_> {
    /// Gates are all that fences an endpoint: without any, nothing does.
    fn gate_note(&self) -> Option<String> {
        let serves = self.group.state() == GroupState::Serving && self.group.spec.kind == GroupKind::Endpoint;
        let reports = self.view.gates.iter().filter(|((name, _), _)| *name == self.group.spec.name);
        let known = reports.clone().count() >= self.view.nodes.len();
        let none = serves && known && !reports.clone().any(|(_, report)| report.open);
        none.then(|| {
            "no node has a gate to it ([[gate]] in node.toml): whoever dials a member directly is not fenced"
                .to_owned()
        })
    }

    /// Why replies wait for another site, or do not.
    fn holder_note(&self, primary: &Primary) -> Option<String> {
        if self.group.spec.durability != Durability::Site {
            return None;
        }
        // A node that does not lead has no report but its own.
        let idle = self.view.holder(self.group).is_some_and(|(_, report)| !report.covers);
        match primary.holder {
            _ if primary.degraded => {
                Some("no other site holds the stream: gates go on as with durability = \"local\"".to_owned())
            }
            Some(node) => idle
                .then(|| format!("n{node} acknowledges nothing at the moment: replies at the gates wait")),
            None => Some(
                "no other site holds the stream: replies at the gates wait, and after 5 s the gates close; bring back a \
                 standby at another site than the primary's and a node beside it, or set on_no_site = \"degrade\""
                    .to_owned(),
            ),
        }
    }

    /// Members that somebody else's failover may change at any moment.
    fn sentinel_notes(&self) -> Vec<String> {
        let watched = self.group.spec.members.iter().filter_map(|member| {
            let (_, status) = self.view.freshest(&self.group.spec.name, &member.name)?;
            (status.sentinels > 0).then(|| format!("{} by {}", member.name, status.sentinels))
        });
        let watched: Vec<_> = watched.collect();
        if watched.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "Redis Sentinel watches {} and may promote another member on its own: stop it, or SENTINEL REMOVE this \
             group there",
            watched.join(", ")
        )]
    }

    /// What weakens the fence of the present primary.
    fn fence_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let Some(primary) = self.group.primary.as_ref().filter(|_| self.group.spec.kind == GroupKind::Redis)
        else {
            return notes;
        };
        let strangers = detect::strangers(self.group, self.view);
        if strangers > 0 {
            notes.push(format!(
                "{} counts {strangers} replica(s) that are neither members nor its witness, so its silence may prove \
                 nothing; find them by CLIENT LIST TYPE replica and stop them",
                primary.member
            ));
        }
        if primary.fence.min_replicas == 0 {
            notes.push(format!(
                "nobody needs to be attached to {} (min-replicas-to-write 0): its silence proves nothing",
                primary.member
            ));
        }
        notes.extend(self.holder_note(primary));
        notes
    }
}

fn link_up(status: &MemberStatus) -> Option<bool> {
    match &status.role {
        MemberRole::Replica { link_up, .. } => Some(*link_up),
        MemberRole::Primary { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => None,
    }
}

fn join(sites: &BTreeSet<&SiteName>) -> String {
    sites.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ")
}
