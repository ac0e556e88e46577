use crate::exit::Failure;
use crate::screen::Screen;
use clap::Args;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Three sites on this machine, real servers, load, faults, and a report
///
/// Starts three nodes and three Redis servers on loopback, writes at full speed, kills the primary and the leading
/// coordinator, switches over and fails back, and counts what clients saw. Takes about half a minute, and leaves
/// nothing behind.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Exits with 0 only when never two members wrote at once, the switchovers lost nothing, and no failover lost more
than it reported.

Needs redis-server, or with --kafka a Java and Kafka: scripts/setup installs them."
)]
pub(crate) struct DemoArgs {
    /// Keep the directory with logs and data, and say where it is
    #[arg(long)]
    keep: bool,
    /// Show a group of two real Kafka clusters instead: the mirror, and what becomes of it when things die
    #[arg(long)]
    kafka: bool,
}

/// Set, it makes the testbed keep its directories and name them in the log.
const KEEP: &str = "PRIMACY_TESTBED_KEEP";

pub(crate) async fn run(args: DemoArgs, screen: Screen) -> Result<(), Failure> {
    if args.keep && std::env::var_os(KEEP).is_none() {
        return Err(again_with_keep());
    }
    if args.kafka { crate::demo::run_kafka(screen).await } else { crate::demo::run(screen).await }
}

/// Becomes the same command with the variable set: a running process cannot change its environment safely.
fn again_with_keep() -> Failure {
    let error = match std::env::current_exe() {
        Ok(binary) => Command::new(binary).args(std::env::args_os().skip(1)).env(KEEP, "1").exec(),
        Err(error) => error,
    };
    Failure::failed(format!("cannot start again to keep the data: {error}"))
        .remedy(format!("set {KEEP}=1 in the environment instead"))
}
