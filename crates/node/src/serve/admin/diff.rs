//! What an apply would change, in lines a person reads.

use primacy_core::{
    FailoverMode, FencePolicy, Group, GroupSpec, LossBudget, MemberSpec, MirrorSpec, OnNoSite, Probe, State,
};
use primacy_wire::v1;
use std::time::Duration;

/// One change a group that is named or removed.
pub(super) fn changes(state: &State, wanted: &[GroupSpec], prune: bool) -> Vec<v1::Change> {
    let mut all: Vec<v1::Change> =
        wanted.iter().map(|spec| one(state.groups.get(&spec.name), spec)).collect();
    if prune {
        let gone = state.groups.values().filter(|g| wanted.iter().all(|spec| spec.name != g.spec.name));
        all.extend(gone.map(removed));
    }
    all
}

fn change(spec: &GroupSpec, kind: v1::ChangeKind, lines: Vec<String>) -> v1::Change {
    v1::Change { group: spec.name.to_string(), kind: kind.into(), lines }
}

fn removed(group: &Group) -> v1::Change {
    let lines = group.primary.iter().map(|p| format!("{} goes on serving, and nobody watches it", p.member));
    change(&group.spec, v1::ChangeKind::Removed, lines.collect())
}

fn one(known: Option<&Group>, wanted: &GroupSpec) -> v1::Change {
    let Some(known) = known else {
        let lines = wanted.members.iter().map(|m| format!("member {}: {}", m.name, describe(m)));
        return change(wanted, v1::ChangeKind::Created, lines.collect());
    };
    if known.spec == *wanted {
        return change(wanted, v1::ChangeKind::Unchanged, vec![]);
    }
    let mut lines = Vec::new();
    let pairs = [
        ("failover", mode(known.spec.failover).to_owned(), mode(wanted.failover).to_owned()),
        ("down_after", time(known.spec.down_after_ms), time(wanted.down_after_ms)),
        ("max_loss", known.spec.max_loss.to_string(), wanted.max_loss.to_string()),
        ("fence", fence(known.spec.fence).to_owned(), fence(wanted.fence).to_owned()),
        ("tail_max", size(known.spec.tail_max_bytes), size(wanted.tail_max_bytes)),
        ("may_kill", known.spec.may_kill.to_string(), wanted.may_kill.to_string()),
        ("durability", known.spec.durability.word().to_owned(), wanted.durability.word().to_owned()),
        ("on_no_site", answer(known.spec.on_no_site).to_owned(), answer(wanted.on_no_site).to_owned()),
    ];
    lines.extend(changed(pairs));
    lines.extend(mirror_lines(known.spec.mirror.as_ref(), wanted.mirror.as_ref()));
    lines.extend(member_lines(&known.spec, wanted));
    if lines.is_empty() {
        lines.push("the order of the members".to_owned());
    }
    change(wanted, v1::ChangeKind::Changed, lines)
}

fn mirror_lines(known: Option<&MirrorSpec>, wanted: Option<&MirrorSpec>) -> Vec<String> {
    let settings = |m: &MirrorSpec| {
        let rate = m.rate_max_bytes.map_or_else(|| "no limit".to_owned(), |rate| format!("{}/s", size(rate)));
        [
            ("mirror", m.engine.word().to_owned()),
            ("topics", m.topics.join(" ")),
            ("groups", m.groups.join(" ")),
            ("mirror_rate", rate),
            ("gaps", m.gaps.word().to_owned()),
            ("max_lag", m.max_lag.to_string()),
        ]
    };
    let (Some(known), Some(wanted)) = (known, wanted) else { return vec![] };
    let pairs = settings(known).into_iter().zip(settings(wanted));
    changed(pairs.map(|((key, a), (_, b))| (key, a, b))).collect()
}

