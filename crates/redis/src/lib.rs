//! Redis as Primacy sees it: one control connection to a member, what it says of itself, and what is done to it.
//!
//! The problem: the leader decides on what servers say, and a decision is only as good as the difference between
//! "it closed the connection", "the network reset it", "it does not answer" and "nobody listens"; and what it then
//! does to a server must be safe to repeat, to lose the answer of, and to arrive late. The idea: a [`Link`] keeps one
//! warm connection whose end is noticed and named at once, a [`Prober`] turns it into [`Sighting`]s, and a [`Hand`]
//! performs one [`primacy_core::Action`] in one or two round trips, each verified by reading back.
//!
//! This crate must not know the log, the leader, or why an action is wanted: it performs what it is given, until the
//! deadline it is given. It never runs `CONFIG REWRITE`: a server that restarts is nobody's primary.

mod access;
mod boot;
mod conf;
mod hand;
mod info;
mod inspect;
mod link;
mod offset;
mod probe;
mod reply;
mod unheard;
mod witness;

pub use access::Access;
pub use conf::{ConfError, ConfSecrets, redis_conf};
pub use hand::{ActionError, Hand, Reached};
pub use inspect::{InspectError, Inspection, inspect};
pub use link::{Link, Links};
pub use offset::StreamOffset;
pub use probe::{Prober, ProberHandle, ServerProcess, Sighting, end_process};
pub use witness::{Read, Tail, TailAccess, TailGap, TailServer, Witness, WitnessOptions, WitnessStatus};
