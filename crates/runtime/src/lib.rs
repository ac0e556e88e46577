//! The one seam between Primacy and the world: clock, spawn, sleep, randomness, network.
//!
//! The problem: the loop and consensus must run in production on tokio and, unchanged, in a simulation that owns
//! time, interleaving and luck. The idea: free functions that go to the [`Backend`] installed on this thread, and
//! to tokio where none is. Code above calls these and never tokio's clock, timers, `spawn` or sockets. Its
//! `select!`s are `biased`, and it shares changing values by [`watch`], which wakes in a fixed order.
//!
//! This crate must not know what runs on it: no Raft, no gRPC, no Redis.

mod backend;
mod network;
mod task;
mod time;
pub mod watch;

pub use backend::{Backend, Installed, Job, install};
pub use network::{Stream, connect};
pub use task::{Cancelled, Task, blocking, spawn};
pub use time::{
    Elapsed, Interval, Sleep, Timeout, interval, now, sleep, sleep_until, timeout, timeout_at, wall,
};

/// 64 random bits; in a simulation, the next ones of its seed.
pub fn random_u64() -> u64 {
    backend::with(|installed| installed.map_or_else(rand::random, Backend::random_u64))
}
