//! The witness on real servers: what a primary makes of it, what it keeps, how it ends, and who is served from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod copy;
mod door;
mod history;
mod parts;
mod rescue;
mod tls;
