use super::{Ask, failure_of, requested_by};
use crate::exit::Failure;
use crate::show::cluster::DoneReport;
use clap::Args;
use primacy_wire::v1;

/// Starts automatic action on a paused group again
#[derive(Debug, Args)]
#[command(after_long_help = "Example:
  primacy resume features")]
pub(crate) struct ResumeArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
}

pub(crate) async fn run(args: ResumeArgs, ask: &Ask) -> Result<(), Failure> {
    let request = v1::ResumeRequest { group: args.group.clone(), requested_by: requested_by() };
    let answer = ask.client.admin().resume(request).await.map_err(|error| failure_of(&error))?;
    let group = args.group;
    if ask.screen.json() {
        ask.screen.object(&DoneReport { done: "resumed", group, revision: answer.revision })?;
    } else {
        ask.screen.line(&format!("{group} is looked after again."))?;
    }
    Ok(())
}
