use super::transition::{Wish, follow};
use super::{Ask, Asked, failure_of, requested_by};
use crate::exit::Failure;
use clap::Args;
use primacy_wire::v1;

/// Replaces a primary that is gone, by hand
///
/// A failover starts by itself when the primary is proven dead and the loss is within the group's budget. This
/// is for the other cases: the group says failover = "manual", or the loss would be above `max_loss`. It never
/// promotes anybody while the old primary may still accept writes: stop that one first.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy failover features --dry-run
  primacy failover features
  primacy failover features --to north-a --allow-data-loss --reason 'east is flooded'

Exits with 3 when a rule refuses it (it is named).")]
pub(crate) struct FailoverArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,

    /// The member that shall be primary; the one with the most data when none is given
    #[arg(long, value_name = "MEMBER")]
    to: Option<String>,

    /// Accept the loss of what only the old primary has, also when nobody knows how much that is
    #[arg(long)]
    allow_data_loss: bool,

    /// Only check, and say what speaks against it
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    asked: Asked,
}

pub(crate) async fn run(args: FailoverArgs, ask: &Ask) -> Result<(), Failure> {
    let wish = Wish { verb: "failover", group: &args.group, dry_run: args.dry_run };
    let request = v1::FailoverRequest {
        group: args.group.clone(),
        to: args.to,
        allow_data_loss: args.allow_data_loss,
        dry_run: args.dry_run,
        reason: args.asked.reason,
        requested_by: requested_by(),
    };
    let news = ask.client.admin().failover(request).await.map_err(|error| failure_of(&error))?;
    follow(&wish, news, ask).await
}
