//! A TCP door that leads to the primary and to nobody else.
//!
//! The problem: whoever reaches a member directly can write to a primary that has been replaced without knowing it, and
//! any member can be reached by somebody. The idea: a relay at each site with one [`Door`], which says where it leads and
//! until when. It shuts by itself when its lease ends, cutting every connection that went through it: fence, eviction
//! and redirection in one, for any client and any protocol over TCP. Where the door has a [`Cover`], replies are held
//! until the writes that they acknowledge are safe.
//!
//! This crate must not know what is spoken over the connections, who decides about doors, or what a cover consists of.
//!
//! What must hold, whatever the machine does: no byte is passed on, either way, at or after [`Door::until`], and a held
//! reply that was not covered reaches nobody.

mod accept;
mod connection;
mod door;
mod gate;
mod hold;
mod opening;
mod proxy_protocol;
mod queue;
mod relay;
mod stats;

pub use door::{Cover, Door};
pub use gate::{Gate, GateOptions};
pub use stats::GateStats;
