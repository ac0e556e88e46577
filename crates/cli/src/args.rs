//! The command line: what is common to all commands, and the list of commands.

use crate::command::{
    apply, check, cluster, completions, demo, failback, failover, groups, history, pause, primary,
    redis_conf, resume, serve, status, switchover, watch,
};
use crate::screen::Format;
use clap::{ArgAction, Args, Parser, Subcommand};
use std::time::Duration;

const ABOUT: &str =
    "Primacy decides which member of a group is primary, and makes sure that there is never a second writer.

Any node answers: it forwards to the leader or names it, and this command follows. Results go to standard \
output, logs and errors to standard error.";

const AFTER: &str = "\
Exit codes:
  0  done
  1  failed
  2  bad usage or configuration
  3  refused by a rule, which is named; nothing was changed
  4  no leader, or no node reachable
  5  timed out, outcome unknown; the message says how to find out

Where to begin:
  primacy demo                            see it work on this machine, in half a minute
  primacy check -c node.toml              validate a node's configuration
  primacy serve -c node.toml              run a node
  primacy apply -f groups.toml --dry-run  see what a change of the groups would do
  primacy status                          see how everything is";

/// Decides which site is primary.
#[derive(Debug, Parser)]
#[command(name = "primacy", version, long_about = ABOUT, after_long_help = AFTER)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Nodes to ask, tried in turn
    #[arg(
        long,
        global = true,
        env = "PRIMACY_ENDPOINTS",
        hide_env_values = true,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        value_parser = endpoint,
        default_value = "127.0.0.1:7101"
    )]
    pub(crate) endpoints: Vec<String>,

    /// How to print results; streams print one JSON object a line
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,

    /// How long to wait for an answer, such as 500ms or 1m
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(crate) timeout: Duration,

    /// Log to standard error what happens underneath; twice for more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The commands, in the order of the help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Status(status::StatusArgs),
    Groups(groups::GroupsArgs),
    Primary(primary::PrimaryArgs),
    Watch(watch::WatchArgs),
    History(history::HistoryArgs),
    Switchover(switchover::SwitchoverArgs),
    Failover(failover::FailoverArgs),
    Failback(failback::FailbackArgs),
    Pause(pause::PauseArgs),
    Resume(resume::ResumeArgs),
    Apply(apply::ApplyArgs),
    Check(check::CheckArgs),
    RedisConf(redis_conf::RedisConfArgs),
    Serve(serve::ServeArgs),
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("it must be more than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write a number with a unit, such as 500ms, 10s or 1m")),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    match text.trim().parse::<primacy_core::Address>() {
        Ok(address) if !address.tls && !text.contains("://") => Ok(address.authority()),
        Ok(_) => Err("write HOST:PORT without a scheme".to_owned()),
        Err(error) => Err(format!("{}; write HOST:PORT", error.reason)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        crate::command().debug_assert();
    }

    #[test]
    fn endpoints_are_a_list() {
        let words = ["primacy", "groups", "--endpoints", "a:1, [::1]:2", "--timeout", "1m"];
        let cli = Cli::try_parse_from(words).unwrap();
        assert_eq!(cli.global.endpoints, ["a:1", "[::1]:2"]);
        assert_eq!(cli.global.timeout, Duration::from_mins(1));
    }

    #[test]
    fn bad_values_say_what_to_write() {
        for (flag, value, says) in [
            ("--endpoints", "http://a:1", "HOST:PORT"),
            ("--endpoints", "a", "the port is missing"),
            ("--timeout", "10", "a number with a unit"),
            ("--timeout", "0s", "more than nothing"),
        ] {
            let error = Cli::try_parse_from(["primacy", "groups", flag, value]).unwrap_err().to_string();
            assert!(error.contains(says), "{value}: {error}");
        }
    }
}
