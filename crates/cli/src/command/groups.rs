use super::{Ask, failure_of, understood};
use crate::exit::Failure;
use crate::show::group::GroupsReport;
use clap::Args;
use primacy_wire::v1::Consistency;

/// Lists the groups: kind, primary, site, epoch, state, standbys ready
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy groups
  primacy groups -o json | jq -r '.groups[] | select(.state != \"serving\") | .group'")]
pub(crate) struct GroupsArgs {}

pub(crate) async fn run(_: &GroupsArgs, ask: &Ask) -> Result<(), Failure> {
    let answer =
        ask.client.list_groups(Consistency::Linearizable).await.map_err(|error| failure_of(&error))?;
    let report = understood(GroupsReport::try_from(answer))?;
    if ask.screen.json() {
        ask.screen.object(&report)?;
    } else {
        ask.screen.write(&report.text(ask.screen))?;
    }
    Ok(())
}
