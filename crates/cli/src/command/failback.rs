use super::transition::{Wish, follow};
use super::{Ask, Asked, failure_of, requested_by};
use crate::exit::Failure;
use clap::Args;
use primacy_wire::v1;

/// Moves a group back to its most preferred healthy member
///
/// The same road as a switchover, with the same checks, to the member with the highest priority.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy failback features --dry-run
  primacy failback features")]
pub(crate) struct FailbackArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,

    /// Only check, and say what speaks against it
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    asked: Asked,
}

pub(crate) async fn run(args: FailbackArgs, ask: &Ask) -> Result<(), Failure> {
    let wish = Wish { verb: "failback", group: &args.group, dry_run: args.dry_run };
    let request = v1::SwitchoverRequest {
        group: args.group.clone(),
        to: None,
        dry_run: args.dry_run,
        reason: args.asked.reason,
        requested_by: requested_by(),
        failback: true,
    };
    let news = ask.client.admin().switchover(request).await.map_err(|error| failure_of(&error))?;
    follow(&wish, news, ask).await
}
