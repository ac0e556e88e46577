//! The current primary of a group.

use super::word;
use crate::screen::Screen;
use crate::screen::table::Tone;
use primacy_wire::v1;
use serde::Serialize;

/// How a group is: the words of the contract and their colours.
pub(crate) fn state_tone(state: &str) -> Tone {
    match state {
        "serving" => Tone::Good,
        "switching" | "paused" => Tone::Busy,
        "blocked" => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// `primary G -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PrimaryReport {
    pub(crate) group: String,
    pub(crate) kind: String,
    /// None while the group is unassigned, as are site and address.
    pub(crate) member: Option<String>,
    pub(crate) site: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) epoch: u64,
    pub(crate) revision: u64,
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) consistency: String,
    pub(crate) age_ms: u64,
}

impl PrimaryReport {
    /// One line, the address first: that is what was asked for.
    pub(crate) fn text(&self, screen: Screen) -> String {
        let state = screen.tone(state_tone(&self.state), &self.state);
        let place = match (&self.address, &self.member, &self.site) {
            (Some(address), Some(member), Some(site)) => {
                format!("{address}  {member} ({site})  epoch {}  ", self.epoch)
            }
            _ => String::new(),
        };
        let age = match self.consistency.as_str() {
            "linearizable" => String::new(),
            level => format!("  {level}, {} ms old", self.age_ms),
        };
        let reason = self.reason.as_ref().map(|reason| format!("  {reason}\n")).unwrap_or_default();
        format!("{place}{state}{age}\n{reason}")
    }
}

/// `redis`.
pub(crate) fn kind_word(kind: i32) -> String {
    word(v1::GroupKind::try_from(kind).ok().map(|kind| kind.as_str_name()), "GROUP_KIND_")
}

/// `serving`.
pub(crate) fn state_word(state: i32) -> String {
    word(v1::GroupState::try_from(state).ok().map(|state| state.as_str_name()), "GROUP_STATE_")
}

impl From<v1::Primary> for PrimaryReport {
    fn from(primary: v1::Primary) -> Self {
        let consistency = v1::Consistency::try_from(primary.consistency).ok();
        PrimaryReport {
            kind: kind_word(primary.kind),
            state: state_word(primary.state),
            consistency: word(consistency.map(|level| level.as_str_name()), "CONSISTENCY_"),
            group: primary.group,
            member: primary.member,
            site: primary.site,
            address: primary.address,
            epoch: primary.epoch,
            revision: primary.revision,
            reason: primary.reason,
            age_ms: primary.age_ms,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::screen::Format;
    use expect_test::expect;

    pub(crate) const PLAIN: Screen = Screen { format: Format::Table, tty: false, colour: false };

    pub(crate) fn report() -> PrimaryReport {
        PrimaryReport {
            group: "features".into(),
            kind: "redis".into(),
            member: Some("east-a".into()),
            site: Some("east".into()),
            address: Some("10.0.0.1:6379".into()),
            epoch: 42,
            revision: 57,
            state: "serving".into(),
            reason: None,
            consistency: "linearizable".into(),
            age_ms: 0,
        }
    }

    #[test]
    fn the_json_is_that_of_the_contract() {
        let contract = r#"{"group":"features","kind":"redis","member":"east-a","site":"east","address":"10.0.0.1:6379","epoch":42,"revision":57,"state":"serving","consistency":"linearizable","age_ms":0}"#;
        assert_eq!(serde_json::to_string(&report()).ok().as_deref(), Some(contract));
    }

    #[test]
    fn a_reason_and_an_age_are_told() {
        let blocked = PrimaryReport {
            state: "blocked".into(),
            reason: Some("east-a does not answer".into()),
            consistency: "local".into(),
            age_ms: 1200,
            ..report()
        };
        let unassigned =
            PrimaryReport { member: None, site: None, address: None, state: "unassigned".into(), ..report() };
        expect![[r"
            10.0.0.1:6379  east-a (east)  epoch 42  serving
            10.0.0.1:6379  east-a (east)  epoch 42  blocked  local, 1200 ms old
              east-a does not answer
            unassigned
        "]]
        .assert_eq(&[report(), blocked, unassigned].map(|report| report.text(PLAIN)).concat());
    }
}
