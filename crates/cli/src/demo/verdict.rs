//! What the demo proves: one row an event, and what speaks against the promises.

use crate::screen::Screen;
use crate::screen::table::{Table, Tone, left, right};
use crate::screen::units::{bytes, count, millis};
use crate::show::transition::LostReport;
use serde::Serialize;

/// One event and what clients saw of it, counted from the end of the event before to its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) event: String,
    /// Whether somebody asked for it, so that it must lose nothing.
    pub(super) planned: bool,
    /// From the fault to the decision; none where nothing had to be detected.
    pub(super) detection_ms: Option<f64>,
    /// The longest time without an acknowledgement to any writer.
    pub(super) outage_ms: f64,
    pub(super) acknowledged: u64,
    pub(super) lost: u64,
    /// The bytes of the replication stream that the lost writes were.
    pub(super) lost_bytes: u64,
    /// What Primacy reported; none where it changed no primary.
    pub(super) reported: Option<LostReport>,
    pub(super) writers_at_once: usize,
}

/// `demo -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Report<'a> {
    passed: bool,
    events: &'a [Row],
    problems: &'a [String],
}

impl<'a> Report<'a> {
    pub(super) fn new(events: &'a [Row], problems: &'a [String]) -> Self {
        Report { passed: problems.is_empty(), events, problems }
    }
}

/// What speaks against the promises; empty when all were kept.
pub(super) fn problems(rows: &[Row]) -> Vec<String> {
    rows.iter().flat_map(Row::problems).collect()
}

impl Row {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let event = &self.event;
        if self.writers_at_once > 1 {
            problems.push(format!("{event}: {} members accepted writes at once", self.writers_at_once));
        }
        if self.acknowledged == 0 {
            problems.push(format!("{event}: no write was acknowledged, so nothing is proven"));
        }
        let (lost, lost_bytes) = (count(self.lost), bytes(self.lost_bytes));
        match self.reported {
            _ if self.lost == 0 => {}
            _ if self.planned => problems.push(format!("{event}: {lost} acknowledged writes are missing ({lost_bytes})")),
            None => problems.push(format!("{event}: {lost} acknowledged writes are missing, and no loss was reported")),
            Some(LostReport { bytes: Some(reported), .. }) if self.lost_bytes > reported => problems.push(format!(
                "{event}: {lost} acknowledged writes are missing, {lost_bytes}, and only {} were reported",
                bytes(reported)
            )),
            Some(_) => {}
        }
        problems
    }
}

/// The table, and the sentence below it.
pub(super) fn text(rows: &[Row], problems: &[String], screen: Screen) -> String {
    let columns = [
        left("EVENT"),
        right("DETECTION"),
        right("OUTAGE"),
        right("ACKNOWLEDGED"),
        right("LOST"),
        left("REPORTED"),
        right("WRITERS AT ONCE"),
    ];
    let mut table = Table::new(columns);
    for row in rows {
        let tone = if row.problems().is_empty() { Tone::Good } else { Tone::Bad };
        table.row([
            (row.event.clone(), Tone::Plain),
            (row.detection_ms.map_or_else(|| "-".to_owned(), millis), Tone::Plain),
            (millis(row.outage_ms), Tone::Plain),
            (count(row.acknowledged), Tone::Plain),
            (count(row.lost), tone),
            (row.reported.map_or_else(|| "-".to_owned(), LostReport::words), Tone::Plain),
            (row.writers_at_once.to_string(), tone),
        ]);
    }
    let verdict = if problems.is_empty() {
        screen.tone(
            Tone::Good,
            "Never two wrote, no switchover lost anything, no failover lost more than it reported.",
        )
    } else {
        screen.tone(Tone::Bad, "Not everything was as promised.")
    };
    format!("\n{}\n{verdict}\n", screen.text(&table))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::screen::Format;
    use expect_test::expect;

    const PLAIN: Screen = Screen { format: Format::Table, tty: false, colour: false };

    fn killed() -> Row {
        Row {
            event: "kill -9 of the primary".into(),
            planned: false,
            detection_ms: Some(21.4),
            outage_ms: 61.2,
            acknowledged: 120_322,
            lost: 2,
            lost_bytes: 120,
            reported: Some(LostReport { bytes: Some(4_096), records: None, exact: false }),
            writers_at_once: 1,
        }
    }

    fn switched() -> Row {
        Row {
            event: "switchover to west-a".into(),
            planned: true,
            detection_ms: None,
            outage_ms: 3.1,
            lost: 0,
            lost_bytes: 0,
            reported: Some(LostReport { bytes: Some(0), records: None, exact: true }),
            ..killed()
        }
    }

    #[test]
    fn a_failover_may_lose_what_it_reports_and_nobody_else_may() {
        assert_eq!(problems(&[killed(), switched()]), Vec::<String>::new());
        let hidden = Row { lost_bytes: 5_000, ..killed() };
        let unknown =
            Row { reported: Some(LostReport { bytes: None, records: None, exact: false }), ..hidden.clone() };
        let lossy = Row { lost: 1, lost_bytes: 60, ..switched() };
        let leader = Row { event: "kill -9 of the leader".into(), reported: None, ..killed() };
        let split = Row { writers_at_once: 2, ..switched() };
        let idle = Row { acknowledged: 0, ..switched() };
        expect![[r"
            kill -9 of the primary: 2 acknowledged writes are missing, 4.9 KiB, and only 4.0 KiB were reported
            switchover to west-a: 1 acknowledged writes are missing (60 B)
            kill -9 of the leader: 2 acknowledged writes are missing, and no loss was reported
            switchover to west-a: 2 members accepted writes at once
            switchover to west-a: no write was acknowledged, so nothing is proven"]]
        .assert_eq(&problems(&[hidden, unknown, lossy, leader, split, idle]).join("\n"));
    }

    #[test]
    fn the_report_is_a_table() {
        expect![[r#"

            EVENT                   DETECTION  OUTAGE  ACKNOWLEDGED  LOST  REPORTED            WRITERS AT ONCE
            kill -9 of the primary      21 ms   61 ms       120,322     2  up to 4.0 KiB lost                1
            switchover to west-a            -  3.1 ms       120,322     0  0 lost                            1

            Never two wrote, no switchover lost anything, no failover lost more than it reported.
        "#]]
        .assert_eq(&text(&[killed(), switched()], &[], PLAIN));
    }

    #[test]
    fn json() {
        let rows = [switched()];
        expect![[r#"{"passed":true,"events":[{"event":"switchover to west-a","planned":true,"detection_ms":null,"outage_ms":3.1,"acknowledged":120322,"lost":0,"lost_bytes":0,"reported":{"bytes":0,"records":null,"exact":true},"writers_at_once":1}],"problems":[]}"#]]
            .assert_eq(&serde_json::to_string(&Report::new(&rows, &[])).unwrap());
    }
}
