//! Whole nodes on this machine: real gRPC over loopback, or memory with cuts between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unnecessary_wraps)]

mod founding;
mod leadership;
mod membership;
mod mesh;
mod partitions;
mod restart;
mod succession;
mod support;
mod wire;
