//! The rules of Primacy: which member of a group is primary, under which epoch, and what must happen next.
//!
//! The problem: several nodes must take the same decisions from the same log, and a leader that dies half-way
//! must be replaced by one that goes on where it stopped. The idea: everything here is a pure function.
//! [`State::apply`] turns a committed command into events; [`detect`] turns observations into verdicts;
//! [`plan`] turns state and verdicts into the next steps. The node runs them and performs what they return.
//!
//! This crate must not know IO, clocks, randomness or async. Time is an argument, maps are ordered.

pub mod apply;
pub mod check;
pub mod detect;
pub mod lease;
pub mod plan;
pub mod types;
pub mod view;

pub use apply::{Rejected, State};
pub use types::*;
