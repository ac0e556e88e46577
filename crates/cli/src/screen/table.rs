//! Tables without borders: columns two spaces apart, aligned, no trailing blanks.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table as Grid};

/// What a cell says by its colour, where colour is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
    Faint,
}

impl Tone {
    /// The colour in a table; none for plain text.
    fn color(self) -> Option<Color> {
        match self {
            Tone::Plain => None,
            Tone::Good => Some(Color::Green),
            Tone::Busy => Some(Color::Yellow),
            Tone::Bad => Some(Color::Red),
            Tone::Faint => Some(Color::DarkGrey),
        }
    }

    /// The same as an escape sequence, for text outside of tables.
    pub(crate) fn paint(self, text: &str) -> String {
        match self {
            Tone::Plain => text.to_owned(),
            Tone::Good => format!("\x1b[32m{text}\x1b[0m"),
            Tone::Busy => format!("\x1b[33m{text}\x1b[0m"),
            Tone::Bad => format!("\x1b[31m{text}\x1b[0m"),
            Tone::Faint => format!("\x1b[90m{text}\x1b[0m"),
        }
    }
}

/// A column: its heading, and whether numbers stand in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    heading: &'static str,
    right: bool,
}

/// A column of words.
pub(crate) const fn left(heading: &'static str) -> Column {
    Column { heading, right: false }
}

/// A column of numbers.
pub(crate) const fn right(heading: &'static str) -> Column {
    Column { heading, right: true }
}

/// Rows under headings.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Table { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text that ends with a newline; nothing when it has no rows.
    pub(crate) fn text(&self, coloured: bool) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut grid = Grid::new();
        grid.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if coloured {
            grid.enforce_styling();
        } else {
            grid.force_no_tty();
        }
        if self.columns.iter().any(|column| !column.heading.is_empty()) {
            grid.set_header(self.columns.iter().map(|column| Cell::new(column.heading)));
        }
        for row in &self.rows {
            grid.add_row(row.iter().map(|(text, tone)| cell(text, *tone, coloured)));
        }
        for (index, column) in self.columns.iter().enumerate() {
            if let Some(grid_column) = grid.column_mut(index) {
                let last = index + 1 == self.columns.len();
                grid_column.set_padding((0, if last { 0 } else { 2 }));
                if column.right {
                    grid_column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let mut text = String::new();
        for line in grid.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn cell(text: &str, tone: Tone, coloured: bool) -> Cell {
    let cell = Cell::new(text);
    match tone.color().filter(|_| coloured) {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

/// `text` in lines of at most `width` characters, broken between words.
pub(crate) fn wrapped(text: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push('\n');
            used = 0;
        } else if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn plain(cells: [&str; 3]) -> [(String, Tone); 3] {
        cells.map(|cell| (cell.to_owned(), Tone::Plain))
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_text() {
        let mut table = Table::new([left("GROUP"), right("EPOCH"), left("STATE")]);
        table.row(plain(["features", "7", "serving"]));
        table.row(plain(["x", "1042", "west unreachable\nprimacy failover x"]));
        expect![[r"
            GROUP     EPOCH  STATE
            features      7  serving
            x          1042  west unreachable
                             primacy failover x
        "]]
        .assert_eq(&table.text(false));
    }

    #[test]
    fn a_table_without_rows_is_nothing() {
        assert_eq!(Table::new([left("GROUP")]).text(true), "");
    }

    #[test]
    fn colour_changes_no_width() {
        let mut table = Table::new([left("STATE"), left("MEMBER")]);
        table.row([("serving".to_owned(), Tone::Good), ("a".to_owned(), Tone::Plain)]);
        let text = table.text(true);
        assert!(text.contains("\x1b["), "{text:?}");
        assert!(!table.text(false).contains('\x1b'));
    }

    #[test]
    fn long_reasons_are_wrapped_between_words() {
        assert_eq!(
            wrapped("west unreachable for 12s: failover", 12),
            "west\nunreachable\nfor 12s:\nfailover"
        );
        assert_eq!(wrapped("", 5), "");
    }
}
