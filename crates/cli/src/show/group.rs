//! Groups, one line each.

use super::primary::{PrimaryReport, kind_word, state_tone, state_word};
use super::transition::TransitionReport;
use crate::screen::Screen;
use crate::screen::table::{Table, Tone, left, right, wrapped};
use primacy_core::Transition;
use primacy_wire::{WireError, v1};
use serde::Serialize;

/// Wide enough for a sentence, narrow enough for a terminal.
const REASON_WIDTH: usize = 58;

/// A group in few words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct GroupReport {
    pub(crate) group: String,
    pub(crate) kind: String,
    /// None while the group is unassigned.
    pub(crate) primary: Option<PrimaryReport>,
    pub(crate) state: String,
    /// Why it is not serving, and what can be done.
    pub(crate) reason: Option<String>,
    pub(crate) remedy: Option<String>,
    /// None where the answering node does not know: it does not lead.
    pub(crate) standbys_ready: Option<u32>,
    pub(crate) standbys_total: u32,
    pub(crate) last_transition: Option<TransitionReport>,
}

/// `groups -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct GroupsReport {
    pub(crate) revision: u64,
    pub(crate) groups: Vec<GroupReport>,
}

impl GroupReport {
    /// `east-a (east)`.
    pub(crate) fn primary_words(&self) -> String {
        let primary = self.primary.as_ref();
        match primary.and_then(|primary| primary.member.as_ref().zip(primary.site.as_ref())) {
            Some((member, site)) => format!("{member} ({site})"),
            None => "-".to_owned(),
        }
    }

    pub(crate) fn epoch_words(&self) -> String {
        self.primary.as_ref().map_or_else(|| "-".to_owned(), |primary| primary.epoch.to_string())
    }

    /// `2/2`, or `?/2` where the answering node does not know.
    pub(crate) fn standbys_words(&self) -> String {
        let ready = self.standbys_ready.map_or_else(|| "?".to_owned(), |ready| ready.to_string());
        format!("{ready}/{}", self.standbys_total)
    }

    /// The last change when all is well, be it under way or over; else the reason and the remedy below it.
    pub(crate) fn last_words(&self, under_way: Option<&TransitionReport>, now_us: u64) -> String {
        let trouble: Vec<String> =
            self.reason.iter().chain(&self.remedy).map(|text| wrapped(text, REASON_WIDTH)).collect();
        match under_way.or(self.last_transition.as_ref()) {
            _ if !trouble.is_empty() => trouble.join("\n"),
            Some(transition) => transition.summary(now_us),
            None => "-".to_owned(),
        }
    }

    pub(crate) fn state_cell(&self) -> (String, Tone) {
        (self.state.clone(), state_tone(&self.state))
    }
}

impl GroupsReport {
    /// `groups`: kind, primary, site, epoch, state, standbys ready.
    pub(crate) fn text(&self, screen: Screen) -> String {
        if self.groups.is_empty() {
            return "no groups yet; primacy apply -f groups.toml creates them\n".to_owned();
        }
        let columns = [
            left("GROUP"),
            left("KIND"),
            left("PRIMARY"),
            left("SITE"),
            right("EPOCH"),
            left("STATE"),
            left("STANDBYS"),
        ];
        let mut table = Table::new(columns);
        for group in &self.groups {
            let of_primary = |field: fn(&PrimaryReport) -> &Option<String>| {
                let value = group.primary.as_ref().and_then(|primary| field(primary).clone());
                (value.unwrap_or_else(|| "-".to_owned()), Tone::Plain)
            };
            table.row([
                (group.group.clone(), Tone::Plain),
                (group.kind.clone(), Tone::Plain),
                of_primary(|primary| &primary.member),
                of_primary(|primary| &primary.site),
                (group.epoch_words(), Tone::Plain),
                group.state_cell(),
                (group.standbys_words(), Tone::Plain),
            ]);
        }
        screen.text(&table)
    }
}

impl TryFrom<v1::GroupSummary> for GroupReport {
    type Error = WireError;

    fn try_from(summary: v1::GroupSummary) -> Result<Self, WireError> {
        let last = summary.last_transition.map(Transition::try_from).transpose()?;
        Ok(GroupReport {
            kind: kind_word(summary.kind),
            state: state_word(summary.state),
            primary: summary.primary.map(PrimaryReport::from),
            last_transition: last.as_ref().map(TransitionReport::from),
            group: summary.group,
            reason: summary.reason,
            remedy: summary.remedy,
            standbys_ready: summary.standbys_ready,
            standbys_total: summary.standbys_total,
        })
    }
}

impl TryFrom<v1::ListGroupsResponse> for GroupsReport {
    type Error = WireError;

    fn try_from(list: v1::ListGroupsResponse) -> Result<Self, WireError> {
        let groups = list.groups.into_iter().map(GroupReport::try_from).collect::<Result<_, _>>()?;
        Ok(GroupsReport { revision: list.revision, groups })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::{primary, transition};
    use super::*;
    use expect_test::expect;

    pub(crate) fn serving() -> GroupReport {
        GroupReport {
            group: "features".into(),
            kind: "redis".into(),
            primary: Some(primary::tests::report()),
            state: "serving".into(),
            reason: None,
            remedy: None,
            standbys_ready: Some(2),
            standbys_total: 2,
            last_transition: Some(transition::tests::report()),
        }
    }

    pub(crate) fn blocked() -> GroupReport {
        GroupReport {
            group: "sessions".into(),
            state: "blocked".into(),
            reason: Some("failover would lose up to 3145728 bytes (budget 1 MiB)".into()),
            remedy: Some(
                "bring the old primary back, or accept the loss: primacy failover sessions --allow-data-loss"
                    .into(),
            ),
            standbys_ready: Some(0),
            ..serving()
        }
    }

    #[test]
    fn one_line_a_group() {
        let unassigned =
            GroupReport { group: "new".into(), primary: None, state: "unassigned".into(), ..serving() };
        let report = GroupsReport { revision: 57, groups: vec![serving(), blocked(), unassigned] };
        expect![[r"
            GROUP     KIND   PRIMARY  SITE  EPOCH  STATE       STANDBYS
            features  redis  east-a   east     42  serving     2/2
            sessions  redis  east-a   east     42  blocked     0/2
            new       redis  -        -         -  unassigned  2/2
        "]]
        .assert_eq(&report.text(primary::tests::PLAIN));
    }

    #[test]
    fn the_json_carries_the_reason_and_the_remedy() {
        let report =
            GroupsReport { revision: 57, groups: vec![GroupReport { last_transition: None, ..blocked() }] };
        expect![[r#"{"revision":57,"groups":[{"group":"sessions","kind":"redis","primary":{"group":"features","kind":"redis","member":"east-a","site":"east","address":"10.0.0.1:6379","epoch":42,"revision":57,"state":"serving","consistency":"linearizable","age_ms":0},"state":"blocked","reason":"failover would lose up to 3145728 bytes (budget 1 MiB)","remedy":"bring the old primary back, or accept the loss: primacy failover sessions --allow-data-loss","standbys_ready":0,"standbys_total":2,"last_transition":null}]}"#]]
            .assert_eq(&serde_json::to_string(&report).unwrap());
    }
}
