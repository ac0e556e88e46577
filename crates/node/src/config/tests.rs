#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod groups;
mod hostile;
mod kafka;

use super::{NodeConfig, Profile, Timings};
use primacy_core::GroupName;
use std::fmt::Write;
use std::path::Path;

const NODE: &str = r#"
[node]
id = 1
site = "east"
data_dir = "data"
listen = "10.0.0.1:7101"
http = "0.0.0.0:7103"

[cluster]
name = "prod"
profile = "lan"
[[cluster.peer]]
id = 1
site = "east"
address = "10.0.0.1:7101"
[[cluster.peer]]
id = 2
site = "west"
address = "10.0.0.2:7101"
[[cluster.peer]]
id = 3
site = "north"
address = "north.example:7101"
"#;

fn problems_of_node(text: &str) -> String {
    match NodeConfig::parse(text, Path::new("/etc/primacy")) {
        Ok(_) => "accepted".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

/// `(what is replaced, by what, the exact message)`; every case stands alone.
fn table(base: &str, problems: impl Fn(&str) -> String, cases: &[(&str, &str, &str)]) {
    let mut wrong = String::new();
    for (from, to, expected) in cases {
        assert!(base.contains(from), "the base has no {from:?}");
        let found = problems(&base.replacen(from, to, 1));
        if found != *expected {
            writeln!(wrong, "--- {from:?} -> {to:?}\nexpected: {expected}\nfound:    {found}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_good_node_file_is_read_whole() {
    let config = NodeConfig::parse(NODE, Path::new("/etc/primacy")).unwrap();
    assert_eq!(config.node.id.0, 1);
    assert_eq!(config.node.data_dir, Path::new("/etc/primacy/data"));
    assert_eq!(config.node.advertise, "10.0.0.1:7101");
    assert_eq!(config.cluster.profile, Profile::Lan);
    assert_eq!(config.cluster.timings, Timings::of(Profile::Lan));
    assert_eq!(config.cluster.peers[2].address, "north.example:7101");
    assert_eq!(config.warnings, []);
    let later = NODE.replacen("id = 1", "id = 4", 1).replacen("10.0.0.1:7101", "10.0.0.4:7101", 1);
    assert_eq!(
        problems_of_node(&later),
        "accepted",
        "a node that is added later is not in the founding list"
    );
}

#[test]
fn gates_and_the_witness_are_read() {
    let text = format!(
        "{}{}",
        NODE.replacen("http =", "witness = \"0.0.0.0:7102\"\nhttp =", 1),
        "[[gate]]\ngroup = \"features\"\nlisten = \"0.0.0.0:6400\"\n\
         [[gate]]\ngroup = \"features\"\nlisten = \"0.0.0.0:6401\"\nproxy_protocol = true\nconnections_max = 5\n",
    );
    let config = NodeConfig::parse(&text, Path::new("")).unwrap();
    assert_eq!(config.node.witness.map(|at| at.port()), Some(7_102));
    let gates: Vec<_> =
        config.gates.iter().map(|g| (g.listen.port(), g.proxy_protocol, g.connections_max)).collect();
    assert_eq!(gates, [(6_400, false, 10_000), (6_401, true, 5)]);
    let plain = NodeConfig::parse(NODE, Path::new("")).unwrap();
    assert_eq!((plain.node.witness, plain.gates), (None, vec![]));
}

#[test]
fn every_bad_key_of_a_gate_is_named() {
    let base = format!("{NODE}[[gate]]\ngroup = \"features\"\nlisten = \"0.0.0.0:6400\"\n");
    table(
        &base,
        problems_of_node,
        &[
            (
                "group =",
                "groups =",
                "gate[0].group: it is missing; add a line such as group = \"features\"\ngate[0].groups: there is no such key; did you mean group?",
            ),
            (
                "6400\"",
                "6400\"\nproxy_protocoll = true",
                "gate[0].proxy_protocoll: there is no such key; did you mean proxy_protocol?",
            ),
            (
                "6400\"",
                "6400\"\nproxy_protocol = 2",
                "gate[0].proxy_protocol: it is an integer, not true or false; write true or false, without quotes",
            ),
            (
                "6400\"",
                "6400\"\nconnections_max = 0",
                "gate[0].connections_max: 0 is out of range; write a whole number from 1 to 1000000, without quotes",
            ),
            (
                "6400\"",
                "6400\"\nports = \"9200-9215\"",
                "gate[0].ports: this version has no gate for Kafka; remove the key",
            ),
            (
                "0.0.0.0:6400",
                "0.0.0.0:7101",
                "gate[0].listen: it is the address of node.listen as well; give each a port of its own",
            ),
            (
                "6400\"",
                "6400\"\n[[gate]]\ngroup = \"g\"\nlisten = \"127.0.0.1:6400\"",
                "gate[1].listen: it is the address of gate[0].listen as well; give each a port of its own",
            ),
        ],
    );
}

#[test]
fn the_arithmetic_of_leases_is_shown() {
    assert_eq!(
        Timings::of(Profile::Lan).arithmetic(),
        "lease 3s, renewed every 900ms: a silent primary is waited out after at most 6.33s"
    );
    assert_eq!(
        Timings::of(Profile::Wan).arithmetic(),
        "lease 4s, renewed every 1s: a silent primary is waited out after at most 7.34s"
    );
}

#[test]
fn each_timing_can_be_set_by_itself() {
    let text = NODE.replacen(
        "profile = \"lan\"",
        "profile = \"wan\"\nelection = \"700ms .. 1300ms\"\nrtt = \"80ms\"",
        1,
    );
    let timings = NodeConfig::parse(&text, Path::new("")).unwrap().cluster.timings;
    assert_eq!(timings.election_max.as_millis(), 1_300);
    assert_eq!(timings.rtt.as_millis(), 80);
    assert_eq!(timings.heartbeat, Timings::of(Profile::Wan).heartbeat);
}

#[test]
fn a_lopsided_cluster_is_warned_about() {
    let text = NODE.replacen("site = \"north\"", "site = \"west\"", 1);
    let config = NodeConfig::parse(&text, Path::new("")).unwrap();
    assert_eq!(
        config.warnings[0].to_string(),
        "cluster.peer: the founding nodes are at 2 site(s); use three sites or more, so that the loss of any one leaves a majority"
    );
}

#[test]
fn every_bad_key_of_a_node_file_is_named() {
    table(
        NODE,
        problems_of_node,
        &[
            ("http =", "htp =", "node.htp: there is no such key; did you mean http?"),
            (
                "http =",
                "qqq =",
                "node.qqq: there is no such key; remove it; known here: advertise, data_dir, http, id, listen, sentinel, site, witness",
            ),
            (
                "http =",
                "witness = \"10.0.0.1:7101\"\nhttp =",
                "node.witness: it is the address of node.listen as well; give each a port of its own",
            ),
            (
                "http =",
                "witness = \"10.0.0.1\"\nhttp =",
                "node.witness: \"10.0.0.1\" is not an IP address with a port; write IP:PORT, such as \"0.0.0.0:7101\"",
            ),
            ("http =", "sentinel =", "node.sentinel: this version has no Sentinel listener; remove the key"),
            (
                "[node]",
                "[nodes]",
                "node: it is missing; add a line such as [node]\nnodes: there is no such key; did you mean node?",
            ),
            (
                "[node]",
                "x = [",
                "node.toml: line 3: unexpected `=` in array, expected value, `]`; correct the line; the format is TOML 1.0",
            ),
            ("id = 1\n", "", "node.id: it is missing; add a line such as id = 1"),
            (
                "id = 1",
                "id = \"1\"",
                "node.id: it is a string, not a whole number; write a whole number from 1 to 9223372036854775807, without quotes",
            ),
            (
                "id = 1",
                "id = 0",
                "node.id: 0 is out of range; write a whole number from 1 to 9223372036854775807, without quotes",
            ),
            (
                "site = \"east\"",
                "site = 7",
                "node.site: it is an integer, not a site's name; write it in quotes: \"east\"",
            ),
            (
                "site = \"east\"",
                "site = \"e st\"",
                "node.site: \"e st\" is not a valid name: it has a character outside the allowed set; use 1 to 63 of a-z A-Z 0-9 . _ - and begin with a letter or digit",
            ),
            ("data_dir = \"data\"", "data_dir = \"\"", "node.data_dir: it is empty; write a path"),
            (
                "listen = \"10.0.0.1:7101\"",
                "listen = \"10.0.0.1\"",
                "node.listen: \"10.0.0.1\" is not an IP address with a port; write IP:PORT, such as \"0.0.0.0:7101\"",
            ),
            (
                "listen = \"10.0.0.1:7101\"",
                "listen = \"10.0.0.1:0\"",
                "node.listen: port 0 is not a fixed port; write IP:PORT, such as \"0.0.0.0:7101\"",
            ),
            (
                "listen = \"10.0.0.1:7101\"",
                "listen = \"0.0.0.0:7101\"",
                "node.advertise: it is missing, and others cannot dial 0.0.0.0:7101; add the address that others reach this node by",
            ),
            (
                "0.0.0.0:7103",
                "10.0.0.1:7101",
                "node.http: it is the address of node.listen as well; give each a port of its own",
            ),
            (
                "http =",
                "advertise = \"0.0.0.0:1\"\nhttp =",
                "node.advertise: nobody can dial 0.0.0.0:1; write HOST:PORT, such as \"10.0.0.1:7101\"",
            ),
            (
                "http =",
                "advertise = \"http://a:1\"\nhttp =",
                "node.advertise: \"http://a:1\" has a scheme; write HOST:PORT, such as \"10.0.0.1:7101\"",
            ),
            (
                "http =",
                "advertise = \"a\"\nhttp =",
                "node.advertise: \"a\" is not an address: the port is missing; write HOST:PORT, such as \"10.0.0.1:7101\"",
            ),
        ],
    );
}

#[test]
fn every_bad_key_of_the_cluster_is_named() {
    table(
        NODE,
        problems_of_node,
        &[
            (
                "profile = \"lan\"",
                "profile = \"LAN\"",
                "cluster.profile: \"LAN\" is not known; write \"lan\" or \"wan\"",
            ),
            (
                "profile = \"lan\"",
                "heartbeat = 100",
                "cluster.heartbeat: it is an integer, not a duration; write it in quotes: \"100ms\"",
            ),
            (
                "profile = \"lan\"",
                "heartbeat = \"100\"",
                "cluster.heartbeat: \"100\" is not a duration: time unit needed, for example 100sec or 100ms; write a number with its unit, such as \"100ms\"",
            ),
            (
                "profile = \"lan\"",
                "heartbeat = \"0s\"",
                "cluster.heartbeat: it is zero; write a number with its unit, such as \"100ms\"",
            ),
            (
                "profile = \"lan\"",
                "stale_max = \"2days\"",
                "cluster.stale_max: 2days is longer than a day; write a number with its unit, such as \"60s\"",
            ),
            (
                "profile = \"lan\"",
                "heartbeat = \"101ms\"",
                "cluster.heartbeat: heartbeat x 3 <= least election timeout does not hold: 101ms x 3 = 303ms > 300ms; lower heartbeat or raise election, so that a follower misses three heartbeats before it acts",
            ),
            (
                "profile = \"lan\"",
                "lease_renew = \"1100ms\"",
                "cluster.lease_renew: lease_renew x 3 <= lease_ttl does not hold: 1100ms x 3 = 3300ms > 3s; lower lease_renew or raise lease_ttl, so that two renewals may fail",
            ),
            (
                "profile = \"lan\"",
                "election = \"300ms..1100ms\"",
                "cluster.lease_ttl: lease_ttl > lease_renew + 2 x most election timeout + rtt does not hold: 3s <= 900ms + 2 x 1100ms + 0ms = 3100ms; raise lease_ttl or lower election, so that the loss of the leader's site stops no healthy primary",
            ),
            (
                "profile = \"lan\"",
                "election = \"600ms\"",
                "cluster.election: \"600ms\" is not a range; write the least and the most: \"300ms..600ms\"",
            ),
            (
                "profile = \"lan\"",
                "election = \"600ms..300ms\"",
                "cluster.election: 600ms is not below 300ms; write the least first, and leave room for chance: \"300ms..600ms\"",
            ),
            (
                "profile = \"lan\"",
                "lease_tll = \"3s\"",
                "cluster.lease_tll: there is no such key; did you mean lease_ttl?",
            ),
            ("id = 2", "id = 1", "cluster.peer[1].id: node 1 is listed twice; give each node its own id"),
            (
                "10.0.0.2:7101",
                "10.0.0.1:7101",
                "cluster.peer[1].address: 10.0.0.1:7101 is the address of another peer as well; give each node its own address",
            ),
            (
                "10.0.0.2:7101",
                "10.0.0.2",
                "cluster.peer[1].address: \"10.0.0.2\" is not an address: the port is missing; write HOST:PORT, such as \"10.0.0.1:7101\"",
            ),
            (
                "site = \"west\"",
                "sites = \"west\"",
                "cluster.peer[1].site: it is missing; add a line such as site = \"east\"\ncluster.peer[1].sites: there is no such key; did you mean site?",
            ),
            (
                "id = 1\nsite = \"east\"\naddress",
                "id = 1\nsite = \"west\"\naddress",
                "cluster.peer[0].site: it is west, and node.site of this node is east; make the two equal",
            ),
            (
                "listen = \"10.0.0.1:7101\"",
                "listen = \"10.0.0.9:7101\"",
                "cluster.peer[0].address: it is 10.0.0.1:7101, and this node advertises 10.0.0.9:7101; make the two equal",
            ),
            (
                "id = 1\n",
                "id = 4\n",
                "node.advertise: node 1 listens there by the list, and this node has id 4; correct node.id or the address",
            ),
            (
                "[[cluster.peer]]\nid = 3\nsite = \"north\"\naddress = \"north.example:7101\"",
                "[cluster.peers]",
                "cluster.peers: there is no such key; did you mean peer?",
            ),
        ],
    );
    let without = &NODE[..NODE.find("[[cluster.peer]]").unwrap()];
    assert_eq!(
        problems_of_node(without),
        "cluster.peer: no founding node is named; list the founding nodes, the same on each: [[cluster.peer]] with id, site and address"
    );
    assert_eq!(
        problems_of_node(&format!("{without}peer = [1]")),
        "cluster.peer[0]: it is an integer, not a table; write each as a table of its own: [[cluster.peer]]"
    );
}

#[test]
fn all_problems_are_listed_at_once() {
    let text = NODE
        .replacen("id = 1", "idd = 1", 1)
        .replacen("profile = \"lan\"", "profile = \"man\"\nelection = 3", 1)
        .replacen("id = 2", "id = -2", 1);
    assert_eq!(problems_of_node(&text).lines().count(), 5, "{}", problems_of_node(&text));
}

#[test]
fn credentials_come_from_files_that_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("good"), " secret \n").unwrap();
    std::fs::write(path("empty"), "\n").unwrap();
    let load = |section: &str| NodeConfig::parse(&format!("{NODE}{section}"), dir.path());

    let config =
        load("[redis.default]\nusername = \"primacy\"\npassword_file = \"good\"\n[redis.features]\n")
            .unwrap();
    assert_eq!(config.redis.default.password.as_ref().map(super::Secret::expose), Some("secret"));
    assert!(!format!("{config:?}").contains("secret"), "no debug output shows a password");
    assert_eq!(config.redis.of(&GroupName::new("features").unwrap()).username, None);
    let warning = config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(
        warning.starts_with("redis.default.password_file: every user of this host can read"),
        "{warning}"
    );

    let shown = |section: &str| {
        load(section).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR")
    };
    for (section, expected) in [
        (
            "[redis.default]\nusername = \"a\"",
            "redis.default.password_file: it is missing, and username is set; name the file with the user's password",
        ),
        (
            "[redis.default]\npassword_file = \"none\"",
            "redis.default.password_file: DIR/none cannot be read: No such file or directory (os error 2); name a file that exists and that this user may read",
        ),
        (
            "[redis.default]\npassword_file = \"empty\"",
            "redis.default.password_file: DIR/empty is empty; write the password into the file",
        ),
        (
            "[redis.default]\npasword_file = \"good\"",
            "redis.default.pasword_file: there is no such key; did you mean password_file?",
        ),
        (
            "[redis.default]\nca_file = \"good\"",
            "redis.default.ca_file: it holds no PEM certificate; name a PEM file with -----BEGIN CERTIFICATE-----",
        ),
        (
            "[redis.default]\nusername = \"\"\npassword_file = \"good\"",
            "redis.default.username: \"\" is not a user's name; write it without blanks",
        ),
        (
            "[redis]\ndefault = \"x\"",
            "redis.default: it is a string, not a table; write it as a table: [redis.default]",
        ),
        (
            "[redis.\"a b\"]",
            "redis.a b: it has a character outside the allowed set; name the section like the group",
        ),
    ] {
        assert_eq!(shown(section), expected);
    }
}
