//! `groups.toml`: the groups as the operator wants them, the same for every node.

mod kafka;

use super::section::{self, Findings, Section, Wrong, boolean, duration, integer, parsed, string, word};
use super::{Problem, Problems};
use primacy_core::apply::check_groups;
use primacy_core::{
    Address, Durability, FailoverMode, FencePolicy, GroupKind, GroupName, GroupSpec, LossBudget, MemberName,
    MemberSpec, OnNoSite, Probe, Rejected, SiteName, State,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use toml::{Table, Value};

const DOWN_AFTER: Duration = Duration::from_secs(1);
const MAX_LOSS: LossBudget = LossBudget::Bytes(1 << 20);
const TAIL_MAX_BYTES: u64 = 64 << 20;
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
        let listed: [(Reader, Vec<Section<'_>>); 3] = [
            (read_redis, root.sections("redis")),
            (kafka::read, root.sections("kafka")),
            (read_endpoint, root.sections("endpoint")),
        ];
        root.finish();
        let mut whole = true;
        let mut groups = Vec::new();
        for (read, section) in
            listed.into_iter().flat_map(|(read, all)| all.into_iter().map(move |s| (read, s)))
        {
            match read(section) {
                Some(group) => groups.push(group),
                None => whole = false,
            }
        }
        let mut problems = findings.into_vec();
        problems.extend(check(&groups));
        if whole && problems.is_empty() { Ok(groups) } else { Err(Problems(problems)) }
    }
}

