//! Files that no operator wrote: each is refused with its problems, and none ends the node by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::{GroupsFile, NodeConfig};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::Path;

/// A good file, with settings of every kind.
fn node() -> String {
    let timings = "profile = \"lan\"\nheartbeat = \"100ms\"\nelection = \"300ms..600ms\"";
    let gate = "[[gate]]\ngroup = \"features\"\nlisten = \"127.0.0.1:6400\"\n";
    super::NODE.replace("profile = \"lan\"", timings) + gate
}

/// Good groups of every kind, with settings that most do without.
fn groups() -> String {
    let settings = "name = \"features\"\nfailover = \"automatic\"\ndown_after = \"1s\"\nmax_loss = \"1 MiB\"\n\
                    durability = \"site\"\non_no_site = \"refuse\"";
    super::groups::GROUPS.replacen("name = \"features\"", settings, 1)
        + super::groups::ENDPOINT
        + super::kafka::KAFKA
}

/// One of the two.
fn sample(of_groups: bool) -> String {
    if of_groups { groups() } else { node() }
}

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
    NodeConfig::parse(&node(), Path::new("/nowhere")).unwrap();
    GroupsFile::parse(&groups()).unwrap();
}

proptest! {
    #[test]
    fn any_text(text in prop_oneof![".{0,300}", vec(any::<u8>(), 0..300).prop_map(|b| String::from_utf8_lossy(&b).into_owned())]) {
        read(&text);
    }

    #[test]
    fn any_value_for_any_key(line in any::<prop::sample::Index>(), value in value(), groups in any::<bool>()) {
        let text = sample(groups);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let keys: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(" = ")).collect();
        let at = keys[line.index(keys.len())];
        let key = lines[at].split_once(" = ").unwrap().0.to_owned();
        lines[at] = format!("{key} = {value}");
        read(&lines.join("\n"));
    }

    #[test]
    fn any_lines_left_out_or_moved(order in vec(any::<prop::sample::Index>(), 0..40), groups in any::<bool>()) {
        let text = sample(groups);
        let lines: Vec<&str> = text.lines().collect();
        let chosen: Vec<&str> = order.iter().map(|at| lines[at.index(lines.len())]).collect();
        read(&chosen.join("\n"));
    }

    #[test]
    fn any_character_changed(at in any::<prop::sample::Index>(), by in any::<char>(), groups in any::<bool>()) {
        let text = sample(groups);
        let mut text: Vec<char> = text.chars().collect();
        let at = at.index(text.len());
        text[at] = by;
        read(&text.into_iter().collect::<String>());
    }
}
