//! What happened and what was seen, with the times of this process's monotonic clock.
//!
//! Everything that runs beside something else writes here; checkers and reports read it afterwards. A report of a run
//! that went wrong needs the same things as a checker, so nothing is thrown away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// Who is primary, as an answer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Answer {
    /// The revision of the state that it was read from.
    pub(crate) revision: u64,
    /// The primary's epoch.
    pub(crate) epoch: u64,
    /// The primary.
    pub(crate) member: Option<String>,
    /// Milliseconds since the node was in touch with a leader.
    pub(crate) age_ms: u64,
}

/// How fresh an answer was asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Freshness {
    /// A round of the leader.
    Linearizable,
    /// From the leader's lease.
    Lease,
    /// Whatever the node has.
    Local,
}

/// One successful GetPrimary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// When it was asked.
    pub(crate) asked: Instant,
    /// When the answer was here.
    pub(crate) answered: Instant,
    /// Which process of a node was asked: (id, process id).
    pub(crate) node: (u64, u32),
    /// How fresh.
    pub(crate) freshness: Freshness,
    /// What it said.
    pub(crate) answer: Answer,
}

/// What a watcher got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A stream begins or a sign of life: everything up to this revision was sent.
    Progress,
    /// The events of one revision, as text that is equal when they are.
    Batch {
        /// The events.
        events: Vec<Noted>,
        /// All of them, to compare.
        text: String,
    },
    /// The stream says that events are gone.
    Compacted,
}

/// Events that a checker or a reader of the report cares about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// A transition began; `automatic` when nobody asked for it.
    Started {
        /// Its epoch.
        epoch: u64,
        /// Without an operator.
        automatic: bool,
    },
    /// A new primary.
    Primary {
        /// Its epoch.
        epoch: u64,
        /// Which.
        member: String,
    },
    /// The group was paused.
    Paused,
    /// The group was resumed.
    Resumed,
    /// Another one.
    Other,
}

/// One response of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchLine {
    /// When it was here.
    pub(crate) at: Instant,
    /// Of which watcher.
    pub(crate) watcher: usize,
    /// Whether it is the first of a stream.
    pub(crate) first: bool,
    /// Its revision.
    pub(crate) revision: u64,
    /// What it said.
    pub(crate) seen: Seen,
}

/// A line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When it began.
    pub(crate) from: Instant,
    /// When it ended, where it lasted.
    pub(crate) to: Option<Instant>,
    /// Where, as an index into the sites; nowhere for operators and for the run itself.
    pub(crate) site: Option<usize>,
    /// A word that is counted.
    pub(crate) kind: String,
    /// What it was.
    pub(crate) text: String,
}

/// A node was seen to lead, or nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Led {
    /// Since when.
    pub(crate) at: Instant,
    /// The node's id and site.
    pub(crate) leader: Option<(u64, String)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// Answers of the Directory.
    pub(crate) reads: Vec<Read>,
    /// Responses of watches.
    pub(crate) watched: Vec<WatchLine>,
    /// Faults and what else happened.
    pub(crate) marks: Vec<Mark>,
    /// Changes of the leader.
    pub(crate) led: Vec<Led>,
    /// (member, when it went on) of each Redis that was frozen.
    pub(crate) woken: Vec<(String, Instant)>,
    /// Reads that failed.
    pub(crate) reads_failed: u64,
}

/// The open record; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Pages>>);

impl Record {
    /// To write or to read; hold it shortly.
    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened that does not last.
    pub(crate) fn note(&self, kind: &str, site: Option<usize>, text: impl Into<String>) {
        self.begin(kind, site, text);
    }

    /// Something begins; its number is for [`Record::end`].
    pub(crate) fn begin(&self, kind: &str, site: Option<usize>, text: impl Into<String>) -> usize {
        let mark = Mark { from: Instant::now(), to: None, site, kind: kind.to_owned(), text: text.into() };
        let mut pages = self.pages();
        pages.marks.push(mark);
        pages.marks.len() - 1
    }

    /// What began has ended.
    pub(crate) fn end(&self, mark: usize) {
        if let Some(mark) = self.pages().marks.get_mut(mark) {
            mark.to.get_or_insert_with(Instant::now);
        }
    }

    /// The primary and its epoch as the newest linearizable answer says.
    pub(crate) fn primary(&self) -> Option<Answer> {
        let pages = self.pages();
        let fresh = |read: &&Read| read.freshness == Freshness::Linearizable;
        pages.reads.iter().rev().find(fresh).map(|read| read.answer.clone())
    }

    /// The node that was last seen to lead.
    pub(crate) fn leader(&self) -> Option<(u64, String)> {
        self.pages().led.iter().rev().find_map(|led| led.leader.clone())
    }
}
