//! `[[kafka]]` in groups.toml and `[kafka.*]` in node.toml, good and bad.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::GroupsFile;

use primacy_core::{FailoverMode, GapPolicy, GroupKind, LagBudget, MirrorEngine, Probe};

pub(super) const KAFKA: &str = r#"
[[kafka]]
name = "events"
topics = ["orders", "clicks-.*"]
[[kafka.member]]
name = "east"
site = "east"
bootstrap = ["10.0.0.1:9092", "10.0.0.2:9092"]
[[kafka.member]]
name = "west"
site = "west"
bootstrap = ["10.0.1.1:9092"]
priority = 50
"#;

#[test]
fn a_kafka_group_is_read_with_its_defaults() {
    let group = GroupsFile::parse(KAFKA).unwrap().remove(0);
    assert_eq!((group.kind, group.failover), (GroupKind::Kafka, FailoverMode::Manual));
    let mirror = group.mirror.unwrap();
    assert_eq!((mirror.engine, mirror.gaps), (MirrorEngine::Builtin, GapPolicy::Translate));
    assert_eq!((mirror.max_lag, mirror.rate_max_bytes), (LagBudget::Records(0), None));
    assert_eq!(mirror.topics, ["orders", "clicks-.*"]);
    assert_eq!(mirror.groups, [".*"]);
    let Probe::Cluster { bootstrap } = &group.members[0].probe else { panic!("it is a cluster") };
    assert_eq!((bootstrap.len(), &bootstrap[0]), (2, &group.members[0].address));
    let set = "name = \"events\"\nmirror = \"external\"\ngaps = \"fill\"\nmirror_rate = \"50 MiB/s\"\n\
               max_lag = \"500ms\"\ngroups = [\"app-.*\"]\nentrance = \"direct\"\ndurability = \"local\"";
    let group = GroupsFile::parse(&KAFKA.replace("name = \"events\"", set)).unwrap().remove(0);
    let mirror = group.mirror.unwrap();
    assert_eq!((mirror.engine, mirror.gaps), (MirrorEngine::External, GapPolicy::Fill));
    assert_eq!((mirror.max_lag, mirror.rate_max_bytes), (LagBudget::Ms(500), Some(50 << 20)));
    assert_eq!(mirror.groups, ["app-.*"]);
}

#[test]
fn every_bad_key_of_a_kafka_group_is_named() {
    let named = |line: &str| format!("name = \"events\"\n{line}");
    let cases = [
        (
            named("failover = \"automatic\""),
            "kafka.events.failover: this version makes no other Kafka cluster active by itself; write failover = \"manual\", or remove the key",
        ),
        (
            named("entrance = \"gate\""),
            "kafka.events.entrance: this version has no Kafka gate: clients reach the brokers of the active cluster directly; write entrance = \"direct\", or remove the key",
        ),
        (
            named("durability = \"site\""),
            "kafka.events.durability: this version has no Kafka gate that could hold what is produced; write durability = \"local\", or remove the key",
        ),
        (
            named("mirror = \"magic\""),
            "kafka.events.mirror: \"magic\" is not known; write \"builtin\" or \"external\"",
        ),
        (
            named("mirror_rate = \"50 MiB\""),
            "kafka.events.mirror_rate: \"50 MiB\" is not a rate; write a size with its unit a second, such as \"50 MiB/s\"",
        ),
        (
            named("mirror_rate = \"0 B/s\""),
            "kafka.events.mirror_rate: nothing would ever be copied; write a rate such as \"50 MiB/s\", or remove the key",
        ),
        (
            named("max_lag = \"5 MiB\""),
            "kafka.events.max_lag: \"5 MiB\" is neither a number of records nor a duration; write a number of records or a duration such as \"0 records\"",
        ),
        (
            named("groups = [\"(\"]"),
            "kafka.events.groups: the pattern \"(\": unclosed group; write a regular expression that stands for whole names, such as \"clicks-.*\"",
        ),
        (
            named("groups = []"),
            "kafka.events.groups: it is an empty list; write a list of patterns, such as [\"orders\", \"clicks-.*\"]",
        ),
        (named("max_loss = \"1 MiB\""), "kafka.events.max_loss: there is no such key; did you mean max_lag?"),
    ];
    for (line, expected) in cases {
        let found = match GroupsFile::parse(&KAFKA.replace("name = \"events\"", &line)) {
            Ok(_) => "accepted".to_owned(),
            Err(problems) => problems.to_string(),
        };
        assert_eq!(found, expected, "{line}");
    }
    let replaced = |from: &str, to: &str| match GroupsFile::parse(&KAFKA.replacen(from, to, 1)) {
        Ok(_) => "accepted".to_owned(),
        Err(problems) => problems.to_string(),
    };
    assert_eq!(
        replaced("\"orders\"", "\"__consumer_offsets\""),
        "kafka.events.topics: the pattern \"__consumer_offsets\": it names what is internal and never copied; write a regular expression that stands for whole names, such as \"clicks-.*\""
    );
    assert_eq!(
        replaced("10.0.1.1:9092", "10.0.0.2:9092"),
        "kafka.events.member.west.bootstrap: 10.0.0.2:9092 is the address of east in group events as well; a cluster belongs to one member of one group"
    );
    assert_eq!(
        replaced("10.0.1.1:9092", "rediss://10.0.1.1:9092"),
        "kafka.events.member.west.bootstrap: rediss://10.0.1.1:9092 is no address of a broker; write HOST:PORT, and TLS as [kafka.NAME] in node.toml"
    );
    let twice = format!("{KAFKA}{}", KAFKA.replace("\"events\"", "\"other\""));
    let problems = GroupsFile::parse(&twice).unwrap_err().to_string();
    assert!(
        problems.starts_with(
            "kafka.other.member.east.bootstrap: 10.0.0.1:9092 is the address of east in group events"
        ),
        "{problems}"
    );
}

