//! What `check` and `apply` refuse: key, reason and remedy, and nothing is changed.

use crate::harness::{GROUP, PATIENCE, at_rest, deployment, ok, options, run};
use primacy_testbed::{Deployment, RedisOptions, RedisServer, ports, wait_for};
use serde_json::Value;
use std::io::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Bad<'a> {
    d: &'a Deployment,
    dir: tempfile::TempDir,
    before: String,
}

impl<'a> Bad<'a> {
    async fn new(d: &'a Deployment) -> Bad<'a> {
        at_rest(d).await;
        let mut bad = Bad { d, dir: tempfile::tempdir().unwrap(), before: String::new() };
        bad.before = bad.groups().await;
        bad
    }

    /// Applies a file that must be refused, naming all of `words`.
    async fn refuse(&self, text: &str, words: &[&str]) {
        let path = self.dir.path().join("bad.toml");
        std::fs::write(&path, text).unwrap();
        let output = run(self.d, &format!("apply -f {}", path.display())).await;
        assert_eq!(output.status, Some(2), "{text}\n{output:?}");
        for word in words {
            assert!(output.stderr.contains(word), "{word:?} is missing in\n{}", output.stderr);
        }
        assert_eq!(self.groups().await, self.before, "something was changed");
    }

    /// What an apply could change. Who is attached by when moves by itself.
    async fn groups(&self) -> String {
        let text = ok(self.d, "groups -o json").await;
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let groups = value["groups"].as_array().unwrap().iter().map(|group| {
            let (primary, standbys) = (&group["primary"], &group["standbys_total"]);
            format!("{} {} {} {standbys}", group["group"], primary["address"], primary["epoch"])
        });
        groups.collect::<Vec<_>>().join("\n")
    }
}

fn group(name: &str, members: &[(&str, &str, &str)]) -> String {
    let member = |(member, site, address): &(&str, &str, &str)| {
        format!("[[redis.member]]\nname = \"{member}\"\nsite = \"{site}\"\naddress = \"{address}\"\n")
    };
    let members: Vec<String> = members.iter().map(member).collect();
    format!("[[redis]]\nname = \"{name}\"\n{}", members.concat())
}

async fn plain(dir: &std::path::Path, name: &str, config: &[&str]) -> RedisServer {
    let mut options = RedisOptions::new(name, dir.join(name));
    options.config = config.iter().map(|line| (*line).to_owned()).collect();
    RedisServer::start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_right() {
    let d = deployment().await;
    let taken = d.group.member("north-a").unwrap().address().to_owned();
    let bad = Bad::new(&d).await;
    let two = |name| group(name, &[("a", "east", "127.0.0.1:1001"), ("b", "west", "127.0.0.1:1002")]);

    bad.refuse(
        &two("x").replace("name = \"x\"", "name = \"x\"\nfailovr = \"manual\""),
        &["failovr", "failover"],
    )
    .await;
    bad.refuse(&two("x").replace("name = \"x\"", "name = \"x\"\ndown_after = 5"), &["down_after"]).await;
    bad.refuse(&two("x").replace("name = \"x\"", "name = \"x\"\nmax_loss = \"much\""), &["max_loss", "MiB"])
        .await;
    bad.refuse(&two("x").replace("name = \"x\"", "name = \"x\"\ndurability = \"quorum\""), &["durability"])
        .await;
    bad.refuse(&two("x").replace("west", "east"), &["redis.x.member", "site east", "fence = \"none\""]).await;
    bad.refuse(&(two("x") + &two("x")), &["x"]).await;
    bad.refuse(
        &group("x", &[("a", "east", "127.0.0.1:1001"), ("a", "west", "127.0.0.1:1002")]),
        &["a", "twice"],
    )
    .await;
    bad.refuse(
        &group("x", &[("a", "east", "127.0.0.1:1001"), ("b", "west", "127.0.0.1:1001")]),
        &["127.0.0.1:1001"],
    )
    .await;
    bad.refuse(&group("x", &[("a", "east", "127.0.0.1:1001"), ("b", "mars", "127.0.0.1:1002")]), &["mars"])
        .await;
    bad.refuse(&group("x", &[("a", "east", "127.0.0.1:1001")]), &["redis.x", "at least two"]).await;
    bad.refuse(&group("x", &[("a", "east", "127.0.0.1:1001"), ("b", "west", &taken)]), &[&taken, "features"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_cannot_be_members() {
    let d = deployment().await;
    let bad = Bad::new(&d).await;
    let servers = tempfile::tempdir().unwrap();
    let auth = ["user primacy on >secret ~* &* +@all"];
    let fenced = ["replicaof 127.0.0.1 1", "min-replicas-to-write 1000000"];
    let good = plain(servers.path(), "good", &[&auth[..], &fenced].concat()).await;
    let with = |other: &str| group("x", &[("a", "east", good.address()), ("b", "west", other)]);

    let stranger = plain(servers.path(), "stranger", &auth).await;
    let source = format!("replicaof 127.0.0.1 {}", stranger.port());
    let of_stranger = plain(servers.path(), "of-stranger", &[auth[0], &source]).await;
    bad.refuse(&with(of_stranger.address()), &["redis.x.member", "replica"]).await;
    bad.refuse(&with(stranger.address()), &["redis.x.member.b", "could restart writable", "redis-conf"])
        .await;

    let source = format!("replicaof 127.0.0.1 {}", good.port());
    let writable = plain(servers.path(), "writable", &[auth[0], &source, "replica-read-only no"]).await;
    bad.refuse(&with(writable.address()), &["replica-read-only"]).await;

    let cluster = plain(servers.path(), "cluster", &[auth[0], "cluster-enabled yes"]).await;
    bad.refuse(&with(cluster.address()), &["cluster"]).await;

    let secret =
        plain(servers.path(), "secret", &["requirepass other", "user primacy on >wrong ~* &* +@all"]).await;
    bad.refuse(&with(secret.address()), &["password"]).await;

    let nobody = format!("127.0.0.1:{}", ports::free().unwrap());
    bad.refuse(&with(&nobody), &[&nobody]).await;

    bad.refuse(&with(&fake("redis_version:5.0.14").await), &["6.2"]).await;
    bad.refuse(&with(&fake("redis_version:7.0.15\r\nredis_mode:sentinel").await), &["Sentinel"]).await;
}

/// A server that says of itself what it is told to, and knows nothing else.
async fn fake(info: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(n) = socket.read(&mut buffer).await {
                    if n == 0 {
                        return;
                    }
                    let text = String::from_utf8_lossy(&buffer[..n]).to_lowercase();
                    // One answer a command: they arrive as RESP arrays.
                    for command in text.split('*').skip(1) {
                        let answer = if command.contains("info") {
                            format!("${}\r\n{info}\r\n", info.len())
                        } else if command.contains("ping") {
                            "+PONG\r\n".to_owned()
                        } else {
                            "+OK\r\n".to_owned()
                        };
                        if socket.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_deployment_is_adopted_as_it_is() {
    let mut options = options();
    options.member_config = primacy_testbed::MemberConfig::Lines(vec![
        "user primacy on >secret ~* &* +@all".to_owned(),
        "user default on nopass ~* &* +@all".to_owned(),
    ]);
    let d = Deployment::start(options).await.unwrap();
    let north = d.group.member("north-a").unwrap();
    let mut c = north.connection().await.unwrap();
    let _: () = redis::cmd("SET").arg("k").arg("v").query_async(&mut c).await.unwrap();
    for follower in ["east-a", "west-a"] {
        let mut c = d.group.member(follower).unwrap().connection().await.unwrap();
        let _: () =
            redis::cmd("REPLICAOF").arg("127.0.0.1").arg(north.port()).query_async(&mut c).await.unwrap();
    }
    d.group.wait_replicating("north-a", PATIENCE).await.unwrap();
    let refused = d.apply().await.unwrap();
    assert_eq!(refused.status, Some(2), "{refused:?}");
    for word in
        ["redis.features.member.north-a", "could restart writable", "primacy redis-conf --group features"]
    {
        assert!(refused.stderr.contains(word), "{word:?} is missing in\n{}", refused.stderr);
    }
    // What an operator adds on disk, with the servers running on.
    for server in d.group.servers() {
        let conf = server.log().with_file_name("redis.conf");
        let lines = "\nreplicaof 127.0.0.1 1\nmin-replicas-to-write 1000000\n";
        std::fs::OpenOptions::new().append(true).open(conf).unwrap().write_all(lines.as_bytes()).unwrap();
    }
    d.apply().await.unwrap().success().unwrap();
    let primary = d.wait_settled(PATIENCE).await.unwrap();
    assert_eq!(primary.member.as_deref(), Some("north-a"), "the one that serves, not the preferred one");
    wait_restarts(&d, "fenced", |notes| !notes.contains("restart")).await;
    wait_for("the key at the standbys", PATIENCE, async || {
        let mut c = d.group.member("east-a")?.connection().await?;
        let v: Option<String> = redis::cmd("GET").arg("k").query_async(&mut c).await?;
        anyhow::ensure!(v.as_deref() == Some("v"), "{v:?}");
        Ok(())
    })
    .await
    .unwrap(); // And what somebody takes away again.
    let conf = d.group.member("west-a").unwrap().log().with_file_name("redis.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, text.replace("min-replicas-to-write 1000000", "min-replicas-to-write 0")).unwrap();
    let told =
        |notes: &str| notes.contains("west-a would not restart fenced") && notes.contains("redis-conf");
    wait_restarts(&d, "open", told).await;
    std::fs::remove_file(&conf).unwrap();
    let told = |notes: &str| notes.contains("that west-a restarts fenced is unproven");
    wait_restarts(&d, "unproven", told).await;
}

/// Waits until status says so of what becomes of west-a when it restarts, and the notes are right.
async fn wait_restarts(d: &Deployment, word: &str, notes: impl Fn(&str) -> bool) {
    wait_for(&format!("west-a to be {word} on disk"), PATIENCE, async || {
        let status: Value = d.cli(["status", GROUP, "-o", "json"]).await?.success()?.json()?;
        let group = &status["groups"][0];
        let members = group["members"].as_array().into_iter().flatten();
        let restarts = members.clone().find(|m| m["member"] == "west-a").map(|m| &m["restarts"]);
        anyhow::ensure!(restarts.is_some_and(|r| r == word), "{restarts:?}");
        anyhow::ensure!(notes(&group["notes"].to_string()), "{}", group["notes"]);
        Ok(())
    })
    .await
    .unwrap();
}
