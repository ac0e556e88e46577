//! The leader's side: what it sees, what it plans, what it does.
//!
//! The problem: decisions must be fast, and an effect must never run ahead of the decision that allows it, even when
//! the leader dies or sleeps between the two. The idea: one loop, woken by news and never by a poll, that works out
//! the plan of a group from scratch, proposes its commands and performs its actions; an action runs only while the
//! leader holds its quorum's lease and the committed state still names the action's epoch.
//!
//! It must not know rules: those are `primacy_core::plan`.

mod actions;
mod board;
pub(crate) mod fault;
mod journal;
mod round;
mod verdicts;

pub(crate) use board::{Board, LeaseAsk};

pub(crate) use round::{Lead, voters};
