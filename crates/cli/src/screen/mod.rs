//! Where results go: standard output, as a table for people or as JSON for programs.

pub(crate) mod table;
pub(crate) mod units;

use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use table::{Table, Tone};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: one object a line.
    Json,
}

/// Standard output, and what is known about who reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    pub(crate) format: Format,
    /// A person watches: lines may be redrawn.
    pub(crate) tty: bool,
    /// Colour is welcome.
    pub(crate) colour: bool,
}

impl Screen {
    /// Standard output of this process. `NO_COLOR` is respected, as is a terminal that calls itself dumb.
    pub(crate) fn stdout(format: Format) -> Self {
        let tty = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Screen { format, tty, colour: tty && format == Format::Table && !set("NO_COLOR") && !dumb }
    }

    pub(crate) fn json(self) -> bool {
        self.format == Format::Json
    }

    /// One JSON object on a line of its own.
    pub(crate) fn object(self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string(value).map_err(io::Error::other)?;
        text.push('\n');
        self.write(&text)
    }

    /// Text as it is, at once.
    #[expect(clippy::unused_self, reason = "a screen is where it goes, be there one or many")]
    pub(crate) fn write(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// A line of text, at once.
    pub(crate) fn line(self, text: &str) -> io::Result<()> {
        let mut line = text.trim_end().to_owned();
        line.push('\n');
        self.write(&line)
    }

    /// A table as it suits this screen.
    pub(crate) fn text(self, table: &Table) -> String {
        table.text(self.colour)
    }

    /// `text` in a colour, where colour is welcome.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        if self.colour { tone.paint(text) } else { text.to_owned() }
    }

    /// Draws `text` over all that was on the terminal.
    pub(crate) fn redraw(self, text: &str) -> io::Result<()> {
        // Home, each line cleared to its end, then everything below: no flicker, nothing of the old picture stays.
        let lines = text.replace('\n', "\x1b[K\n");
        self.write(&format!("\x1b[H{lines}\x1b[J"))
    }
}