/// The settings whose two values differ, a line each.
fn changed(
    settings: impl IntoIterator<Item = (&'static str, String, String)>,
) -> impl Iterator<Item = String> {
    let differ = settings.into_iter().filter(|(_, a, b)| a != b);
    differ.map(|(key, a, b)| format!("{key}: {a} -> {b}"))
}

fn member_lines(known: &GroupSpec, wanted: &GroupSpec) -> Vec<String> {
    let mut lines = Vec::new();
    for m in &wanted.members {
        match known.member(&m.name) {
            None => lines.push(format!("member {}: added, {}", m.name, describe(m))),
            Some(before) if before != m => {
                lines.push(format!("member {}: {} -> {}", m.name, describe(before), describe(m)));
            }
            Some(_) => {}
        }
    }
    let gone = known.members.iter().filter(|m| wanted.member(&m.name).is_none());
    lines.extend(gone.map(|m| format!("member {}: removed", m.name)));
    lines
}

fn describe(m: &MemberSpec) -> String {
    let probe = match &m.probe {
        Probe::Native => String::new(),
        Probe::Tcp => ", probe tcp".to_owned(),
        Probe::Http { path } => format!(", probe http:{path}"),
        Probe::Cluster { bootstrap } => match bootstrap.get(1..) {
            Some([]) | None => String::new(),
            Some(more) => {
                let more: Vec<String> = more.iter().map(ToString::to_string).collect();
                format!(" {}", more.join(" "))
            }
        },
    };
    format!("{} at {}, priority {}{probe}", m.site, m.address, m.priority)
}

fn mode(mode: FailoverMode) -> &'static str {
    match mode {
        FailoverMode::Automatic => "automatic",
        FailoverMode::Manual => "manual",
    }
}

fn fence(policy: FencePolicy) -> &'static str {
    match policy {
        FencePolicy::Witness => "witness",
        FencePolicy::None => "none",
    }
}

fn answer(on_no_site: OnNoSite) -> &'static str {
    match on_no_site {
        OnNoSite::Refuse => "refuse",
        OnNoSite::Degrade => "degrade",
    }
}

fn size(bytes: u64) -> String {
    LossBudget::Bytes(bytes).to_string()
}

fn time(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::config::GroupsFile;
    use primacy_core::{Command, WallTime};

    const FILE: &str = r#"
[[redis]]
name = "features"
[[redis.member]]
name = "east-a"
site = "east"
address = "10.0.0.1:6379"
[[redis.member]]
name = "west-a"
site = "west"
address = "10.0.0.2:6379"
"#;

    fn told(state: &State, file: &str) -> String {
        let wanted = GroupsFile::parse(file).unwrap();
        let tell = |c: v1::Change| format!("{} {}: {}", c.kind().as_str_name(), c.group, c.lines.join(" | "));
        changes(state, &wanted, true).into_iter().map(tell).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn changes_read_as_a_person_would_say_them() {
        let mut state = State::default();
        assert_eq!(
            told(&state, FILE),
            "CHANGE_KIND_CREATED features: member east-a: east at 10.0.0.1:6379, priority 100 | \
             member west-a: west at 10.0.0.2:6379, priority 100"
        );
        let groups = GroupsFile::parse(FILE).unwrap();
        let command = Command::ConfigureGroups { groups, prune: true, by: "t".into(), at: WallTime(1) };
        state.apply(1, &command).unwrap();
        assert_eq!(told(&state, FILE), "CHANGE_KIND_UNCHANGED features: ");
        let edited = FILE
            .replace(
                "name = \"features\"",
                "name = \"features\"\ndown_after = \"2s\"\nfailover = \"manual\"\ntail_max = \"1 GiB\"\ndurability = \"site\"",
            )
            .replace("10.0.0.2:6379", "10.0.0.3:6379");
        assert_eq!(
            told(&state, &edited),
            "CHANGE_KIND_CHANGED features: failover: automatic -> manual | down_after: 1s -> 2s | \
             tail_max: 64 MiB -> 1 GiB | durability: local -> site | \
             member west-a: west at 10.0.0.2:6379, priority 100 -> west at 10.0.0.3:6379, priority 100"
        );
        assert_eq!(told(&state, ""), "CHANGE_KIND_REMOVED features: ");
    }
}
