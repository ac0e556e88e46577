//! What a run leaves behind: a hash of all that happened, and, where it is wanted, a transcript with a lane for each
//! site.

use crate::world::{Event, lanes};
use std::fmt::Write;

/// Where the lane of the cluster as a whole is.
const WIDTH: usize = 44;

/// The order of events as one number, and words where they are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<(u64, Option<usize>, String)>>,
}

impl Trace {
    pub(crate) fn new(told: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: told.then(Vec::new) }
    }

    pub(crate) fn told(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn line(&mut self, at: u64, lane: Option<usize>, text: String) {
        if let Some(lines) = self.lines.as_mut() {
            lines.push((at, lane, text));
        }
    }

    /// FNV-1a over 64-bit words.
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn hash(&mut self, at: u64, event: &Event) {
        self.events += 1;
        self.mix(at);
        let (kind, a, b) = match event {
            Event::Datagram { from, to, .. } => (1, *from as u64, *to as u64),
            Event::Segment { conn, to, .. } => (2, u64::from(*conn), *to as u64),
            Event::Tick { node, boot } => (3, *node as u64, u64::from(*boot)),
            Event::Durable { node, index, .. } => (4, *node as u64, *index as u64),
            Event::LeaderGone { node, term } => (5, *node as u64, *term),
            Event::Cron { server, run } => (6, *server as u64, u64::from(*run)),
            Event::Flush { server, run } => (7, *server as u64, u64::from(*run)),
            Event::Copied { server, at, .. } => (8, *server as u64, at.offset),
            Event::SocketsClosed { server, run } => (9, *server as u64, u64::from(*run)),
            Event::Client { client } => (10, *client as u64, 0),
            Event::Begin { fault } => (11, *fault as u64, 0),
            Event::End { fault } => (12, *fault as u64, 0),
            Event::Strike { server } => (15, *server as u64, 0),
            Event::Calm => (13, 0, 0),
            Event::Operator => (14, 0, 0),
        };
        self.mix(kind << 48 | a << 24 | b);
    }

    pub(crate) fn sum(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The transcript: time, what concerns all, then the sites beside each other.
    pub(crate) fn transcript(&self) -> String {
        let names = lanes();
        let mut out = format!("{:>10}  ", "seconds");
        for name in &names {
            let _ = write!(out, "{name:<WIDTH$}");
        }
        out.push('\n');
        for (at, lane, text) in self.lines.iter().flatten() {
            let _ = write!(out, "{:>10.6}  ", *at as f64 / 1e6);
            match lane {
                None => {
                    let _ = writeln!(out, "-- {text}");
                }
                Some(lane) => {
                    let _ = writeln!(out, "{:indent$}{text}", "", indent = lane * WIDTH);
                }
            }
        }
        out
    }
}
