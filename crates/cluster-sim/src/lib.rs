//! Whole clusters of the consensus that ships, on one thread, in virtual time, from one seed.
//!
//! The problem: what breaks an election is an order of events that nobody writes down in a test, and openraft, its
//! storage and what `consensus` builds on them meet many of them for the first time in somebody's data centre. The
//! idea: `primacy-consensus` and `primacy-storage` as they ship, on an executor of ours that chooses each step by the
//! seed; below them a disk that forgets what was not synced, between them a network that delays, cuts and loses, and
//! around them faults, an operator and clients. After every step the invariants in `check/` are looked at.
//!
//! What is not simulated: sled and the files (their own tests do, by kill and by lost power), gRPC and TCP (real ones
//! in `crates/consensus/tests`), and threads.
//!
//! This crate must not know what the commands mean.

mod check;
mod client;
mod cluster;
mod converge;
mod defect;
mod disk;
mod executor;
mod fault;
mod net;
mod operator;
mod run;
mod setup;

pub mod many;

pub use defect::Defect;
pub use fault::Fault;
pub use primacy_sim::Violation;
pub use run::{Options, Outcome, run, shrink};
