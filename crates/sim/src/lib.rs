//! The rules that ship, under seeds and virtual time.
//!
//! The problem: what goes wrong in a cluster goes wrong in an order that nobody writes down in a test. The idea: one
//! thread, one clock, one seed. `primacy-core` is used as it ships; around it stand models of what it meets: a log
//! whose leaders are deposed, stale or late, links, clocks, Redis, gates, clients. After every event the invariants of
//! the design are looked at, and a run that breaks one can be had again, bit for bit, from its seed.
//!
//! It must not change a rule, and no rule may know that it is simulated.

mod client;
mod coverage;
mod defect;
mod dice;
pub mod exhaustive;
mod fault;
mod history;
mod invariant;
mod message;
mod net;
mod node;
mod redis;
mod run;
mod setup;
mod trace;
mod world;

pub mod many;

pub use defect::Defect;
pub use dice::Dice;
pub use invariant::Violation;
pub use run::{Options, Outcome, run, shrink};
