//! What crosses the wire and what is kept on disk: the generated messages, and the way from them to core's types.
//!
//! The problem: bytes from a peer, a client or a disk may be anything, and a rule must never run on a value that
//! nobody sent. The idea: generated types stay at the edge; every conversion into a core type is fallible and names
//! the field that is wrong. Nothing is defaulted: an unset `oneof` and the zero of an enumeration are errors. The one
//! exception is what a later format added: where a record of an older format can lack it, its `.proto` says what
//! that means.
//!
//! This crate must not know sockets, files or rules.

mod convert;
mod error;
pub mod gate;
pub mod holder;
pub mod mirror;
pub mod refusal;
pub mod rescue;
pub mod sighting;
pub mod witness;

pub use convert::{FORMAT, FORMAT_OLDEST, decode_command, decode_state, encode_command, encode_state};
pub use error::WireError;
pub use refusal::Refusal;

/// The messages and services of `proto/primacy/v1`, as generated.
#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
pub mod v1 {
    tonic::include_proto!("primacy.v1");
}

/// The encoded descriptors of all files, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/primacy_descriptor.bin"));
