use super::{Ask, Asked, failure_of, requested_by};
use crate::exit::Failure;
use crate::show::cluster::DoneReport;
use clap::Args;
use primacy_wire::v1;

/// Stops automatic action on a group; a healthy primary goes on serving
///
/// While a group is paused nothing is promoted and nothing is re-pointed, whatever happens to its members. What
/// an operator asks for still works.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy pause features --reason 'replacing the disks of east-a'
  primacy resume features")]
pub(crate) struct PauseArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,

    #[command(flatten)]
    asked: Asked,
}

pub(crate) async fn run(args: PauseArgs, ask: &Ask) -> Result<(), Failure> {
    let request = v1::PauseRequest {
        group: args.group.clone(),
        reason: args.asked.reason,
        requested_by: requested_by(),
    };
    let answer = ask.client.admin().pause(request).await.map_err(|error| failure_of(&error))?;
    let group = args.group;
    if ask.screen.json() {
        ask.screen.object(&DoneReport { done: "paused", group, revision: answer.revision })?;
    } else {
        ask.screen.line(&format!(
            "{group} is paused; its primary keeps serving. primacy resume {group} ends it."
        ))?;
    }
    Ok(())
}
