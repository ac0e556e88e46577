//! The operator's commands against a real deployment: three nodes, three servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use primacy_testbed::{CliOutput, Credentials, Deployment, DeploymentOptions, wait_for};
use serde_json::Value;
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_primacy");
const PATIENCE: Duration = Duration::from_secs(30);

async fn deployment() -> Deployment {
    let mut options = DeploymentOptions::new(BINARY);
    options.cluster.redis = Some(Credentials { username: "primacy".into(), password: "secret".into() });
    Deployment::start_serving(options).await.unwrap()
}

async fn run(deployment: &Deployment, words: &str) -> CliOutput {
    deployment.cli(words.split(' ')).await.unwrap()
}

async fn ok(deployment: &Deployment, words: &str) -> String {
    let output = run(deployment, words).await;
    assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""), "{words}: {}", output.stdout);
    output.stdout
}

async fn refused(deployment: &Deployment, words: &str, code: i32) -> String {
    let output = run(deployment, words).await;
    assert_eq!(output.status, Some(code), "{words}: {} {}", output.stdout, output.stderr);
    output.stderr
}

fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[tokio::test]
async fn an_operator_looks_around_and_switches() {
    let deployment = deployment().await;

    let text = ok(&deployment, "primary features").await;
    let address = deployment.group.member("east-a").unwrap().address();
    assert!(text.starts_with(&format!("{address}  east-a (east)  epoch ")), "{text}");
    let primary = object(&ok(&deployment, "primary features --consistency local -o json").await);
    assert_eq!(
        (primary["state"].as_str(), primary["consistency"].as_str()),
        (Some("serving"), Some("local"))
    );
    ok(&deployment, "primary features --consistency lease").await;

    // The servers replicate; the leader sees it with its next look at them.
    wait_for("both standbys to be ready", PATIENCE, async || {
        let groups = deployment.cli(["groups"]).await?.success()?.stdout;
        anyhow::ensure!(groups.lines().nth(1).is_some_and(|line| line.contains("serving  2/2")), "{groups}");
        Ok(())
    })
    .await
    .unwrap();
    let status = ok(&deployment, "status").await;
    assert!(status.starts_with("testbed  3/3 nodes  leader n"), "{status}");
    let status = ok(&deployment, "status features").await;
    assert!(status.contains("SEEN FROM") && status.contains("shut"), "{status}");
    let status = object(&ok(&deployment, "status -o json").await);
    assert_eq!(status["groups"][0]["members"].as_array().unwrap().len(), 3);
    assert!(ok(&deployment, "cluster status").await.contains("leader"));

    // Only the checks: nothing happens.
    let checks = ok(&deployment, "switchover features --dry-run").await;
    assert!(checks.starts_with("checks    ") && checks.contains("  ok  "), "{checks}");
    let said = ok(&deployment, "switchover features --to north-a --reason drill").await;
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("features is served by north-a (north), epoch "), "{said}");
    assert!(last.ends_with(", 0 lost."), "{said}");
    for phase in ["checks ", "fence ", "rescue ", "promote ", "redirect "] {
        assert!(said.lines().any(|line| line.starts_with(phase)), "{phase}: {said}");
    }
    let said = ok(&deployment, "failback features -o json").await;
    let words: Vec<Value> = said.lines().map(object).collect();
    assert_eq!(words.first().unwrap()["progress"], "checks");
    let ended = words.last().unwrap();
    assert_eq!(
        (&ended["progress"], &ended["transition"]["to"]),
        (&"ended".into(), &"east-a".into()),
        "{said}"
    );

    let history = ok(&deployment, "history features --last 2 -o json").await;
    let history: Vec<Value> = history.lines().map(object).collect();
    assert_eq!(history[0]["reason"], "drill");
    assert_eq!((&history[1]["cause"], &history[1]["outcome"]), (&"failback".into(), &"settled".into()));
    assert!(history[1]["requested_by"].as_str().unwrap().contains('@'));
    assert!(ok(&deployment, "history features").await.contains("drill"));

    assert!(ok(&deployment, "cluster snapshot").await.starts_with("snapshot up to log index "));
    let before = deployment.cluster.leader().await.unwrap();
    let to = 1 + before % 3;
    ok(&deployment, &format!("cluster transfer --to {to}")).await;
    wait_for("the transfer", PATIENCE, async || {
        let leader = deployment.cluster.leader().await?;
        anyhow::ensure!(leader == to, "n{leader} leads");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let deployment = deployment().await;

    let error = refused(&deployment, "switchover features --to east-a", 3).await;
    assert!(error.starts_with("refused by rule "), "{error}");
    for words in
        ["failback features", "failback features --dry-run", "switchover features --to east-a --dry-run"]
    {
        let error = refused(&deployment, words, 3).await;
        assert!(error.starts_with("refused by rule "), "{error}");
    }
    for words in
        ["primary nothing", "status nothing", "switchover nothing", "pause nothing", "history nothing"]
    {
        let error = refused(&deployment, words, 2).await;
        assert!(error.contains("nothing") && error.contains("primacy groups"), "{error}");
    }

    // A group that shares a server with another is refused as a whole, and nothing is changed.
    deployment.wait_settled(PATIENCE).await.unwrap();
    let before = object(&ok(&deployment, "groups -o json").await);
    let groups = deployment.groups_toml().unwrap();
    let text = std::fs::read_to_string(&groups).unwrap();
    let other = text.replace("\"features\"", "\"other\"");
    std::fs::write(&groups, other).unwrap();
    let error = refused(&deployment, &format!("apply -f {}", groups.display()), 2).await;
    assert!(error.contains("nothing was changed") && error.contains("in group other"), "{error}");
    assert_eq!(object(&ok(&deployment, "groups -o json").await)["groups"], before["groups"]);

    // The same file changes nothing; another setting is named.
    std::fs::write(&groups, &text).unwrap();
    let apply = format!("apply -f {}", groups.display());
    assert!(ok(&deployment, &apply).await.starts_with("nothing to change"));
    let changed = text.replace("name = \"features\"\n", "name = \"features\"\ndown_after = \"2s\"\n");
    std::fs::write(&groups, changed).unwrap();
    let dry = ok(&deployment, &format!("{apply} --dry-run")).await;
    assert!(
        dry.starts_with("~ features changed") && dry.contains("down_after") && dry.contains("dry run"),
        "{dry}"
    );
    assert!(ok(&deployment, &apply).await.contains("1 group changed, 0 groups unchanged, revision "));

    assert!(ok(&deployment, "pause features --reason disks").await.starts_with("features is paused"));
    let status = ok(&deployment, "status features").await;
    assert!(status.contains("paused by ") && status.contains(": disks"), "{status}");
    let resumed = object(&ok(&deployment, "resume features -o json").await);
    assert_eq!((&resumed["done"], &resumed["group"]), (&"resumed".into(), &"features".into()));
}

#[tokio::test]
async fn a_killed_primary_is_explained() {
    let deployment = deployment().await;
    deployment.group.member("east-a").unwrap().kill().unwrap();
    wait_for("the failover in the history", PATIENCE, async || {
        let output = deployment.cli(["history", "features", "--last", "1", "-o", "json"]).await?.success()?;
        let last = object(output.stdout.trim_end());
        anyhow::ensure!(last["cause"] == "death" && last["outage_ms"].is_number(), "{last}");
        Ok(())
    })
    .await
    .unwrap();
    let history = ok(&deployment, "history features --last 1").await;
    // Long cells are wrapped.
    let words = history.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("east-a -> ") && words.contains("detached: process"), "{history}");
    assert!(words.contains("connection to east-a ended by EOF"), "{history}");
    let status = ok(&deployment, "status features").await;
    assert!(status.contains("  dead  "), "{status}");

    // What a watcher that was away missed, from the first revision on.
    let mut watch = tokio::process::Command::new(BINARY)
        .args(["watch", "features", "--from", "1", "-o", "json", "--endpoints"])
        .arg(deployment.cluster.endpoints().join(","))
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(watch.stdout.take().unwrap()));
    let death = tokio::time::timeout(PATIENCE, async {
        loop {
            let event = object(&lines.next_line().await.unwrap().expect("the watch goes on"));
            if event["event"] == "transition_started" && event["cause"] == "death" {
                return event;
            }
        }
    });
    assert_eq!(death.await.unwrap()["from"], "east-a");
}

#[tokio::test]
async fn a_node_ends_in_order_and_a_watched_status_says_so() {
    let deployment = deployment().await;
    let leader = deployment.cluster.leader().await.unwrap();
    let mut watch = tokio::process::Command::new(BINARY)
        .args(["status", "features", "--watch", "-o", "json", "--endpoints"])
        .arg(deployment.cluster.endpoints().join(","))
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(watch.stdout.take().unwrap()));
    let mut next = async || {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it goes on in time");
        object(&line.unwrap().expect("the watch goes on"))
    };
    assert_eq!(next().await["leader"]["id"], leader);

    let status = deployment.cluster.node(leader).unwrap().process().terminate(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "SIGTERM is no failure");
    let handed_over = async {
        loop {
            let status = next().await;
            let leader_now = status["leader"]["id"].as_u64();
            if leader_now.is_some_and(|now| now != leader) {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, handed_over).await.unwrap();
    assert_eq!(status["groups"][0]["primary"]["member"], "east-a", "the primary goes on serving");
}
