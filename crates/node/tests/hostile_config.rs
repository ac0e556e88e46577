//! Files that no operator wrote: each is refused with its problems, and none ends the node by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use primacy_node::config::{GroupsFile, NodeConfig};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::Path;

const NODE: &str = r#"
[node]
id = 1
site = "east"
data_dir = "data"
listen = "127.0.0.1:7101"
http = "127.0.0.1:7103"
[cluster]
name = "prod"
profile = "lan"
heartbeat = "100ms"
election = "300ms..600ms"
[[cluster.peer]]
id = 1
site = "east"
address = "127.0.0.1:7101"
[[gate]]
group = "features"
listen = "127.0.0.1:6400"
"#;

const GROUPS: &str = r#"
[[redis]]
name = "features"
failover = "automatic"
down_after = "1s"
max_loss = "1 MiB"
durability = "site"
on_no_site = "refuse"
[[redis.member]]
name = "east-a"
site = "east"
address = "10.0.0.1:6379"
priority = 100
[[redis.member]]
name = "west-a"
site = "west"
address = "10.0.0.2:6379"
[[endpoint]]
name = "model"
[[endpoint.member]]
name = "east"
site = "east"
address = "10.0.0.1:8000"
probe = "http:/healthz"
[[endpoint.member]]
name = "west"
site = "west"
address = "10.0.0.2:8000"
"#;

fn read(text: &str) {
    for problems in [NodeConfig::parse(text, Path::new("/nowhere")).err(), GroupsFile::parse(text).err()] {
        // What is refused says why.
        assert!(problems.is_none_or(|problems| !problems.to_string().is_empty()));
    }
}

/// A value of the kinds that TOML has, and of none.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        "[0-9]{1,25}(ms|s|m|h| MiB| bytes|..[0-9]{1,4}ms)?".prop_map(|text| format!("{text:?}")),
        ".{0,30}".prop_map(|text| format!("{text:?}")),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("true".to_owned()),
        Just("1979-05-27".to_owned()),
    ]
}

#[test]
fn what_is_damaged_below_is_good() {
    NodeConfig::parse(NODE, Path::new("/nowhere")).unwrap();
    GroupsFile::parse(GROUPS).unwrap();
}

proptest! {
    #[test]
    fn any_text(text in prop_oneof![".{0,300}", vec(any::<u8>(), 0..300).prop_map(|b| String::from_utf8_lossy(&b).into_owned())]) {
        read(&text);
    }

    #[test]
    fn any_value_for_any_key(line in any::<prop::sample::Index>(), value in value(), groups in any::<bool>()) {
        let text = if groups { GROUPS } else { NODE };
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let keys: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(" = ")).collect();
        let at = keys[line.index(keys.len())];
        let key = lines[at].split_once(" = ").unwrap().0.to_owned();
        lines[at] = format!("{key} = {value}");
        read(&lines.join("\n"));
    }

    #[test]
    fn any_lines_left_out_or_moved(order in vec(any::<prop::sample::Index>(), 0..40), groups in any::<bool>()) {
        let lines: Vec<&str> = if groups { GROUPS } else { NODE }.lines().collect();
        let chosen: Vec<&str> = order.iter().map(|at| lines[at.index(lines.len())]).collect();
        read(&chosen.join("\n"));
    }

    #[test]
    fn any_character_changed(at in any::<prop::sample::Index>(), by in any::<char>(), groups in any::<bool>()) {
        let mut text: Vec<char> = if groups { GROUPS } else { NODE }.chars().collect();
        let at = at.index(text.len());
        text[at] = by;
        read(&text.into_iter().collect::<String>());
    }
}
