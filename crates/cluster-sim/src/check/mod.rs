//! What must hold, one module each, looked at after every step.
//!
//! The state that a cluster agrees on is here a list of marks, each proposed once. The first node to apply one says
//! what the list is; from then on all must say the same.

mod acknowledged;
mod agreement;
mod authority;
mod freshness;
mod leader;
mod reads;

pub(crate) use reads::Kind;

use crate::cluster::Living;
use crate::executor::{Executor, Place};
use primacy_core::{Event, Revision};
use primacy_sim::Violation;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What a run counted, by name; for the table of what was exercised.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// One applied mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Applied {
    revision: Revision,
    mark: u64,
    /// When a node applied it first.
    at_us: u64,
}

/// What is known of a node's process.
#[derive(Clone, Copy, Debug)]
struct Seen {
    place: Place,
    /// How many marks it has applied, by the last look.
    marks: usize,
    revision: Revision,
}

/// Follows a run.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// All that was applied anywhere.
    applied: Vec<Applied>,
    seen: BTreeMap<u64, Seen>,
    /// Who led each term.
    leaders: BTreeMap<u64, u64>,
    /// The proposals that were acknowledged.
    acknowledged: BTreeMap<u64, Revision>,
    /// The proposals that were refused.
    refused: BTreeSet<u64>,
    violation: Option<Violation>,
    counts: Counts,
    lines: Option<Vec<(u64, String)>>,
}

impl Checker {
    /// One that has seen nothing; `told` keeps a transcript.
    pub(crate) fn new(told: bool) -> Self {
        Self { lines: told.then(Vec::new), ..Self::default() }
    }

    /// Adds a line to the transcript.
    pub(crate) fn tell(&mut self, at_us: u64, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push((at_us, text()));
        }
    }

    /// The transcript.
    pub(crate) fn transcript(&self) -> String {
        let mut transcript = String::new();
        for (at_us, text) in self.lines.iter().flatten() {
            // Writing to a string cannot fail.
            let _ = writeln!(transcript, "{:>11.6}  {text}", *at_us as f64 / 1e6);
        }
        transcript
    }

    /// Counts something that happened.
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// What was counted.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Notes the first violation; the run ends with it.
    pub(crate) fn violate(&mut self, invariant: &'static str, at_us: u64, text: String) {
        self.tell(at_us, || format!("VIOLATED {invariant}: {text}"));
        self.violation.get_or_insert(Violation { invariant, text, at: at_us });
    }

    /// What was found.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// How many marks were applied anywhere.
    pub(crate) fn applied(&self) -> usize {
        self.applied.len()
    }

    /// The process of `node` is over.
    pub(crate) fn forget(&mut self, node: u64) {
        self.seen.remove(&node);
    }

    /// A task ran in the process of `living`.
    pub(crate) fn look(&mut self, executor: &Executor, living: &Living, all: impl FnOnce() -> Vec<Living>) {
        let now_us = executor.now_us();
        self.agreement(now_us, living);
        executor.at(living.place, || {
            self.leader(now_us, living);
            self.freshness(now_us, living);
        });
        self.authority(executor, now_us, living, all);
        if let Some(why) = &*living.halted.borrow() {
            let expected = matches!(why, primacy_consensus::Halted::KnownElsewhere { .. });
            if !expected {
                self.violate("takes_part", now_us, format!("node {}: {why}", living.place.node));
            }
        }
    }
}

/// The mark of an event.
fn mark_of(event: &Event) -> Option<u64> {
    match event {
        Event::LeadershipAssumed { node, .. } => Some(node.0),
        _ => None,
    }
}
