//! Transitions: history, the progress of one under way, and the sentence that ends it.

use super::{Stamp, gathered, ms, to_the_us};
use crate::screen::Screen;
use crate::screen::table::{Table, Tone, left, right, wrapped};
use crate::screen::units::{ago, bytes, millis};
use primacy_core::{Loss, PhaseRecord, Proof, Transition};
use primacy_wire::v1;
use serde::Serialize;

/// What was lost. Redis counts bytes of the replication stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LostReport {
    /// None when nobody knows.
    pub(crate) bytes: Option<u64>,
    /// None for kinds that do not count records.
    pub(crate) records: Option<u64>,
    /// Whether the number is exact, and not a bound.
    pub(crate) exact: bool,
}

impl LostReport {
    /// `0 lost`, `up to 12 KiB lost`, `an unknown amount lost`.
    pub(crate) fn words(self) -> String {
        match (self.bytes, self.exact) {
            (None, _) => "an unknown amount lost".to_owned(),
            (Some(0), true) => "0 lost".to_owned(),
            (Some(n), true) => format!("{} lost", bytes(n)),
            (Some(n), false) => format!("up to {} lost", bytes(n)),
        }
    }
}

/// A phase that is over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PhaseReport {
    pub(crate) name: String,
    pub(crate) started_at: Stamp,
    pub(crate) ms: f64,
    pub(crate) note: String,
}

impl PhaseReport {
    /// The line that is printed when the phase has passed.
    pub(crate) fn line(&self) -> String {
        format!("{:<9} {:>7}   {}", self.name, millis(self.ms), self.note)
    }
}

/// `history G -o json`, one object a transition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TransitionReport {
    pub(crate) group: String,
    pub(crate) epoch: u64,
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    pub(crate) cause: String,
    pub(crate) planned: bool,
    pub(crate) requested_by: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) evidence: Vec<String>,
    /// Why the old primary was known to be shut: `acknowledged`, `detached`, `expired`, `vacant` or `waived`.
    pub(crate) proof: Option<String>,
    /// What was seen that proves it.
    pub(crate) proof_evidence: Vec<String>,
    /// The node whose tail of the old primary's stream was read.
    pub(crate) rescued_from_node: Option<u64>,
    /// What the new primary got from that tail.
    pub(crate) rescued_bytes: u64,
    /// What the old primary held that the new one does not have, once it was back.
    pub(crate) orphaned_bytes: Option<u64>,
    pub(crate) phases: Vec<PhaseReport>,
    /// `settled`, `rolled_back`, or `waiting` while it is under way.
    pub(crate) outcome: String,
    /// Why it was rolled back.
    pub(crate) failure: Option<String>,
    pub(crate) detected_at: Stamp,
    pub(crate) started_at: Stamp,
    pub(crate) opened_at: Option<Stamp>,
    /// From the first sign of trouble to the intent.
    pub(crate) detected_ms: f64,
    /// How long no primary accepted writes; none while it is under way.
    pub(crate) outage_ms: Option<f64>,
    pub(crate) lost: LostReport,
}

impl TransitionReport {
    /// Whether it ended, or at least has a primary that serves.
    pub(crate) fn serves(&self) -> bool {
        self.opened_at.is_some() && self.outcome != "rolled_back"
    }

    /// `3m ago  death  61 ms  0 lost`, for a table of groups.
    pub(crate) fn summary(&self, now_us: u64) -> String {
        let when = ago(now_us, self.opened_at.unwrap_or(self.started_at).0);
        match (self.outcome.as_str(), self.outage_ms) {
            ("rolled_back", _) => format!("{when}  {}  rolled back", self.cause),
            // The first primary of a group ended no outage and lost nothing.
            _ if self.cause == "initial" => format!("{when}  initial"),
            (_, Some(outage)) => format!("{when}  {}  {}  {}", self.cause, millis(outage), self.lost.words()),
            (_, None) => format!("{when}  {}  under way", self.cause),
        }
    }

