//! What applying a groups file changes, and what is wrong with a file.

use super::word;
use crate::screen::Screen;
use crate::screen::table::Tone;
use crate::screen::units::plural;
use primacy_wire::v1;
use serde::Serialize;

/// What happens to one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ChangeReport {
    pub(crate) group: String,
    /// `created`, `changed`, `removed` or `unchanged`.
    pub(crate) kind: String,
    /// The settings that differ, one a line.
    pub(crate) lines: Vec<String>,
}

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ProblemReport {
    pub(crate) key: String,
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

/// `apply -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ApplyReport {
    pub(crate) dry_run: bool,
    pub(crate) changes: Vec<ChangeReport>,
    pub(crate) problems: Vec<ProblemReport>,
    /// None when nothing was changed.
    pub(crate) revision: Option<u64>,
}

/// `check -o json`, one object a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FileReport {
    pub(crate) file: String,
    pub(crate) valid: bool,
    pub(crate) problems: Vec<ProblemReport>,
    /// What works and should still be put right.
    pub(crate) warnings: Vec<ProblemReport>,
    /// What follows from what it says.
    pub(crate) notes: Vec<String>,
}

impl ApplyReport {
    pub(crate) fn text(&self, screen: Screen) -> String {
        let mut text = String::new();
        let mut same = 0;
        for change in &self.changes {
            let (sign, tone) = match change.kind.as_str() {
                "created" => ("+", Tone::Good),
                "changed" => ("~", Tone::Busy),
                "removed" => ("-", Tone::Bad),
                _ => {
                    same += 1;
                    continue;
                }
            };
            text += &screen.tone(tone, &format!("{sign} {} {}", change.group, change.kind));
            text.push('\n');
            let lines = change.lines.iter().flat_map(|line| ["    ", line, "\n"]);
            text.extend(lines);
        }
        text + &self.sum(same) + "\n"
    }

    fn sum(&self, same: u64) -> String {
        let changed = self.changes.len() as u64 - same;
        let (changed_words, same_words) = (plural(changed, "group"), plural(same, "group"));
        match (changed, self.dry_run, self.revision) {
            (0, ..) => format!("nothing to change, {same_words} as in the file"),
            (_, true, _) => format!("{changed_words} would change, {same_words} unchanged (dry run)"),
            (_, false, Some(revision)) => {
                format!("{changed_words} changed, {same_words} unchanged, revision {revision}")
            }
            (_, false, None) => format!("{changed_words} changed, {same_words} unchanged"),
        }
    }
}

impl ApplyReport {
    pub(crate) fn new(answer: v1::ApplyGroupsResponse, dry_run: bool) -> Self {
        let changes = answer.changes.into_iter().map(|change| ChangeReport {
            kind: word(
                v1::ChangeKind::try_from(change.kind).ok().map(|kind| kind.as_str_name()),
                "CHANGE_KIND_",
            ),
            group: change.group,
            lines: change.lines,
        });
        let problems = answer.problems.into_iter().map(|problem| ProblemReport {
            key: problem.key,
            reason: problem.reason,
            remedy: problem.remedy,
        });
        let problems: Vec<ProblemReport> = problems.collect();
        let changed = !dry_run && problems.is_empty();
        ApplyReport {
            dry_run,
            changes: changes.collect(),
            problems,
            revision: changed.then_some(answer.revision),
        }
    }
}

/// Problems as an error lists them: the key, the reason, and the remedy below.
pub(crate) fn problems_text(problems: &[ProblemReport]) -> String {
    let line = |problem: &ProblemReport| match problem {
        ProblemReport { key, reason, remedy } if remedy.is_empty() => format!("  {key}: {reason}\n"),
        ProblemReport { key, reason, remedy } => format!("  {key}: {reason}\n      remedy: {remedy}\n"),
    };
    problems.iter().map(line).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::primary::tests::PLAIN;
    use super::*;
    use expect_test::expect;

    fn report() -> ApplyReport {
        let change = |group: &str, kind: &str, lines: &[&str]| ChangeReport {
            group: group.into(),
            kind: kind.into(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        ApplyReport {
            dry_run: false,
            changes: vec![
                change("features", "changed", &["down_after: 1s -> 2s"]),
                change("sessions", "created", &["member east-a 10.0.0.1:6380"]),
                change("events", "unchanged", &[]),
                change("old", "removed", &[]),
            ],
            problems: Vec::new(),
            revision: Some(58),
        }
    }

    #[test]
    fn changes_are_listed_and_counted() {
        expect![[r"
            ~ features changed
                down_after: 1s -> 2s
            + sessions created
                member east-a 10.0.0.1:6380
            - old removed
            3 groups changed, 1 group unchanged, revision 58
        "]]
        .assert_eq(&report().text(PLAIN));
        let dry = ApplyReport { dry_run: true, revision: None, ..report() };
        assert!(dry.text(PLAIN).ends_with("3 groups would change, 1 group unchanged (dry run)\n"));
        let none = ApplyReport { changes: report().changes[2..3].to_vec(), ..report() };
        assert_eq!(none.text(PLAIN), "nothing to change, 1 group as in the file\n");
    }

    #[test]
    fn problems_carry_key_reason_and_remedy() {
        let problem = |remedy: &str| ProblemReport {
            key: "redis.features.member.east-a".into(),
            reason: "10.0.0.1:6379 is not reachable".into(),
            remedy: remedy.into(),
        };
        expect![[r#"
            groups.toml is not valid
              redis.features.member.east-a: 10.0.0.1:6379 is not reachable
                  remedy: start it, or correct its address
              redis.features.member.east-a: 10.0.0.1:6379 is not reachable
        "#]]
        .assert_eq(&format!(
            "groups.toml is not valid\n{}",
            problems_text(&[problem("start it, or correct its address"), problem("")])
        ));
    }

    #[test]
    fn json() {
        let report = ApplyReport { changes: report().changes[..1].to_vec(), ..report() };
        expect![[r#"{"dry_run":false,"changes":[{"group":"features","kind":"changed","lines":["down_after: 1s -> 2s"]}],"problems":[],"revision":58}"#]]
            .assert_eq(&serde_json::to_string(&report).unwrap());
    }
}
