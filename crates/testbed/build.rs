//! Builds the library that the processes under test load: a clock that can be stepped and a disk that can be slow.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-changed=build.rs");
    let library = PathBuf::from(env::var("OUT_DIR")?).join("libfaults.so");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(&compiler)
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .args(["shim/faults.c", "-ldl"])
        .status()?;
    if !status.success() {
        return Err(format!("{compiler} could not build shim/faults.c: {status}").into());
    }
    Ok(())
}
