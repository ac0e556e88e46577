//! groups.toml, good and bad.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::GroupsFile;
use super::table;
use primacy_core::{Durability, GroupKind, LossBudget, OnNoSite, Probe};

pub(super) const GROUPS: &str = r#"
[[redis]]
name = "features"
[[redis.member]]
name = "east-a"
site = "east"
address = "10.0.0.1:6379"
[[redis.member]]
name = "west-a"
site = "west"
address = "rediss://west.example:6379"
priority = 50
"#;

fn problems_of_groups(text: &str) -> String {
    match GroupsFile::parse(text) {
        Ok(_) => "accepted".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn a_good_groups_file_is_read_with_its_defaults() {
    let groups = GroupsFile::parse(GROUPS).unwrap();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].down_after_ms, 1_000);
    assert_eq!(groups[0].max_loss, LossBudget::Bytes(1 << 20));
    assert_eq!(groups[0].members[0].priority, 100);
    assert!(groups[0].members[1].address.tls);
    assert_eq!((groups[0].tail_max_bytes, groups[0].may_kill), (64 << 20, false));
    assert_eq!((groups[0].durability, groups[0].on_no_site), (Durability::Local, OnNoSite::Refuse));
    let set = "name = \"features\"\ntail_max = \"1 GiB\"\nmay_kill = true\ndurability = \"site\"\non_no_site = \"degrade\"";
    let group = GroupsFile::parse(&GROUPS.replacen("name = \"features\"", set, 1)).unwrap().remove(0);
    assert_eq!((group.tail_max_bytes, group.may_kill), (1 << 30, true));
    assert_eq!((group.durability, group.on_no_site), (Durability::Site, OnNoSite::Degrade));
    let lax = "name = \"features\"\nfence = \"none\"";
    let group = GroupsFile::parse(&GROUPS.replacen("name = \"features\"", lax, 1)).unwrap().remove(0);
    assert_eq!(group.durability, Durability::Async, "without a witness no reply waits for it");
    assert_eq!(GroupsFile::parse("").unwrap(), []);
}

pub(super) const ENDPOINT: &str = r#"
[[endpoint]]
name = "model"
down_after = "2s"
[[endpoint.member]]
name = "east"
site = "east"
address = "10.0.0.1:8000"
probe = "http:/healthz?deep=1"
[[endpoint.member]]
name = "west"
site = "west"
address = "10.0.0.2:8000"
"#;

#[test]
fn an_endpoint_group_is_read_with_its_defaults() {
    let groups = GroupsFile::parse(&format!("{GROUPS}{ENDPOINT}")).unwrap();
    let model = &groups[1];
    assert_eq!((model.kind, model.down_after_ms), (GroupKind::Endpoint, 2_000));
    assert_eq!((model.max_loss, model.durability), (LossBudget::Any, Durability::Async));
    assert_eq!(model.members[0].probe, Probe::Http { path: "/healthz?deep=1".to_owned() });
    assert_eq!(model.members[1].probe, Probe::Tcp);
}

#[test]
fn every_bad_key_of_an_endpoint_group_is_named() {
    table(
        ENDPOINT,
        problems_of_groups,
        &[
            (
                "http:/healthz?deep=1",
                "grpc",
                "endpoint.model.member.east.probe: this version has no gRPC probe; write \"tcp\" or \"http:/healthz\"",
            ),
            (
                "http:/healthz?deep=1",
                "udp",
                "endpoint.model.member.east.probe: \"udp\" is not known; write \"tcp\" or \"http:/healthz\"",
            ),
            (
                "http:/healthz?deep=1",
                "http:healthz",
                "endpoint.model.member.east.probe: the path \"healthz\" does not begin with a slash; use the path of a health check, such as \"http:/healthz\"",
            ),
            (
                "http:/healthz?deep=1",
                "http:/a b",
                "endpoint.model.member.east.probe: the path \"/a b\" has the character ' '; use the path of a health check, such as \"http:/healthz\"",
            ),
            (
                "10.0.0.2:8000",
                "rediss://10.0.0.2:8000",
                "endpoint.model.member.west.address: rediss://10.0.0.2:8000 asks for TLS, which a gate passes on without speaking it; write HOST:PORT",
            ),
            (
                "down_after",
                "max_loss",
                "endpoint.model.max_loss: there is no such key; remove it; known here: down_after, failover, member, name",
            ),
            (
                "10.0.0.2:8000",
                "10.0.0.1:8000",
                "endpoint.model.member.west.address: 10.0.0.1:8000 is the address of east in group model as well; a server belongs to one member of one group",
            ),
        ],
    );
    let shared = format!("{GROUPS}{}", ENDPOINT.replace("model", "features"));
    assert_eq!(
        problems_of_groups(&shared),
        "endpoint.features: the group is named twice; give each group its own name"
    );
}

