//! The demo: three sites on this machine, real servers, load, faults, and a report that is counted, not believed.
//!
//! The problem: "never two writers" and "nothing lost" are claims until somebody kills a primary under load and
//! counts. The idea: the deployment and the ledger of the testbed, one fault after the other, and a verdict that
//! follows from the ledger alone. Everything that was started ends with the value that owns it, on every path.
//!
//! This module must not know how Primacy decides: it asks through the SDK like any client.

mod kafka;
mod locate;
mod story;
mod timeline;
mod verdict;

use crate::exit::Failure;
use crate::screen::Screen;
use primacy_testbed::KafkaVersion;
use timeline::Timeline;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the demo and prints its report; fails when something was lost or two wrote.
pub(crate) async fn run(screen: Screen) -> Result<(), Failure> {
    check_redis().await?;
    let interrupted = interrupted()?;
    let timeline = Timeline::new(screen);
    // Dropping the story, finished or not, ends every process and removes every file that it started.
    let rows = tokio::select! {
        told = story::tell(&timeline) => told,
        () = interrupted => return Err(Failure::failed("interrupted: everything that was started has ended")),
    };
    timeline.end();
    let rows = rows.map_err(|error| Failure::failed(format!("the demo cannot go on: {error:#}")))?;
    let problems = verdict::problems(&rows);
    if screen.json() {
        screen.object(&verdict::Report::new(&rows, &problems))?;
    } else {
        screen.write(&verdict::text(&rows, &problems, screen))?;
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::failed(problems.join("\n  "))) }
}

/// Runs the demo of a Kafka group; fails when the standby does not hold exactly what the active cluster holds.
pub(crate) async fn run_kafka(screen: Screen) -> Result<(), Failure> {
    if !KafkaVersion::V4_1.is_installed() {
        let message =
            format!("the demo needs a real Kafka, and {} is not there", KafkaVersion::V4_1.number());
        return Err(Failure::failed(message).remedy("run scripts/demo --kafka, which installs it"));
    }
    let interrupted = interrupted()?;
    let timeline = Timeline::new(screen);
    let report = tokio::select! {
        told = kafka::tell(&timeline) => told,
        () = interrupted => return Err(Failure::failed("interrupted: everything that was started has ended")),
    };
    timeline.end();
    let report = report.map_err(|error| Failure::failed(format!("the demo cannot go on: {error:#}")))?;
    if screen.json() {
        screen.object(&report)?;
    } else {
        screen.write(&report.text(screen))?;
    }
    report.problem().map_or(Ok(()), |problem| Err(Failure::failed(problem)))
}

/// Fails at once, and not after the nodes were started, when there is no redis-server.
async fn check_redis() -> Result<(), Failure> {
    let program = std::env::var_os("PRIMACY_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let version = tokio::process::Command::new(&program).arg("--version").output().await;
    let problem = match version {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => format!("it ends with {}", output.status),
        Err(error) => error.to_string(),
    };
    let message =
        format!("the demo needs real servers, and {} does not run: {problem}", program.to_string_lossy());
    Err(Failure::failed(message).remedy(
        "run scripts/setup, which installs it, or set PRIMACY_REDIS_SERVER to the path of redis-server",
    ))
}

/// Ends at the first SIGINT or SIGTERM.
fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}
