//! Whatever a file says: a configuration, or its problems.
#![no_main]

use libfuzzer_sys::fuzz_target;
use primacy_node::config::{GroupsFile, NodeConfig};
use std::path::Path;

fuzz_target!(|text: &str| {
    let _ = NodeConfig::parse(text, Path::new("/nowhere"));
    let _ = GroupsFile::parse(text);
});