#[test]
fn how_clusters_are_reached_comes_from_files_that_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "s3cret\n").unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["east".to_owned()]).unwrap();
    std::fs::write(dir.path().join("ca.pem"), certified.cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let read = |lines: &str| {
        super::super::NodeConfig::parse(&format!("{}\n[kafka.events]\n{lines}", super::NODE), dir.path())
    };
    let whole = "sasl = \"scram-sha-512\"\nusername = \"primacy\"\npassword_file = \"password\"\ntls = true\n\
                 ca_file = \"ca.pem\"\ncert_file = \"ca.pem\"\nkey_file = \"key.pem\"";
    let config = read(whole).unwrap();
    let security = config.kafka.of(&"events".parse().unwrap());
    assert_eq!(security.sasl.as_ref().unwrap().password, "s3cret");
    assert!(security.tls.as_ref().unwrap().client_auth_cert_resolver.has_certs());
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(config.kafka.of(&"other".parse().unwrap()).tls.is_none());
    assert!(security.writers.is_empty());
    let user = |name: &str| {
        format!("\n[[kafka.events.mirror_user]]\nusername = \"{name}\"\npassword_file = \"password\"")
    };
    let sasl = "sasl = \"scram-sha-512\"\nusername = \"primacy\"\npassword_file = \"password\"";
    let config = read(&format!("{sasl}{}{}", user("m1"), user("m2"))).unwrap();
    let security = config.kafka.of(&"events".parse().unwrap());
    let names: Vec<&str> = security.writers.iter().map(|u| u.username.as_str()).collect();
    assert_eq!(names, ["m1", "m2"]);
    assert!(security.writers.iter().all(|u| u.password == "s3cret" && u.mechanism.name() == "SCRAM-SHA-512"));
    assert!(!format!("{config:?}").contains("s3cret"));
    for (lines, expected) in [
        (format!("{sasl}{}", user("m1")), "kafka.events.mirror_user: it is the only one"),
        (
            format!("{sasl}{}{}", user("m1"), user("m1")),
            "kafka.events.mirror_user[1].username: m1 is named twice",
        ),
        (
            format!("{sasl}{}{}", user("m1"), user("primacy")),
            "kafka.events.mirror_user[1].username: primacy is named",
        ),
        (format!("{}{}", user("m1"), user("m2")), "kafka.events.mirror_user: it is set, and sasl is not"),
        (
            format!("{sasl}{}\n[[kafka.events.mirror_user]]\nusername = \"m2\"", user("m1")),
            "kafka.events.mirror_user[1].password_file: it is missing",
        ),
    ] {
        let problems = read(&lines).unwrap_err().to_string();
        assert!(problems.contains(expected), "{lines}: {problems}");
    }
    let other = rcgen::generate_simple_self_signed(vec!["west".to_owned()]).unwrap();
    std::fs::write(dir.path().join("other.pem"), other.signing_key.serialize_pem()).unwrap();
    let wrong = [
        (
            "ca_file = \"ca.pem\"\ncert_file = \"ca.pem\"\nkey_file = \"other.pem\"",
            "kafka.events.key_file: certificate and key do not work",
        ),
        (
            "sasl = \"plain\"\nusername = \"p\"",
            "kafka.events.password_file: it is missing, and sasl is set; add password_file, or remove sasl",
        ),
        (
            "sasl = \"gssapi\"",
            "kafka.events.sasl: \"gssapi\" is not known; write \"plain\" or \"scram-sha-256\" or \"scram-sha-512\"",
        ),
        (
            "tls = true",
            "kafka.events.ca_file: it is missing, and tls is set; name the PEM file, or remove tls",
        ),
        (
            "ca_file = \"key.pem\"",
            "kafka.events.ca_file: it holds no PEM certificate; name a PEM file with -----BEGIN CERTIFICATE-----",
        ),
    ];
    for (lines, expected) in wrong {
        let problems = read(lines).unwrap_err().to_string();
        assert!(problems.contains(expected), "{lines}: {problems}");
    }
    let open = read("sasl = \"plain\"\nusername = \"p\"\npassword_file = \"password\"").unwrap();
    assert!(open.warnings.iter().any(|w| w.key == "kafka.events.sasl"), "{:?}", open.warnings);
}
