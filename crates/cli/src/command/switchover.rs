use super::transition::{Wish, follow};
use super::{Ask, Asked, failure_of, requested_by};
use crate::exit::Failure;
use clap::Args;
use primacy_wire::v1;

/// Moves a group to another member, planned and without loss
///
/// Checks first: the primary and the target are seen by a majority of sites, the target replicates and has
/// caught up, no other transition is under way. Then the old primary is closed, the target reads the last byte,
/// is promoted and opened. Whatever fails before the promotion is rolled back, and the old primary serves again.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy switchover features --dry-run                    only the checks
  primacy switchover features                              to the best standby
  primacy switchover features --to north-a --reason 'kernel update'

Exits with 3 when a check fails (it is named), with 1 when it was rolled back.")]
pub(crate) struct SwitchoverArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,

    /// The member that shall be primary; the best standby when none is given
    #[arg(long, value_name = "MEMBER")]
    to: Option<String>,

    /// Only check, and say what speaks against it
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    asked: Asked,
}

pub(crate) async fn run(args: SwitchoverArgs, ask: &Ask) -> Result<(), Failure> {
    let wish = Wish { verb: "switchover", group: &args.group, dry_run: args.dry_run };
    let request = v1::SwitchoverRequest {
        group: args.group.clone(),
        to: args.to,
        dry_run: args.dry_run,
        reason: args.asked.reason,
        requested_by: requested_by(),
        failback: false,
    };
    let news = ask.client.admin().switchover(request).await.map_err(|error| failure_of(&error))?;
    follow(&wish, news, ask).await
}
