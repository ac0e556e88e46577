use super::{Ask, failure_of};
use crate::exit::Failure;
use crate::show::primary::PrimaryReport;
use clap::{Args, ValueEnum};
use primacy_wire::v1::Consistency;

/// Says who is primary of a group, and where
///
/// Prints the address first. Exits with 1 when the group has no primary yet; a group that is blocked, paused or
/// switching answers with its last primary and its state.
#[derive(Debug, Args)]
#[command(after_long_help = "Consistency:
  linearizable  the leader confirms with a majority that it still leads: never out of date (default)
  lease         the leader answers from its quorum lease: out of date only if clocks run apart
  local         the node asked answers from what it knows, with its age: works without a leader

Examples:
  primacy primary features
  primacy primary features --consistency local
  redis-cli -u redis://$(primacy primary features | cut -d' ' -f1) ping")]
pub(crate) struct PrimaryArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,

    /// How sure the answer must be
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "linearizable")]
    consistency: Level,
}

/// How sure the answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Linearizable,
    Lease,
    Local,
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Self {
        match level {
            Level::Linearizable => Consistency::Linearizable,
            Level::Lease => Consistency::Lease,
            Level::Local => Consistency::Local,
        }
    }
}

pub(crate) async fn run(args: PrimaryArgs, ask: &Ask) -> Result<(), Failure> {
    let answer = ask.client.get_primary(&args.group, args.consistency.into()).await;
    let report = PrimaryReport::from(answer.map_err(|error| failure_of(&error))?);
    if ask.screen.json() {
        ask.screen.object(&report)?;
    } else {
        ask.screen.write(&report.text(ask.screen))?;
    }
    if report.member.is_none() {
        return Err(Failure::failed(format!("{} has no primary yet", args.group))
            .remedy(format!("primacy status {} says what speaks against each member", args.group)));
    }
    Ok(())
}
