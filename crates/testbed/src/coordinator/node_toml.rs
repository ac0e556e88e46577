//! The text of a node's node.toml.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::ClusterOptions;

const PASSWORD_FILE: &str = "redis.password";

/// A founding node as all nodes know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) id: u64,
    pub(super) site: String,
    pub(super) address: String,
}

/// What goes into one node's file.
pub(super) struct NodeText<'a> {
    pub(super) peer: &'a Peer,
    pub(super) http: &'a str,
    /// (group, `host:port`) of each gate.
    pub(super) gates: &'a [(String, String)],
    pub(super) founding: &'a [Peer],
    pub(super) options: &'a ClusterOptions,
}

/// Writes node.toml, and the password that it names, into `dir`.
pub(super) fn write(dir: &Path, text: &NodeText<'_>) -> Result<()> {
    let path = dir.join("node.toml");
    std::fs::write(&path, text.render()).with_context(|| format!("cannot write {}", path.display()))?;
    if let Some(credentials) = &text.options.redis {
        let path = dir.join(PASSWORD_FILE);
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(credentials.password.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl NodeText<'_> {
    fn render(&self) -> String {
        let Peer { id, site, address } = self.peer;
        let ClusterOptions { name, profile, timings, redis, data_dirs, .. } = self.options;
        let elsewhere = data_dirs.iter().find(|(of, _)| of == id);
        let data_dir = elsewhere.map_or_else(|| "data".into(), |(_, dir)| dir.to_string_lossy());
        let mut text = format!(
            "[node]\nid = {id}\nsite = {site:?}\ndata_dir = {data_dir:?}\nlisten = {address:?}\nadvertise = {address:?}\n\
             http = {http:?}\n\n[cluster]\nname = {name:?}\nprofile = {profile:?}\n",
            http = self.http,
        );
        // Writing to a string cannot fail.
        for (key, value) in timings {
            let _ = writeln!(text, "{key} = {value:?}");
        }
        for Peer { id, site, address } in self.founding {
            let _ = write!(text, "\n[[cluster.peer]]\nid = {id}\nsite = {site:?}\naddress = {address:?}\n");
        }
        if let Some(credentials) = redis {
            let username = &credentials.username;
            let _ = write!(
                text,
                "\n[redis.default]\nusername = {username:?}\npassword_file = {PASSWORD_FILE:?}\n"
            );
        }
        for (group, listen) in self.gates {
            let _ = write!(text, "\n[[gate]]\ngroup = {group:?}\nlisten = {listen:?}\n");
        }
        text.push_str(&self.options.node_toml);
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::redis_address::Credentials;

    #[test]
    fn the_file_is_as_the_contract_says() {
        let founding = [
            Peer { id: 1, site: "east".into(), address: "127.0.0.1:1".into() },
            Peer { id: 2, site: "west".into(), address: "127.0.0.1:2".into() },
        ];
        let mut options = ClusterOptions::new("primacy");
        options.timings = vec![("heartbeat".into(), "50ms".into())];
        options.redis = Some(Credentials { username: "primacy".into(), password: "secret".into() });
        let gates = [("features".into(), "127.0.0.1:4".into())];
        let text = NodeText {
            peer: &founding[1],
            http: "127.0.0.1:3",
            gates: &gates,
            founding: &founding,
            options: &options,
        };
        let expected = r#"[node]
id = 2
site = "west"
data_dir = "data"
listen = "127.0.0.1:2"
advertise = "127.0.0.1:2"
http = "127.0.0.1:3"

[cluster]
name = "testbed"
profile = "lan"
heartbeat = "50ms"

[[cluster.peer]]
id = 1
site = "east"
address = "127.0.0.1:1"

[[cluster.peer]]
id = 2
site = "west"
address = "127.0.0.1:2"

[redis.default]
username = "primacy"
password_file = "redis.password"

[[gate]]
group = "features"
listen = "127.0.0.1:4"
"#;
        assert_eq!(text.render(), expected);
    }
}