#[test]
fn every_bad_key_of_a_groups_file_is_named() {
    table(
        GROUPS,
        problems_of_groups,
        &[
            (
                "name = \"features\"",
                "nam = \"features\"",
                "redis[0].name: it is missing; add a line such as name = \"features\"\nredis[0].nam: there is no such key; did you mean name?",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\nfail_over = \"manual\"",
                "redis.features.fail_over: there is no such key; did you mean failover?",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\nfailover = \"auto\"",
                "redis.features.failover: \"auto\" is not known; write \"automatic\" or \"manual\"",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\nfailover = true",
                "redis.features.failover: it is a boolean, not a word; write it in quotes: \"automatic\" or \"manual\"",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\ndown_after = \"1\"",
                "redis.features.down_after: \"1\" is not a duration: time unit needed, for example 1sec or 1ms; write a number with its unit, such as \"1s\"",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\nmax_loss = \"1 mib\"",
                "redis.features.max_loss: \"1 mib\" is not a loss budget; write a size such as \"1 MiB\" or \"0 bytes\", or \"any\"",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\nfence = \"gate\"",
                "redis.features.fence: \"gate\" is not known; write \"witness\" or \"none\"",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\ntail_max = \"any\"",
                "redis.features.tail_max: \"any\" is not a size; write a number with its unit, such as \"64 MiB\"",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\ntail_max = \"1 KiB\"",
                "redis.features.tail_max: 1024 bytes is out of range; use a size from \"64 KiB\" to \"16 GiB\"",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\nmay_kill = \"no\"",
                "redis.features.may_kill: it is a string, not true or false; write true or false, without quotes",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\ndurability = \"quorum\"",
                "redis.features.durability: \"quorum\" is not known; write \"async\" or \"local\" or \"site\"",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\nfence = \"none\"\ndurability = \"site\"",
                "redis.features.durability: replies cannot wait for a witness with durability = \"site\": fence = \"none\" has none; use durability = \"async\", or fence = \"witness\"",
            ),
            (
                "site = \"west\"",
                "site = \"east\"",
                "redis.features.member: all members are at site east: a primary there that is cut off with them stays open, and is never proven shut; put a member at another site, or ask for Sentinel's kind of safety by fence = \"none\"",
            ),
            (
                "priority = 50",
                "probe = \"tcp\"",
                "redis.features.member.west-a.probe: there is no such key; remove it; known here: address, name, priority, site",
            ),
            (
                "name = \"features\"",
                "name = \"features\"\non_no_site = \"wait\"",
                "redis.features.on_no_site: \"wait\" is not known; write \"refuse\" or \"degrade\"",
            ),
            (
                "site = \"west\"\n",
                "",
                "redis.features.member.west-a.site: it is missing; add a line such as site = \"east\"",
            ),
            (
                "priority = 50",
                "priority = -1",
                "redis.features.member.west-a.priority: -1 is out of range; write a whole number from 0 to 4294967295, without quotes",
            ),
            (
                "priority = 50",
                "prio = 50",
                "redis.features.member.west-a.prio: there is no such key; did you mean priority?",
            ),
            (
                "10.0.0.1:6379",
                "10.0.0.1",
                "redis.features.member.east-a.address: \"10.0.0.1\" is not an address: the port is missing; write HOST:PORT, or rediss://HOST:PORT for TLS",
            ),
            (
                "name = \"west-a\"",
                "name = \"east-a\"",
                "redis.features.member: east-a is named twice; give each member its own name",
            ),
            (
                "rediss://west.example:6379",
                "10.0.0.1:6379",
                "redis.features.member.west-a.address: 10.0.0.1:6379 is the address of east-a in group features as well; a server belongs to one member of one group",
            ),
        ],
    );
    let lonely = &GROUPS[..GROUPS.rfind("[[redis.member]]").unwrap()];
    assert_eq!(
        problems_of_groups(lonely),
        "redis.features.member: the group has 1 member(s), so there is nothing to fail over to; name at least two members, at two sites or more"
    );
    let twice = format!("{GROUPS}{}", GROUPS.replace("east-a", "other").replace(":6379", ":6380"));
    assert_eq!(
        problems_of_groups(&twice),
        "redis.features: the group is named twice; give each group its own name"
    );
    let shared =
        format!("{GROUPS}{}", GROUPS.replace("features", "second").replace("west.example", "west2.example"));
    assert_eq!(
        problems_of_groups(&shared),
        "redis.second.member.east-a.address: 10.0.0.1:6379 is the address of east-a in group features as well; a server belongs to one member of one group"
    );
}
