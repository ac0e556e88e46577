//! Whole deployments on this machine: three nodes, three redis-servers, writers, and faults by real signals.
//!
//! Each test ends with the ledger: what was acknowledged and is missing, and whether two members wrote at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs
)]

mod bad_input;
mod by_hand;
mod endpoint;
mod failover;
mod faults;
mod harness;
mod hostile;
mod kafka;
mod leader_faults;
mod nodes;
mod site_durability;
mod switchover;
mod watch;
