//! `groups.toml`: the groups as the operator wants them, the same for every node.

use super::section::{self, Findings, Section, duration, integer, parsed, word};
use super::{Problem, Problems};
use primacy_core::apply::check_groups;
use primacy_core::{
    Address, FailoverMode, FencePolicy, GroupKind, GroupName, GroupSpec, LossBudget, MemberName, MemberSpec,
    Rejected, SiteName, State,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use toml::Table;

const DOWN_AFTER: Duration = Duration::from_secs(1);
const MAX_LOSS: LossBudget = LossBudget::Bytes(1 << 20);
const PRIORITY: u64 = 100;

/// The file with the groups.
pub struct GroupsFile;

impl GroupsFile {
    /// Reads and checks a `groups.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(path: &Path) -> Result<Vec<GroupSpec>, Problems> {
        GroupsFile::from_table(&section::read(path)?)
    }

    /// Checks the text of a `groups.toml`.
    ///
    /// # Errors
    /// As [`GroupsFile::load`].
    pub fn parse(text: &str) -> Result<Vec<GroupSpec>, Problems> {
        let table = section::parse(text).map_err(|reason| {
            let remedy = "correct the line; the format is TOML 1.0".to_owned();
            Problems(vec![Problem { key: "groups.toml".to_owned(), reason, remedy }])
        })?;
        GroupsFile::from_table(&table)
    }

    fn from_table(table: &Table) -> Result<Vec<GroupSpec>, Problems> {
        let findings = Findings::default();
        let root = Section::new("", table, &findings);
        let listed = root.sections("redis");
        root.absent("kafka", "Kafka groups");
        root.absent("endpoint", "endpoint groups");
        root.finish();
        let mut whole = true;
        let mut groups = Vec::new();
        for section in listed {
            match read_group(section) {
                Some(group) => groups.push(group),
                None => whole = false,
            }
        }
        let mut problems = findings.into_vec();
        problems.extend(check(&groups));
        if whole && problems.is_empty() { Ok(groups) } else { Err(Problems(problems)) }
    }
}

fn read_group(mut section: Section<'_>) -> Option<GroupSpec> {
    let name = section.required("name", "name = \"features\"", |v| {
        parsed::<GroupName>(v, "a group's name", "\"features\"")
    });
    if let Some(name) = &name {
        section.rename(format!("redis.{name}"));
    }
    let modes = [("automatic", FailoverMode::Automatic), ("manual", FailoverMode::Manual)];
    let failover = section.optional("failover", |v| word(v, &modes)).unwrap_or(FailoverMode::Automatic);
    let down_after = section.optional("down_after", |v| duration(v, "\"1s\"")).unwrap_or(DOWN_AFTER);
    let max_loss =
        section.optional("max_loss", |v| parsed::<LossBudget>(v, "a size", "\"1 MiB\"")).unwrap_or(MAX_LOSS);
    let fences = [("witness", FencePolicy::Witness), ("none", FencePolicy::None)];
    let fence = section.optional("fence", |v| word(v, &fences)).unwrap_or(FencePolicy::Witness);
    section.absent("tail_max", "witness, so there is no tail to keep");
    section.absent("may_kill", "guard that could kill a frozen server");
    section.absent("durability", "gate, which is what holds replies");
    section.absent("on_no_site", "gate, which is what holds replies");
    let path = section.path().to_owned();
    let listed = section.sections("member");
    let expected = listed.len();
    let members: Vec<MemberSpec> =
        listed.into_iter().filter_map(|member| read_member(member, &path)).collect();
    let complete = members.len() == expected;
    section.finish();
    complete.then_some(GroupSpec {
        name: name?,
        kind: GroupKind::Redis,
        failover,
        down_after_ms: down_after.as_millis().max(1) as u64,
        max_loss,
        fence,
        members,
    })
}

fn read_member(mut section: Section<'_>, group: &str) -> Option<MemberSpec> {
    let name = section
        .required("name", "name = \"east-a\"", |v| parsed::<MemberName>(v, "a member's name", "\"east-a\""));
    if let Some(name) = &name {
        section.rename(format!("{group}.member.{name}"));
    }
    let site =
        section.required("site", "site = \"east\"", |v| parsed::<SiteName>(v, "a site's name", "\"east\""));
    let address = section.required("address", "address = \"10.0.0.1:6379\"", |v| {
        parsed::<Address>(v, "an address", "\"10.0.0.1:6379\"")
    });
    let priority = section.optional("priority", |v| integer(v, 0, u64::from(u32::MAX))).unwrap_or(PRIORITY);
    section.finish();
    Some(MemberSpec { name: name?, site: site?, address: address?, priority: priority as u32 })
}

/// What the rules say of the groups: each by itself first, so that one bad group does not hide the next.
fn check(groups: &[GroupSpec]) -> Vec<Problem> {
    let nothing = State::default();
    let refused = |groups: &[GroupSpec]| check_groups(&nothing, groups, true).err().map(problem_of);
    let mut problems: Vec<Problem> = groups.iter().filter_map(|g| refused(std::slice::from_ref(g))).collect();
    if problems.is_empty() {
        problems.extend(refused(groups));
    }
    let mut seen = BTreeSet::new();
    problems.retain(|p| seen.insert((p.key.clone(), p.reason.clone())));
    problems
}

/// A rejected configuration as a problem of the file.
pub(crate) fn problem_of(rejected: Rejected) -> Problem {
    match rejected {
        Rejected::InvalidGroup { key, reason, remedy } => Problem { key, reason, remedy },
        Rejected::TransitionInProgress { ref group, .. } | Rejected::UnknownGroup { ref group } => Problem {
            key: format!("redis.{group}"),
            reason: rejected.to_string(),
            remedy: "try again when it has ended".to_owned(),
        },
        other => Problem {
            key: "redis".to_owned(),
            reason: other.to_string(),
            remedy: format!("see the rule {}", other.code()),
        },
    }
}