type Reader = fn(Section<'_>) -> Option<GroupSpec>;

/// What groups of every kind say of themselves.
struct Common {
    name: Option<GroupName>,
    failover: FailoverMode,
    down_after_ms: u64,
}

fn read_common(section: &mut Section<'_>, kind: GroupKind, failover: FailoverMode) -> Common {
    let name = section.required("name", "name = \"features\"", |v| {
        parsed::<GroupName>(v, "a group's name", "\"features\"")
    });
    if let Some(name) = &name {
        section.rename(format!("{kind}.{name}"));
    }
    let modes = [("automatic", FailoverMode::Automatic), ("manual", FailoverMode::Manual)];
    let failover = section.optional("failover", |v| word(v, &modes)).unwrap_or(failover);
    let down_after = section.optional("down_after", |v| duration(v, "\"1s\"")).unwrap_or(DOWN_AFTER);
    Common { name, failover, down_after_ms: down_after.as_millis().max(1) as u64 }
}

fn read_redis(mut section: Section<'_>) -> Option<GroupSpec> {
    let common = read_common(&mut section, GroupKind::Redis, FailoverMode::Automatic);
    let max_loss =
        section.optional("max_loss", |v| parsed::<LossBudget>(v, "a size", "\"1 MiB\"")).unwrap_or(MAX_LOSS);
    let fences = [("witness", FencePolicy::Witness), ("none", FencePolicy::None)];
    let fence = section.optional("fence", |v| word(v, &fences)).unwrap_or(FencePolicy::Witness);
    let tail_max_bytes = section.optional("tail_max", size).unwrap_or(TAIL_MAX_BYTES);
    let may_kill = section.optional("may_kill", boolean).unwrap_or(false);
    let durabilities =
        [("async", Durability::Async), ("local", Durability::Local), ("site", Durability::Site)];
    let durability = section.optional("durability", |v| word(v, &durabilities)).unwrap_or(match fence {
        FencePolicy::Witness => Durability::Local,
        // There is no witness that a reply could wait for.
        FencePolicy::None => Durability::Async,
    });
    let answers = [("refuse", OnNoSite::Refuse), ("degrade", OnNoSite::Degrade)];
    let on_no_site = section.optional("on_no_site", |v| word(v, &answers)).unwrap_or(OnNoSite::Refuse);
    let shape = Shape { example: "east-a", addresses: one_address, probe: |_, _| Probe::Native };
    let members = read_members(&section, &shape);
    section.finish();
    Some(GroupSpec {
        name: common.name?,
        kind: GroupKind::Redis,
        failover: common.failover,
        down_after_ms: common.down_after_ms,
        max_loss,
        fence,
        tail_max_bytes,
        may_kill,
        durability,
        on_no_site,
        mirror: None,
        members: members?,
    })
}

/// An endpoint has no data: nothing can be lost, kept or waited for, and gates lead to it under a lease alone.
fn read_endpoint(mut section: Section<'_>) -> Option<GroupSpec> {
    let common = read_common(&mut section, GroupKind::Endpoint, FailoverMode::Automatic);
    let probe = |member: &Section<'_>, _: &[Address]| member.optional("probe", probe).unwrap_or(Probe::Tcp);
    let members = read_members(&section, &Shape { example: "east-a", addresses: one_address, probe });
    section.finish();
    Some(GroupSpec {
        name: common.name?,
        kind: GroupKind::Endpoint,
        failover: common.failover,
        down_after_ms: common.down_after_ms,
        max_loss: LossBudget::Any,
        fence: FencePolicy::Witness,
        tail_max_bytes: 0,
        may_kill: false,
        durability: Durability::Async,
        on_no_site: OnNoSite::Refuse,
        mirror: None,
        members: members?,
    })
}

/// What members of one kind look like.
struct Shape {
    /// A name, for messages.
    example: &'static str,
    /// Where it is entered; the first address stands for it.
    addresses: fn(&Section<'_>) -> Option<Vec<Address>>,
    probe: fn(&Section<'_>, &[Address]) -> Probe,
}

/// All members, or none when one cannot be read.
fn read_members(section: &Section<'_>, shape: &Shape) -> Option<Vec<MemberSpec>> {
    let listed = section.sections("member");
    let expected = listed.len();
    let read = |member| read_member(member, section.path(), shape);
    let members: Vec<MemberSpec> = listed.into_iter().filter_map(read).collect();
    (members.len() == expected).then_some(members)
}

fn read_member(mut section: Section<'_>, group: &str, shape: &Shape) -> Option<MemberSpec> {
    let example = format!("{:?}", shape.example);
    let name = section.required("name", &format!("name = {example}"), |v| {
        parsed::<MemberName>(v, "a member's name", &example)
    });
    if let Some(name) = &name {
        section.rename(format!("{group}.member.{name}"));
    }
    let site =
        section.required("site", "site = \"east\"", |v| parsed::<SiteName>(v, "a site's name", "\"east\""));
    let addresses = (shape.addresses)(&section);
    let priority = section.optional("priority", |v| integer(v, 0, u64::from(u32::MAX))).unwrap_or(PRIORITY);
    let probe = (shape.probe)(&section, addresses.as_deref().unwrap_or_default());
    section.finish();
    let address = addresses?.into_iter().next()?;
    Some(MemberSpec { name: name?, site: site?, address, priority: priority as u32, probe })
}

fn one_address(section: &Section<'_>) -> Option<Vec<Address>> {
    section.required("address", "address = \"10.0.0.1:6379\"", |v| {
        parsed::<Address>(v, "an address", "\"10.0.0.1:6379\"").map(|address| vec![address])
    })
}

/// `"64 MiB"`.
fn size(value: &Value) -> Result<u64, Wrong> {
    const EXAMPLE: &str = "\"64 MiB\"";
    let text = string(value, "a size", EXAMPLE)?;
    match text.parse::<LossBudget>() {
        Ok(LossBudget::Bytes(bytes)) => Ok(bytes),
        Ok(LossBudget::Any) | Err(_) => {
            let remedy = format!("write a number with its unit, such as {EXAMPLE}");
            Err(Wrong::new(format!("{text:?} is not a size"), remedy))
        }
    }
}

/// `"tcp"`, or `"http:"` with a path.
fn probe(value: &Value) -> Result<Probe, Wrong> {
    const KNOWN: &str = "\"tcp\" or \"http:/healthz\"";
    match string(value, "a probe", KNOWN)? {
        "tcp" => Ok(Probe::Tcp),
        "grpc" => Err(Wrong::new("this version has no gRPC probe", format!("write {KNOWN}"))),
        text => match text.strip_prefix("http:") {
            Some(path) => Ok(Probe::Http { path: path.to_owned() }),
            None => Err(Wrong::new(format!("{text:?} is not known"), format!("write {KNOWN}"))),
        },
    }
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
            key: group.to_string(),
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
