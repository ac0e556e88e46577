//! The command line as programs see it: exit codes and where things are printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use assert_cmd::Command;
use std::net::TcpListener;
use std::path::PathBuf;

fn primacy() -> Command {
    let mut command = Command::cargo_bin("primacy").unwrap();
    command.env_remove("PRIMACY_ENDPOINTS").env_remove("PRIMACY_LOG");
    command
}

/// Runs it and returns exit code, standard output and standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = primacy().args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [&["--help"][..], &["switchover", "--help"], &["help"][..1]] {
        let (code, out, err) = run(args);
        if args == ["help"] {
            assert_eq!((code, out.as_str()), (2, ""), "there is --help; {err}");
        } else {
            assert_eq!((code, err.as_str()), (0, ""));
            assert!(out.contains("primacy"), "{out}");
        }
    }
    assert_eq!(run(&["--version"]), (0, format!("primacy {}\n", env!("CARGO_PKG_VERSION")), String::new()));
}

#[test]
fn bad_usage_exits_with_2_and_says_what_is_right() {
    for (args, says) in [
        (&["swichover", "features"][..], "switchover"),
        (&["switchover"], "<GROUP>"),
        (&["primary", "features", "--consistency", "strong"], "linearizable"),
        (&["groups", "--timeout", "10"], "a number with a unit"),
        (&["groups", "--endpoints", "localhost"], "the port is missing"),
        (&["groups", "-o", "yaml"], "json"),
        (&["history", "features", "--last", "0"], "1.."),
        (&["cluster"], "status"),
        (&[], "Usage"),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.contains(says), "{args:?}: {err}");
    }
}

#[test]
fn no_node_reachable_exits_with_4_and_says_which_were_tried() {
    let (one, other) = (nobody(), nobody());
    let endpoints = format!("{one},{other}");
    let on_a_group =
        ["primary", "history", "failback", "pause", "resume", "status", "switchover", "failover"];
    let commands = on_a_group.map(|command| vec![command, "features"]);
    for mut args in commands.into_iter().chain([vec!["groups"], vec!["cluster", "status"]]) {
        args.extend(["--endpoints", &endpoints, "--timeout", "300ms"]);
        let (code, out, err) = run(&args);
        assert_eq!((code, out.as_str()), (4, ""), "{args:?}: {err}");
        assert!(err.starts_with("error: ") && err.contains("remedy: "), "{args:?}: {err}");
        assert!(err.contains("--endpoints"), "{args:?}: {err}");
    }
}

#[test]
fn endpoints_come_from_the_environment_too() {
    let address = nobody();
    let output =
        primacy().env("PRIMACY_ENDPOINTS", &address).args(["groups", "--timeout", "300ms"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains(&address), "{err}");
}

const NODE: &str = r#"
[node]
id = 1
site = "east"
data_dir = "data"
listen = "127.0.0.1:7101"

[cluster]
name = "prod"
[[cluster.peer]]
id = 1
site = "east"
address = "127.0.0.1:7101"
"#;

const GROUPS: &str = r#"
[[redis]]
name = "features"
[[redis.member]]
name = "east-a"
site = "east"
address = "10.0.0.1:6379"
[[redis.member]]
name = "west-a"
site = "west"
address = "10.0.0.2:6379"
"#;

#[test]
fn valid_files_are_said_to_be_valid() {
    let dir = tempfile::tempdir().unwrap();
    let (node, groups) = (file(&dir, "node.toml", NODE), file(&dir, "groups.toml", GROUPS));
    let args = ["check", "-c", node.to_str().unwrap(), "-f", groups.to_str().unwrap()];
    let (code, out, err) = run(&args);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("node.toml: valid\n") && out.contains("groups.toml: valid\n"), "{out}");
    assert!(out.contains("redis.features.member.west-a.site: no founding node is at site west"), "{out}");
    let (code, out, _) = run(&[&args[..], &["-o", "json"]].concat());
    assert_eq!((code, out.lines().count()), (0, 2));
    for line in out.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["valid"], true);
    }
}

#[test]
fn every_problem_of_a_file_is_listed_with_key_reason_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let node = file(
        &dir,
        "node.toml",
        &NODE
            .replace("listen =", "lisen =")
            .replace("id = 1\nsite = \"east\"\ndata", "site = \"east\"\ndata"),
    );
    let groups = file(&dir, "groups.toml", &GROUPS.replace("10.0.0.2:6379", "10.0.0.1:6379"));
    let (code, out, err) = run(&["check", "-c", node.to_str().unwrap(), "-f", groups.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    for says in ["node.id: ", "lisen", "listen", "redis.features", "remedy: ", "groups.toml is not valid"] {
        assert!(err.contains(says), "{says}: {err}");
    }
    let (code, out, _) = run(&["check", "-c", node.to_str().unwrap(), "-o", "json"]);
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &object["valid"]), (2, &serde_json::Value::Bool(false)));
    assert!(object["problems"].as_array().unwrap().len() >= 2, "{out}");
}

#[test]
fn a_bad_file_is_refused_before_anybody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let bad = file(&dir, "bad.toml", "[[redis]]\nname = \"x\"\nflavour = \"sweet\"\n");
    let missing = dir.path().join("missing.toml");
    for path in [&bad, &missing] {
        let path = path.to_str().unwrap();
        for args in [
            &["apply", "-f", path][..],
            &["serve", "-c", path],
            &["redis-conf", "--group", "x", "--member", "a", "-f", path],
        ] {
            let (code, out, err) = run(args);
            assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
            assert!(err.contains("is not valid") && err.contains("remedy: "), "{args:?}: {err}");
        }
    }
}

#[test]
fn redis_conf_needs_no_node_when_it_has_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let groups = file(&dir, "groups.toml", GROUPS);
    let args = ["redis-conf", "-f", groups.to_str().unwrap(), "--group", "features", "--member"];
    let (code, out, err) = run(&[&args[..], &["east-a"]].concat());
    assert_eq!((code, err.as_str()), (0, ""));
    for line in ["replicaof 127.0.0.1 1", "min-replicas-to-write 1000000", "replica-announce-ip 10.0.0.1"] {
        assert!(out.lines().any(|found| found == line), "{line}: {out}");
    }
    let (code, _, err) = run(&[&args[..], &["north-a"]].concat());
    assert_eq!(code, 2);
    assert!(err.contains("no member north-a; it has east-a, west-a"), "{err}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, err) = run(&["completions", shell]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("switchover") && out.contains("redis-conf"), "{shell}");
    }
}

#[test]
fn the_demo_says_what_is_missing() {
    let output =
        primacy().args(["demo"]).env("PRIMACY_REDIS_SERVER", "/nowhere/redis-server").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("PRIMACY_REDIS_SERVER"), "{err}");
}
