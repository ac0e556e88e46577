use super::invalid_file;
use crate::args::Global;
use crate::exit::Failure;
use crate::screen::Format;
use clap::Args;
use primacy_node::Node;
use primacy_node::config::NodeConfig;
use primacy_node::telemetry::{LogFormat, init_logging};
use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs a node
///
/// On SIGTERM or SIGINT it hands leadership over, leaves every primary serving, and exits with 0. A second signal
/// ends it at once.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Logs go to standard error, as JSON with -o json; -v logs more, and PRIMACY_LOG takes a filter such as debug.

Examples:
  primacy check -c /etc/primacy/node.toml    validate first
  primacy serve -c /etc/primacy/node.toml"
)]
pub(crate) struct ServeArgs {
    /// The node's configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) async fn run(args: ServeArgs, global: &Global) -> Result<(), Failure> {
    let config = NodeConfig::load(&args.config).map_err(|problems| invalid_file(&args.config, &problems))?;
    let format = match global.output {
        Format::Table => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    let filter = (global.verbose > 0).then_some(if global.verbose == 1 { "debug,h2=info" } else { "trace" });
    init_logging(format, filter).map_err(|error| Failure::usage(error.to_string()))?;
    for warning in &config.warnings {
        tracing::warn!(key = warning.key, remedy = warning.remedy, "{}", warning.reason);
    }
    let mut stop = Stop::listen()?;
    let node = Node::start(config)
        .await
        .map_err(|error| Failure::failed(format!("the node cannot start: {error}")))?;
    let mut stop_again = Stop::listen()?;
    let handover = node.run_until(async move { stop.asked().await });
    tokio::select! {
        ended = handover => ended.map_err(|error| Failure::failed(format!("the node has ended: {error}"))),
        () = async { stop_again.asked().await; stop_again.asked().await } => {
            Err(Failure::failed("stopped at once by a second signal, without handing over"))
        }
    }
}

/// The signals that ask the node to end.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))
        };
        Ok(Stop { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}