    /// The sentence that ends a transition which somebody waited for. `site` is that of the new primary.
    pub(crate) fn conclusion(&self, site: Option<&str>) -> String {
        let place = site.map(|site| format!(" ({site})")).unwrap_or_default();
        let loss = self.lost.words();
        match (self.outage_ms, self.planned) {
            (Some(outage), true) => format!(
                "{} is served by {}{place}, epoch {}. Writes were refused for {}, {loss}.",
                self.group,
                self.to,
                self.epoch,
                millis(outage)
            ),
            (Some(outage), false) => format!(
                "{} is served by {}{place}, epoch {}. There was no primary for {}, {loss}.",
                self.group,
                self.to,
                self.epoch,
                millis(outage)
            ),
            (None, _) => {
                format!("{} is served by {}{place}, epoch {}, {loss}.", self.group, self.to, self.epoch)
            }
        }
    }
}

/// A condition of a change of primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CheckReport {
    pub(crate) name: String,
    pub(crate) passed: bool,
    pub(crate) detail: String,
}

/// `switchover -o json`, one object for each thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub(crate) enum ProgressReport {
    Checks { checks: Vec<CheckReport> },
    Started { transition: Box<TransitionReport> },
    Phase { phase: PhaseReport },
    Ended { transition: Box<TransitionReport> },
}

/// One line when all is well; else, or where only the checks were asked for, a line each.
pub(crate) fn checks_text(checks: &[CheckReport], all: bool, screen: Screen) -> String {
    let failed = checks.iter().filter(|check| !check.passed).count();
    let sum = match failed {
        0 => format!("checks    {} passed\n", checks.len()),
        _ => format!("checks    {failed} of {} failed\n", checks.len()),
    };
    let mut table = Table::new([left(""), left(""), left("")]);
    for check in checks.iter().filter(|check| all || !check.passed) {
        let verdict = if check.passed { ("ok", Tone::Good) } else { ("FAILED", Tone::Bad) };
        table.row([
            (format!("  {}", check.name), Tone::Plain),
            (verdict.0.to_owned(), verdict.1),
            (wrapped(&check.detail, 80), Tone::Plain),
        ]);
    }
    sum + &screen.text(&table)
}

/// `history G`: a line a transition, the newest last, and below each what a person asks next.
pub(crate) fn history_text(transitions: &[TransitionReport], now_us: u64, screen: Screen) -> String {
    if transitions.is_empty() {
        return "no transition yet\n".to_owned();
    }
    let mut table = Table::new([
        right("EPOCH"),
        left("WHEN"),
        left("CHANGE"),
        left("CAUSE"),
        left("OUTCOME"),
        right("DETECTED"),
        right("OUTAGE"),
        left("LOST"),
        left("WHY"),
    ]);
    for transition in transitions {
        let outage = transition.outage_ms.filter(|_| transition.cause != "initial");
        table.row([
            (transition.epoch.to_string(), Tone::Plain),
            (ago(now_us, transition.started_at.0), Tone::Plain),
            (change(transition), Tone::Plain),
            (transition.cause.clone(), Tone::Plain),
            (transition.outcome.replace('_', " "), outcome_tone(&transition.outcome)),
            (millis(transition.detected_ms), Tone::Plain),
            (outage.map_or_else(|| "-".to_owned(), millis), Tone::Plain),
            (transition.lost.words(), Tone::Plain),
            (why(transition), Tone::Plain),
        ]);
    }
    screen.text(&table)
}

/// What proves that the old primary accepted no more writes, a line a finding.
fn proof_lines(proof: &Proof) -> Vec<String> {
    match proof {
        Proof::Acknowledged { code } if code == "GATES_CLOSED" => {
            vec![format!("every gate that led to it said that it is shut ({code})")]
        }
        Proof::Acknowledged { code } => vec![format!("it refused a write ({code})")],
        Proof::Detached { evidence } => evidence.iter().map(ToString::to_string).collect(),
        Proof::Expired { evidence, min_replicas, undetached } => {
            let short = match min_replicas {
                0 => "no gate leads to it without a lease".to_owned(),
                _ => format!("{undetached} may still be attached where {min_replicas} keep it open"),
            };
            evidence.iter().map(ToString::to_string).chain([short]).collect()
        }
        Proof::Vacant | Proof::Waived => vec![],
    }
}

