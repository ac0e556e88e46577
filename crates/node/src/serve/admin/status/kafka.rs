//! What status says of Kafka clusters and of the mirrors between them.

use super::Seen;
use primacy_core::view::{ClusterStatus, MemberStatus, MirrorReport};
use primacy_core::{GroupKind, LagBudget, MemberName, MemberSpec, MirrorEngine, MirrorSpec, NodeId};
use primacy_wire::v1::server_status::Cluster;
use primacy_wire::{mirror, v1};
use std::collections::BTreeMap;
use std::time::Duration;

/// A sample that is older is told with its age.
const SAMPLE_GOOD_FOR: Duration = Duration::from_secs(3);

/// What a member answered as a Kafka cluster.
pub(super) fn cluster(status: &MemberStatus) -> Option<v1::ClusterMemberStatus> {
    let answer: Cluster = status.as_cluster()?.into();
    Some(v1::ClusterMemberStatus { cluster_id: status.run_id.clone(), answer: Some(answer) })
}

impl Seen<'_> {
    /// The mirror into a member.
    pub(super) fn mirror(&self, m: &MemberSpec) -> Option<v1::MirrorStatus> {
        let (node, report) = self.mirror_report(&m.name)?;
        let report = mirror::to_wire(&self.group.spec.name, &m.name, report, self.at);
        Some(v1::MirrorStatus { node_id: node.0, report: Some(report) })
    }

    /// What the node says that runs the mirror into a standby; else what was heard last of the source.
    fn mirror_report(&self, member: &MemberName) -> Option<(NodeId, &MirrorReport)> {
        let primary = self.group.primary.as_ref().filter(|p| p.member != *member)?;
        let reports = self.view.mirrors.get(&(self.group.spec.name.clone(), member.clone()))?;
        let of_epoch = reports.iter().filter(|(_, r)| r.epoch == primary.epoch);
        of_epoch.map(|(node, r)| (*node, r)).max_by_key(|(_, r)| (r.running, r.sampled_at, r.at))
    }

    /// What an operator should know of clusters and mirrors, a line each.
    pub(super) fn kafka_notes(&self) -> Vec<String> {
        let spec = &self.group.spec;
        let Some(mirror) = spec.mirror.as_ref().filter(|_| spec.kind == GroupKind::Kafka) else {
            return Vec::new();
        };
        let mut notes = Vec::new();
        let mut ids: BTreeMap<&str, &MemberName> = BTreeMap::new();
        for m in &spec.members {
            let Some(status) = self.last_answer(m) else { continue };
            if let Some(other) = ids.insert(&status.run_id, &m.name) {
                notes.push(format!(
                    "{other} and {} are the same cluster ({}): correct the bootstrap addresses of one of them",
                    m.name, status.run_id
                ));
            }
            notes.extend(status.as_cluster().into_iter().flat_map(|c| cluster_notes(&m.name, c)));
        }
        notes.extend(self.stranger());
        if mirror.engine == MirrorEngine::External {
            notes.push(
                "mirror = \"external\": lag is the most that a standby may lack, by what that mirror wrote down last"
                    .to_owned(),
            );
        }
        notes.extend(self.mirror_notes(mirror));
        notes
    }

    /// The active cluster's addresses lead to another cluster than the one that was made active.
    fn stranger(&self) -> Option<String> {
        let primary = self.group.primary.as_ref()?;
        let member = self.group.spec.member(&primary.member)?;
        let found = &self.last_answer(member)?.run_id;
        let committed = &primary.lineage.run_id;
        (!committed.is_empty() && found != committed).then(|| {
            format!(
                "{} answers as cluster {found}, and cluster {committed} was made active: nothing is mirrored from \
                 it; correct its bootstrap addresses",
                member.name
            )
        })
    }

    fn mirror_notes(&self, mirror: &MirrorSpec) -> Vec<String> {
        let mut notes = Vec::new();
        let primary = self.group.primary.as_ref().map(|p| &p.member);
        for m in self.group.spec.members.iter().filter(|m| primary.is_some_and(|p| *p != m.name)) {
            let Some((node, report)) = self.mirror_report(&m.name) else {
                notes.push(format!("no node mirrors to {} yet", m.name));
                continue;
            };
            if !report.running {
                notes.push(format!("nobody mirrors to {} at the moment; n{node} did last", m.name));
            }
            if let Some(trouble) = &report.trouble {
                notes.push(format!("mirror to {}: {trouble}", m.name));
            }
            for item in report.topics.iter().chain(&report.groups) {
                let Some(problem) = &item.problem else { continue };
                let what = if item.state.is_empty() { "group" } else { "topic" };
                notes.push(format!("mirror to {}: {what} {}: {problem}", m.name, item.name));
            }
            notes.extend(self.over_budget(m, report, mirror.max_lag));
        }
        notes
    }

    /// A live mirror is always a few records behind; what counts is what it lacked when the source was last heard.
    fn over_budget(&self, m: &MemberSpec, report: &MirrorReport, budget: LagBudget) -> Option<String> {
        let age = report.sampled_at.map(|at| self.at.since(at)).filter(|age| *age > SAMPLE_GOOD_FOR)?;
        let over = match budget {
            LagBudget::Any => false,
            LagBudget::Records(n) => report.lag.records > n,
            LagBudget::Ms(ms) => report.lag.ms > ms,
        };
        let (records, age) = (report.lag.records, age.as_secs());
        over.then(|| {
            format!("{} lacks {records} records, by a sample {age} s old (max_lag {budget})", m.name)
        })
    }
}

fn cluster_notes(member: &MemberName, cluster: &ClusterStatus) -> Vec<String> {
    let mut notes = Vec::new();
    if cluster.leaderless.count > 0 {
        let partitions = cluster.leaderless.words();
        notes.push(format!("{member} is degraded: nobody leads {partitions}; bring its brokers back"));
    }
    if cluster.under_replicated.count > 0 {
        let partitions = cluster.under_replicated.words();
        notes.push(format!(
            "{member} is degraded: {partitions} have fewer replicas in step than they should; bring its brokers back"
        ));
    }
    if cluster.controller.is_none() && cluster.brokers > 0 {
        notes.push(format!(
            "{member} has no controller, so nothing can be changed there; see its brokers' logs"
        ));
    }
    notes.extend(cluster.problems.iter().map(|problem| format!("{member}: {problem}")));
    notes
}
