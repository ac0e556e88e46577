//! Apply: the rules first, then the servers themselves, and only then the log. Nothing is changed while a problem is left.

use super::super::{Shared, refuse};
use super::{diff, members};
use crate::config::{Problem, problem_of};
use primacy_core::apply::check_groups;
use primacy_core::{Command, GroupSpec, SiteName};
use primacy_runtime::wall;
use primacy_wire::{WireError, v1};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// More groups than one node can watch in earnest.
const GROUPS_MAX: usize = 1_000;

impl Shared {
    pub(super) async fn apply_groups(
        self: &Arc<Self>,
        request: v1::ApplyGroupsRequest,
        within: Duration,
    ) -> Result<v1::ApplyGroupsResponse, Status> {
        let (prune, dry_run, by) = (request.prune, request.dry_run, request.requested_by);
        if request.groups.len() > GROUPS_MAX {
            return Err(WireError::new("groups", format!("more than {GROUPS_MAX} groups")).into());
        }
        let groups = specs(request.groups)?;
        self.consensus.linearizable(within).await.map_err(refuse::read)?;
        let (mut problems, mut changes, revision) = self.consensus.read(|state| {
            let refused = check_groups(state, &groups, prune).err().map(problem_of);
            (Vec::from_iter(refused), diff::changes(state, &groups, prune), state.revision)
        });
        problems.extend(self.unknown_sites(&groups));
        if problems.is_empty() {
            let known = self.consensus.read(members::known);
            let looked = members::look_over(self, &groups, &known).await;
            problems.extend(looked.problems);
            for (group, note) in looked.notes {
                if let Some(change) = changes.iter_mut().find(|c| c.group == group.as_str()) {
                    change.lines.push(note);
                }
            }
        }
        if !problems.is_empty() || dry_run {
            let problems = problems.into_iter().map(to_wire).collect();
            return Ok(v1::ApplyGroupsResponse { changes, problems, revision: revision.0 });
        }
        let command = Command::ConfigureGroups { groups, prune, by, at: wall() };
        let committed = self.consensus.propose(command, within).await.map_err(refuse::propose)?;
        Ok(v1::ApplyGroupsResponse { changes, problems: vec![], revision: committed.revision.0 })
    }

    /// Members at sites where no node is: nobody there could ever see them.
    fn unknown_sites(&self, groups: &[GroupSpec]) -> Vec<Problem> {
        let nodes = self.consensus.membership().nodes;
        let sites: BTreeSet<&SiteName> = nodes.values().map(|n| &n.site).collect();
        let listed: Vec<&str> = sites.iter().map(|s| s.as_str()).collect();
        let mut problems = Vec::new();
        for group in groups {
            for m in group.members.iter().filter(|m| !sites.contains(&m.site)) {
                problems.push(Problem {
                    key: format!("{}.{}.member.{}.site", group.kind, group.name, m.name),
                    reason: format!("no node is at site {}", m.site),
                    remedy: format!("use one of {}, or add a node there first", listed.join(", ")),
                });
            }
        }
        problems
    }
}

fn specs(groups: Vec<v1::GroupSpec>) -> Result<Vec<GroupSpec>, WireError> {
    let one =
        |(n, group)| GroupSpec::try_from(group).map_err(|e: WireError| e.within(&format!("groups[{n}]")));
    groups.into_iter().enumerate().map(one).collect()
}

fn to_wire(problem: Problem) -> v1::Problem {
    v1::Problem { key: problem.key, reason: problem.reason, remedy: problem.remedy }
}
