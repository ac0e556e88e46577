//! Figures on standard output: a table for people, or one JSON object a line for programs.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::figure::{Figure, Ratio, Samples, Verdict};

/// One JSON object on a line of its own.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string(value).map_err(io::Error::other)?;
    text.push('\n');
    write(&text)
}

/// Text as it is, at once.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// All figures, and what is said about them.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "FIGURE (min / median / max, n)",
        "PRIMACY",
        "PEER",
        "UNIT",
        "RATIO",
        "GOAL",
        "RESULT",
    ]);
    for figure in figures {
        table.add_row(row(figure));
    }
    for column in [1, 2, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| line.trim().to_owned());
    let notes =
        figures.iter().filter_map(|figure| Some(format!("{}: {}", figure.name, figure.note.as_ref()?)));
    lines.chain(notes).map(|line| line + "\n").collect()
}

fn row(figure: &Figure) -> [String; 7] {
    let absent = || "-".to_owned();
    [
        figure.title.clone(),
        spread(&figure.ours),
        figure.peer.as_ref().map_or_else(absent, |peer| spread(&peer.samples)),
        figure.unit.to_owned(),
        figure.ratio().map_or_else(absent, |ratio| Ratio(ratio).to_string()),
        figure.goal_text(),
        match figure.verdict() {
            Verdict::Met => "met".to_owned(),
            Verdict::Missed { percent } if percent.is_finite() => format!("MISSED by {percent:.0}%"),
            Verdict::Missed { .. } => "MISSED".to_owned(),
            Verdict::Unknown => "not compared".to_owned(),
        },
    ]
}

fn spread(samples: &Samples) -> String {
    let [min, median, max] = [samples.min(), samples.median(), samples.max()].map(number);
    format!("{min} / {median} / {max}, {}", samples.n())
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::figure::{Goal, Peer};

    #[test]
    fn a_line_a_figure_and_its_note_below() {
        let samples = |values: &[f64]| Samples::new(values.to_vec()).unwrap();
        let figures = [
            Figure {
                name: "raft.reads_64",
                title: "linearizable reads/s".into(),
                unit: "1/s",
                ours: samples(&[14_900.0, 15_000.4, 15_800.0]),
                peer: Some(Peer { name: "etcd", samples: samples(&[10_000.0]) }),
                goal: Goal::RatioAtLeast(2.0),
                note: None,
            },
            Figure {
                name: "watch100.cpu_leader",
                title: "CPU of the leader".into(),
                unit: "%",
                ours: samples(&[1.25, 12.34]),
                peer: None,
                goal: Goal::MaxAtMost(20.0),
                note: Some("30 servers".into()),
            },
        ];
        let expected = "\
FIGURE (min / median / max, n)                   PRIMACY                      PEER  UNIT  RATIO  GOAL                 RESULT
linearizable reads/s            14900 / 15000 / 15800, 3  10000 / 10000 / 10000, 1  1/s   1.50x  at least 2.00x etcd  MISSED by 25%
CPU of the leader                  1.25 / 6.79 / 12.3, 2                         -  %         -  never above 20 %     met
watch100.cpu_leader: 30 servers
";
        assert_eq!(table(&figures), expected);
    }
}
