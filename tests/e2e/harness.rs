//! What the tests share: a deployment, writers that find the primary through the SDK, and the final reckoning.

use anyhow::{Result, anyhow, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use primacy_client::Client;
use primacy_testbed::ledger::{Lost, LostRecord};
use primacy_testbed::{
    CliOutput, Credentials, Deployment, DeploymentOptions, Ledger, Load, LoadOptions, Locate, RedisAddress,
    Target, wait_for,
};
use serde_json::Value;
use std::time::Duration;

pub const BINARY: &str = env!("CARGO_BIN_EXE_primacy");
/// How long anything may take on a slow machine. Nothing is measured with it.
pub const PATIENCE: Duration = Duration::from_mins(1);
pub const GROUP: &str = "features";

pub fn options() -> DeploymentOptions {
    let mut options = DeploymentOptions::new(BINARY);
    options.cluster.redis = Some(Credentials { username: "primacy".into(), password: "secret".into() });
    options
}

pub async fn deployment() -> Deployment {
    Deployment::start_serving(options()).await.unwrap()
}

pub fn client(d: &Deployment) -> Client {
    Client::builder(d.cluster.endpoints()).deadline(Duration::from_secs(10)).build().unwrap()
}

struct BySdk(Client);

impl Locate for BySdk {
    fn locate<'a>(&'a self, failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>> {
        async move {
            let mut primary = self.0.primary(GROUP).await?;
            if failed.is_some_and(|failed| primary.member.as_ref() == Some(&failed.member)) {
                self.0.report_failure(GROUP, primary.epoch);
                primary = self.0.primary_after(&primary, Duration::from_millis(20)).await?;
            }
            let (member, address) =
                primary.member.zip(primary.address).ok_or_else(|| anyhow!("no primary yet"))?;
            Ok(Target::new(member, address))
        }
        .boxed()
    }
}

/// Writers that follow the primary, and one direct writer at each member.
pub fn load(d: &Deployment) -> Load {
    let options = LoadOptions {
        writers: 4,
        pace: Some(Duration::from_millis(1)),
        duration_max: Duration::from_mins(3),
        strays: d.targets(),
        ..LoadOptions::default()
    };
    Load::start(options, BySdk(client(d))).unwrap()
}

/// So many clients of the SDK that write ten times a second each.
pub fn crowd(d: &Deployment, clients: u16) -> Load {
    let options = LoadOptions {
        writers: clients,
        pace: Some(Duration::from_millis(100)),
        duration_max: Duration::from_mins(3),
        key_prefix: "crowd".to_owned(),
        ..LoadOptions::default()
    };
    Load::start(options, BySdk(client(d))).unwrap()
}

/// Waits until the nodes know how fast the writers are: what is lost is estimated from that.
pub async fn in_full_swing(load: &Load) {
    writes_go_on(load, 3_000).await;
}

/// Waits until `more` writes were acknowledged from here on.
pub async fn writes_go_on(load: &Load, more: u64) {
    let before = load.progress().acked;
    wait_for("writes to go on", PATIENCE, async || {
        let progress = load.progress();
        ensure!(progress.acked >= before + more, "{progress:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Stops the writers and counts: never two wrote, and no more is missing than `reported` bytes.
pub async fn reckon(d: &Deployment, load: Load, reported_bytes: u64) -> Ledger {
    let ledger = load.stop().await;
    let primary = d.wait_settled(PATIENCE).await.unwrap();
    let server = d.group.member(primary.member.as_deref().unwrap()).unwrap();
    // As the writers themselves: the user of the control connection may not read data.
    let lost = ledger.lost(&RedisAddress::new(server.address())).await.unwrap();
    assert!(
        lost.bytes() <= reported_bytes,
        "{} writes of {} bytes are missing, {reported_bytes} bytes reported\n{}\n{}",
        lost.count(),
        lost.bytes(),
        missing(&ledger, &lost),
        d.cli(["history", GROUP, "-o", "json"]).await.unwrap().stdout
    );
    let overlaps = ledger.overlaps();
    assert!(overlaps.is_empty(), "two members wrote at once: {overlaps:?}");
    assert!(ledger.acked() > 0, "nothing was written, so nothing was shown");
    ledger
}

/// Who acknowledged what is missing, and how long before its last acknowledgement.
fn missing(ledger: &Ledger, lost: &Lost) -> String {
    let line = |record: &LostRecord| {
        let last = ledger.acks().filter(|ack| ack.member == record.member).map(|ack| ack.at).max();
        let before = last.map(|last| last - record.at);
        format!(
            "writer {} record {} by {}, {before:?} before its last",
            record.writer, record.n, record.member
        )
    };
    lost.records.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub async fn run(d: &Deployment, words: &str) -> CliOutput {
    let output = d.cli(words.split(' ')).await.unwrap();
    eprintln!("$ {}\n{}{}[{:?}]", output.command, output.stdout, output.stderr, output.status);
    output
}

pub async fn ok(d: &Deployment, words: &str) -> String {
    let output = run(d, words).await;
    assert_eq!(output.status, Some(0), "{words}: {}{}", output.stdout, output.stderr);
    output.stdout
}

/// Runs a command that must be refused with `code`, and returns what it said.
pub async fn refused(d: &Deployment, words: &str, code: i32) -> String {
    let output = run(d, words).await;
    assert_eq!(output.status, Some(code), "{words}: {}{}", output.stdout, output.stderr);
    format!("{}{}", output.stdout, output.stderr)
}

/// All transitions of the history, the newest last, once there are at least `count` and the newest has ended.
pub async fn transitions(d: &Deployment, count: usize) -> Vec<Value> {
    wait_for("the transition to be in the history", PATIENCE, async || {
        let output = d.cli(["history", GROUP, "-o", "json"]).await?.success()?;
        let mut all: Vec<Value> =
            output.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        all.sort_by_key(|t| t["epoch"].as_u64());
        ensure!(all.len() >= count, "{} transitions", all.len());
        let last = all.last().ok_or_else(|| anyhow!("none"))?;
        ensure!(last["outcome"] != "waiting", "not ended: {last}");
        Ok(all)
    })
    .await
    .unwrap()
}

/// The newest transition of the history, once there are at least `count` and it has ended.
pub async fn last_transition(d: &Deployment, count: usize) -> Value {
    transitions(d, count).await.pop().unwrap()
}

/// What a transition says that it lost at most, in bytes of the replication stream.
pub fn lost_bytes(transition: &Value) -> u64 {
    transition["lost"]["bytes"].as_u64().expect("the loss is bounded")
}

/// Waits until the group is in `state`, and returns the answer.
pub async fn wait_state(d: &Deployment, state: &str) -> Value {
    wait_for(&format!("the group to be {state}"), PATIENCE, async || {
        let output = d.cli(["primary", GROUP, "-o", "json"]).await?.success()?;
        let answer: Value = serde_json::from_str(&output.stdout)?;
        ensure!(answer["state"] == state, "{answer}");
        Ok(answer)
    })
    .await
    .unwrap()
}

/// Waits until another member than `old` serves, and returns its name.
pub async fn wait_other(d: &Deployment, old: &str) -> String {
    wait_for(&format!("another member than {old} to serve"), PATIENCE, async || {
        let primary = d.primary().await?;
        let member = primary.member.clone().filter(|m| m != old && primary.state == "serving");
        member.ok_or_else(|| anyhow!("{primary:?}"))
    })
    .await
    .unwrap()
}

/// Waits until a node leads, other than `not`.
pub async fn wait_leader(d: &Deployment, not: Option<u64>) -> u64 {
    wait_for("a leader", PATIENCE, async || {
        let leader = d.cluster.leader().await?;
        ensure!(Some(leader) != not, "n{leader} leads still");
        Ok(leader)
    })
    .await
    .unwrap()
}

/// Waits until no transition is under way, the group serves with all members, and every check would pass.
pub async fn at_rest(d: &Deployment) {
    d.wait_settled(PATIENCE).await.unwrap();
    passes_checks(d, &["switchover", GROUP, "--dry-run"]).await;
}

/// Waits until a switchover to `member` would pass every check.
pub async fn can_go_to(d: &Deployment, member: &str) {
    passes_checks(d, &["switchover", GROUP, "--to", member, "--dry-run"]).await;
}

/// Waits until the nodes have watched the primary for long enough to say what a failover would lose.
pub async fn loss_is_known(d: &Deployment) {
    passes_checks(d, &["failover", GROUP, "--dry-run"]).await;
}

async fn passes_checks(d: &Deployment, dry_run: &[&str]) {
    wait_for(&format!("{dry_run:?} to pass"), PATIENCE, async || {
        let output = d.cli(dry_run).await?;
        ensure!(output.status == Some(0), "{}{}", output.stdout, output.stderr);
        Ok(())
    })
    .await
    .unwrap();
}

/// Makes a node the leader.
pub async fn let_lead(d: &Deployment, id: u64) {
    wait_for(&format!("n{id} to lead"), PATIENCE, async || {
        if d.cluster.leader().await? != id {
            let output = d.cli(["cluster", "transfer", "--to", &id.to_string()]).await?.success()?;
            ensure!(output.stdout.contains(&format!("leader n{id}")), "{}", output.stdout);
        }
        Ok(())
    })
    .await
    .unwrap();
}