fn change(transition: &TransitionReport) -> String {
    match &transition.from {
        Some(from) => format!("{from} -> {}", transition.to),
        None => format!("-> {}", transition.to),
    }
}

fn outcome_tone(outcome: &str) -> Tone {
    match outcome {
        "settled" => Tone::Good,
        "rolled_back" => Tone::Bad,
        _ => Tone::Busy,
    }
}

/// Who asked and why, what failed, the evidence, the phases: as many lines as there is to say.
fn why(transition: &TransitionReport) -> String {
    let mut lines = Vec::new();
    match (&transition.requested_by, &transition.reason) {
        (Some(by), Some(reason)) => lines.push(format!("{by}: {reason}")),
        (Some(by), None) => lines.push(format!("asked by {by}")),
        (None, Some(reason)) => lines.push(reason.clone()),
        (None, None) => {}
    }
    lines.extend(transition.failure.iter().cloned());
    // What proves it is told with the proof.
    let proves = |line: &&String| transition.proof_evidence.contains(line);
    lines.extend(gathered(&transition.evidence.iter().filter(|l| !proves(l)).cloned().collect::<Vec<_>>()));
    lines.extend(
        transition
            .proof
            .iter()
            .filter(|_| !transition.proof_evidence.is_empty())
            .map(|proof| format!("{proof}: {}", gathered(&transition.proof_evidence).join(", "))),
    );
    if let Some(node) = transition.rescued_from_node.filter(|_| transition.rescued_bytes > 0) {
        lines.push(format!("{} rescued from n{node}", bytes(transition.rescued_bytes)));
    }
    if let (Some(orphaned), Some(from)) = (transition.orphaned_bytes, &transition.from) {
        lines.push(format!("{} that only {from} had were dropped when it was back", bytes(orphaned)));
    }
    let phases: Vec<String> =
        transition.phases.iter().map(|phase| format!("{} {}", phase.name, millis(phase.ms))).collect();
    if !phases.is_empty() {
        lines.push(phases.join(", "));
    }
    lines.iter().map(|line| wrapped(line, 60)).collect::<Vec<_>>().join("\n")
}

impl From<v1::Check> for CheckReport {
    fn from(check: v1::Check) -> Self {
        CheckReport { name: check.name, passed: check.passed, detail: check.detail }
    }
}

impl From<Loss> for LostReport {
    fn from(loss: Loss) -> Self {
        LostReport { bytes: loss.bytes(), records: None, exact: loss.exact() }
    }
}

impl From<&PhaseRecord> for PhaseReport {
    fn from(record: &PhaseRecord) -> Self {
        PhaseReport {
            name: record.phase.word().to_owned(),
            started_at: Stamp(record.started_at.0),
            ms: ms(record.us),
            note: record.note.clone(),
        }
    }
}

