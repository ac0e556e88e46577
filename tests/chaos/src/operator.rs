//! An operator at work: commands on the command line, and the replacement of a node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use primacy_testbed::{Cli, CliOutput};
use serde_json::Value;
use tokio::time::sleep;

use crate::fault::{Command, Place, SITES};
use crate::record::Record;
use crate::world::{Addition, GROUP, World};

/// An operator does not wait longer for one command.
const PATIENCE: &str = "20s";
/// A group that comes to rest by itself does so within this.
const BLOCKED_FOR: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(500);
/// How long an operator goes on trying to replace a node: faults may last for most of it.
const REPLACE_WITHIN: Duration = Duration::from_secs(150);

/// The words of a command; `at` says where a place is.
pub(crate) fn words(command: Command, at: impl Fn(Place) -> usize) -> Vec<String> {
    let text = match command {
        Command::Switchover => format!("switchover {GROUP} --reason chaos"),
        Command::SwitchoverTo(place) => format!("switchover {GROUP} --to {}", World::member(at(place))),
        Command::Failover => format!("failover {GROUP} --reason chaos"),
        Command::FailoverAtAnyPrice => format!("failover {GROUP} --allow-data-loss"),
        Command::Failback => format!("failback {GROUP}"),
        Command::Pause => format!("pause {GROUP}"),
        Command::Transfer => "cluster transfer".to_owned(),
        Command::Snapshot => "cluster snapshot".to_owned(),
    };
    text.split(' ').map(str::to_owned).collect()
}

/// Runs a command once, whatever comes of it.
pub(crate) async fn run(cli: &Cli, words: Vec<String>) -> String {
    match cli.run(["--timeout".to_owned(), PATIENCE.to_owned()].into_iter().chain(words)).await {
        Ok(output) => outcome(&output),
        Err(error) => format!("{error:#}"),
    }
}

/// What became of a command, in one line.
fn outcome(output: &CliOutput) -> String {
    let code = output.status.map_or("a signal".to_owned(), |code| code.to_string());
    let said = if output.status == Some(0) { &output.stdout } else { &output.stderr };
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    format!("exit {code}: {}", last.trim())
}

/// Resumes the group, as often as it takes.
///
/// # Errors
/// When it is not resumed within `limit`.
pub(crate) async fn resume(cli: &Cli, limit: Duration) -> Result<()> {
    let began = Instant::now();
    loop {
        let output = cli.run(["--timeout", "5s", "resume", GROUP]).await?;
        // A group that is not paused refuses, which is as good.
        if matches!(output.status, Some(0 | 3)) {
            return Ok(());
        }
        ensure!(began.elapsed() < limit, "the group could not be resumed: {}", outcome(&output));
        sleep(RETRY).await;
    }
}

/// Does what the status tells an operator to do when no member can be promoted automatically, because each may lack
/// what was acknowledged: chooses the member with the most data. A group that is not blocked for so long is left alone.
///
/// # Errors
/// When the command line cannot be run.
pub(crate) async fn follow_remedy(cli: &Cli, record: &Record) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < BLOCKED_FOR {
        let Some(group) = group(cli).await else { return Ok(()) };
        if group["blocked"]["code"] != "no_candidate" {
            return Ok(());
        }
        sleep(RETRY).await;
    }
    let Some(group) = group(cli).await else { return Ok(()) };
    let members = group["members"].as_array().context("a group without members")?;
    let most = members.iter().max_by_key(|member| member["offset_bytes"].as_u64());
    let Some(name) = most.and_then(|member| member["name"].as_str()) else { return Ok(()) };
    record.note("remedy", None, format!("operator: no member could be promoted by itself, {name} has most"));
    let words = format!("failover {GROUP} --to {name} --allow-data-loss");
    let said = run(cli, words.split(' ').map(str::to_owned).collect()).await;
    record.note("answer", None, said);
    Ok(())
}

/// The group as its status says.
async fn group(cli: &Cli) -> Option<Value> {
    let output = cli.run(["--timeout", "5s", "status", GROUP, "-o", "json"]).await.ok()?.success().ok()?;
    let status: Value = output.json().ok()?;
    Some(status["groups"][0].clone())
}

/// Makes a new node a member and removes the old one, from wherever an earlier attempt got.
///
/// # Errors
/// When it is not done in time.
pub(crate) async fn replace(cli: Cli, addition: Addition) -> Result<()> {
    let began = Instant::now();
    let mut last = String::new();
    while began.elapsed() < REPLACE_WITHIN {
        match next(&cli, &addition).await {
            Ok(None) => return Ok(()),
            Ok(Some(said)) => last = said,
            Err(error) => last = format!("{error:#}"),
        }
        sleep(RETRY).await;
    }
    bail!("n{} did not take the place of n{} in {REPLACE_WITHIN:?}: {last}", addition.id, addition.old)
}

/// The next step towards it; nothing when it is done.
async fn next(cli: &Cli, addition: &Addition) -> Result<Option<String>> {
    let output = cli.run(["--timeout", "5s", "cluster", "status", "-o", "json"]).await?.success()?;
    let status: Value = output.json()?;
    let nodes = status["nodes"].as_array().context("a cluster without nodes")?;
    let find = |id: u64| nodes.iter().find(|node| node["id"].as_u64() == Some(id));
    let Addition { id, old, site, address } = addition;
    let words = match (find(*id), find(*old)) {
        (None, _) => format!("cluster add {id} --site {} --address {address}", SITES[*site]),
        (Some(new), _) if new["voter"] != true => format!("cluster promote {id}"),
        (Some(_), Some(_)) => format!("cluster remove {old}"),
        (Some(_), None) => return Ok(None),
    };
    Ok(Some(run(cli, words.split(' ').map(str::to_owned).collect()).await))
}
