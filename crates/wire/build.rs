//! Turns `proto/` into Rust without a system `protoc`, and keeps the descriptors for server reflection.

use prost::Message;
use std::{env, error::Error, fs, path::PathBuf};

const PROTOS: [&str; 9] = [
    "primacy/v1/admin.proto",
    "primacy/v1/command.proto",
    "primacy/v1/directory.proto",
    "primacy/v1/event.proto",
    "primacy/v1/raft.proto",
    "primacy/v1/site.proto",
    "primacy/v1/state.proto",
    "primacy/v1/storage.proto",
    "primacy/v1/types.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}");
    println!("cargo:rerun-if-changed=build.rs");
    let descriptors = protox::compile(PROTOS, [root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("primacy_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".primacy.v1.StoredEntry")
        .bytes(".primacy.v1.RaftEntry")
        .bytes(".primacy.v1.InstallSnapshotRequest")
        .bytes(".primacy.v1.TailChunk")
        .compile_fds(descriptors)?;
    Ok(())
}