impl From<&Transition> for TransitionReport {
    fn from(transition: &Transition) -> Self {
        TransitionReport {
            group: transition.group.to_string(),
            epoch: transition.epoch.0,
            from: transition.from.as_ref().map(ToString::to_string),
            to: transition.to.to_string(),
            cause: transition.cause.word().to_owned(),
            planned: transition.planned,
            requested_by: transition.requested_by.clone(),
            reason: transition.reason.clone(),
            evidence: transition.evidence.iter().map(ToString::to_string).collect(),
            proof: transition.proof.as_ref().map(|proof| proof.word().to_owned()),
            proof_evidence: transition.proof.as_ref().map(proof_lines).unwrap_or_default(),
            rescued_from_node: transition.rescue.map(|node| node.0),
            rescued_bytes: transition.rescued_bytes,
            orphaned_bytes: transition.orphaned_bytes,
            phases: transition.phases.iter().map(PhaseReport::from).collect(),
            outcome: transition.outcome.map_or("waiting", |outcome| outcome.word()).to_owned(),
            failure: transition.failure.clone(),
            detected_at: Stamp(transition.detected_at.0),
            started_at: Stamp(transition.started_at.0),
            opened_at: transition.opened_at.map(|at| Stamp(at.0)),
            detected_ms: to_the_us(transition.detected_ms()),
            outage_ms: transition.outage_ms().map(to_the_us),
            lost: transition.lost.into(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::primary::tests::PLAIN;
    use super::*;
    use expect_test::expect;

    pub(crate) const NOW_US: u64 = 1_795_511_696_123_999;

    pub(crate) fn report() -> TransitionReport {
        let started = NOW_US - 190_000_000;
        let phase = |name: &str, after_us, us, note: &str| PhaseReport {
            name: name.into(),
            started_at: Stamp(started + after_us),
            ms: ms(us),
            note: note.into(),
        };
        TransitionReport {
            group: "features".into(),
            epoch: 42,
            from: Some("west-a".into()),
            to: "east-a".into(),
            cause: "death".into(),
            planned: false,
            requested_by: None,
            reason: None,
            evidence: vec!["n1 (east): connection to west-a ended by EOF".into()],
            proof: Some("detached".into()),
            proof_evidence: vec![
                "n1 (east): connection to west-a ended by EOF".into(),
                "n1 (east): west-a refuses connections".into(),
            ],
            rescued_from_node: Some(3),
            rescued_bytes: 12_288,
            orphaned_bytes: None,
            phases: vec![phase("fence", 0, 400, "detached"), phase("promote", 400, 1_100, "verified")],
            outcome: "settled".into(),
            failure: None,
            detected_at: Stamp(started - 21_300),
            started_at: Stamp(started),
            opened_at: Some(Stamp(started + 40_000)),
            detected_ms: 21.3,
            outage_ms: Some(61.3),
            lost: LostReport { bytes: Some(0), records: None, exact: true },
        }
    }

    fn rolled_back() -> TransitionReport {
        TransitionReport {
            epoch: 51,
            planned: true,
            cause: "operator".into(),
            requested_by: Some("ann@ops1".into()),
            reason: Some("kernel update".into()),
            evidence: Vec::new(),
            proof: None,
            proof_evidence: Vec::new(),
            rescued_from_node: None,
            rescued_bytes: 0,
            orphaned_bytes: None,
            outcome: "rolled_back".into(),
            failure: Some(
                "east-a did not read up to the end within 2s, and so the old primary was opened again".into(),
            ),
            ..report()
        }
    }

    #[test]
    fn the_json_is_that_of_the_contract() {
        expect![[r#"{"group":"features","epoch":42,"from":"west-a","to":"east-a","cause":"death","planned":false,"requested_by":null,"reason":null,"evidence":["n1 (east): connection to west-a ended by EOF"],"proof":"detached","proof_evidence":["n1 (east): connection to west-a ended by EOF","n1 (east): west-a refuses connections"],"rescued_from_node":3,"rescued_bytes":12288,"orphaned_bytes":null,"phases":[{"name":"fence","started_at":"2026-11-24T09:11:46.123Z","ms":0.4,"note":"detached"},{"name":"promote","started_at":"2026-11-24T09:11:46.124Z","ms":1.1,"note":"verified"}],"outcome":"settled","failure":null,"detected_at":"2026-11-24T09:11:46.102Z","started_at":"2026-11-24T09:11:46.123Z","opened_at":"2026-11-24T09:11:46.163Z","detected_ms":21.3,"outage_ms":61.3,"lost":{"bytes":0,"records":null,"exact":true}}"#]]
            .assert_eq(&serde_json::to_string(&report()).unwrap());
    }

    #[test]
    fn a_history_says_why() {
        expect![[r#"
            EPOCH  WHEN    CHANGE            CAUSE     OUTCOME      DETECTED  OUTAGE  LOST    WHY
               42  3m ago  west-a -> east-a  death     settled         21 ms   61 ms  0 lost  detached: connection to west-a ended by EOF (n1), west-a
                                                                                              refuses connections (n1)
                                                                                              12 KiB rescued from n3
                                                                                              fence 0.4 ms, promote 1.1 ms
               51  3m ago  west-a -> east-a  operator  rolled back     21 ms   61 ms  0 lost  ann@ops1: kernel update
                                                                                              east-a did not read up to the end within 2s, and so the old
                                                                                              primary was opened again
                                                                                              fence 0.4 ms, promote 1.1 ms
        "#]]
        .assert_eq(&history_text(&[report(), rolled_back()], NOW_US, PLAIN));
        assert_eq!(history_text(&[], NOW_US, PLAIN), "no transition yet\n");
    }

    #[test]
    fn a_summary_fits_into_a_cell() {
        let initial = TransitionReport { cause: "initial".into(), ..report() };
        let under_way =
            TransitionReport { opened_at: None, outage_ms: None, outcome: "waiting".into(), ..report() };
        let all = [report(), rolled_back(), initial, under_way].map(|report| report.summary(NOW_US));
        assert_eq!(
            all,
            [
                "3m ago  death  61 ms  0 lost",
                "3m ago  operator  rolled back",
                "3m ago  initial",
                "3m ago  death  under way"
            ]
        );
    }

    #[test]
    fn the_conclusion_names_the_new_primary_and_the_price() {
        let planned = TransitionReport { planned: true, outage_ms: Some(2.9), ..report() };
        let lossy = TransitionReport {
            lost: LostReport { bytes: Some(12_400), records: None, exact: false },
            ..report()
        };
        expect![[r"
            features is served by east-a (east), epoch 42. Writes were refused for 2.9 ms, 0 lost.
            features is served by east-a, epoch 42. There was no primary for 61 ms, up to 12 KiB lost."]]
        .assert_eq(&[planned.conclusion(Some("east")), lossy.conclusion(None)].join("\n"));
    }

    #[test]
    fn checks_are_counted_and_the_failed_ones_shown() {
        let check = |name: &str, passed, detail: &str| CheckReport {
            name: name.into(),
            passed,
            detail: detail.into(),
        };
        let checks =
            [check("primary_seen", true, "by 3 of 3 sites"), check("lag", false, "north-a is 12 MiB behind")];
        expect![[r"
            checks    1 passed
            checks    1 of 2 failed
              lag  FAILED  north-a is 12 MiB behind
            checks    1 of 2 failed
              primary_seen  ok      by 3 of 3 sites
              lag           FAILED  north-a is 12 MiB behind
        "]]
        .assert_eq(
            &[
                checks_text(&checks[..1], false, PLAIN),
                checks_text(&checks, false, PLAIN),
                checks_text(&checks, true, PLAIN),
            ]
            .concat(),
        );
        let progress = ProgressReport::Checks { checks: checks[..1].to_vec() };
        assert_eq!(
            serde_json::to_string(&progress).unwrap(),
            r#"{"progress":"checks","checks":[{"name":"primary_seen","passed":true,"detail":"by 3 of 3 sites"}]}"#
        );
        let phase = report().phases.remove(0);
        expect![[r#"{"progress":"phase","phase":{"name":"fence","started_at":"2026-11-24T09:11:46.123Z","ms":0.4,"note":"detached"}}"#]]
            .assert_eq(&serde_json::to_string(&ProgressReport::Phase { phase }).unwrap());
    }

    #[test]
    fn phases_are_aligned() {
        let lines: Vec<String> = report().phases.iter().map(PhaseReport::line).collect();
        expect![[r"
            fence      0.4 ms   detached
            promote    1.1 ms   verified"]]
        .assert_eq(&lines.join("\n"));
    }
}
