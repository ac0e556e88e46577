use super::{Ask, failure_of, invalid_file, requested_by};
use crate::exit::Failure;
use crate::show::apply::{ApplyReport, problems_text};
use clap::Args;
use primacy_node::config::GroupsFile;
use primacy_wire::v1;
use std::path::PathBuf;

/// Makes the cluster's groups equal to a file, and prints what changes
///
/// The file is checked here, then against the cluster and the servers themselves: each must answer, be new enough,
/// and belong to nobody else. Whatever is wrong is listed at once, and then nothing is changed. Groups that the
/// file does not mention stay, unless --prune is given.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy apply -f groups.toml --dry-run    what would change
  primacy apply -f groups.toml
  primacy apply -f groups.toml --prune      and forget the groups that the file no longer has

Exits with 2 when something in the file is wrong.")]
pub(crate) struct ApplyArgs {
    /// The groups file
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Remove groups that the file does not have; their servers go on as they are
    #[arg(long)]
    prune: bool,
}

pub(crate) async fn run(args: ApplyArgs, ask: &Ask) -> Result<(), Failure> {
    let groups = GroupsFile::load(&args.file).map_err(|problems| invalid_file(&args.file, &problems))?;
    let request = v1::ApplyGroupsRequest {
        groups: groups.iter().map(v1::GroupSpec::from).collect(),
        prune: args.prune,
        dry_run: args.dry_run,
        requested_by: requested_by(),
    };
    let answer = ask.client.admin().apply_groups(request).await.map_err(|error| failure_of(&error))?;
    let report = ApplyReport::new(answer, args.dry_run);
    if ask.screen.json() {
        ask.screen.object(&report)?;
    } else if report.problems.is_empty() {
        ask.screen.write(&report.text(ask.screen))?;
    }
    if report.problems.is_empty() {
        return Ok(());
    }
    let list = problems_text(&report.problems);
    Err(Failure::usage(format!("{} cannot be applied; nothing was changed\n{list}", args.file.display())))
}
