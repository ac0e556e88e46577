use super::{Ask, failure_of, now_us, understood};
use crate::exit::{Exit, Failure};
use crate::show::status::StatusReport;
use clap::Args;
use primacy_wire::v1;
use std::io::Write;
use std::time::Duration;

/// Shows nodes, leader and groups; with a group, its members
///
/// One line a group: primary, epoch, state, ready standbys, the lag of the standby that is furthest behind, and
/// the last change with its outage and loss. A group that needs somebody says why, and what to do, in that place.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy status                    everything, a line a group
  primacy status features           members, with reachability, offset, lag, fence and evidence
  primacy status features --watch   the same, drawn again as it changes
  primacy status -o json            everything for programs, members included")]
pub(crate) struct StatusArgs {
    /// The group to show with its members
    #[arg(value_name = "GROUP")]
    group: Option<String>,

    /// Go on and show what changes, until interrupted
    #[arg(short, long)]
    watch: bool,
}

const REDRAW_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: StatusArgs, ask: &Ask) -> Result<(), Failure> {
    if args.watch {
        return watch(args.group, ask).await;
    }
    let report = fetch(args.group.clone(), ask).await?;
    if ask.screen.json() {
        ask.screen.object(&report)?;
    } else {
        ask.screen.write(&report.text(now_us(), args.group.is_some(), ask.screen))?;
    }
    Ok(())
}

async fn fetch(group: Option<String>, ask: &Ask) -> Result<StatusReport, Failure> {
    let answer = ask.client.admin().status(v1::StatusRequest { group }).await;
    understood(StatusReport::try_from(answer.map_err(|error| failure_of(&error))?))
}

/// Draws the status again and again on a terminal; elsewhere prints it when something has happened.
async fn watch(group: Option<String>, ask: &Ask) -> Result<(), Failure> {
    let with_members = group.is_some();
    let drawn = ask.screen.tty && !ask.screen.json();
    let mut seen: Option<Result<StatusReport, Failure>> = None;
    loop {
        let now = fetch(group.clone(), ask).await;
        let at_rest = now.clone().map(StatusReport::at_rest);
        let changed = seen.as_ref() != Some(&at_rest);
        match &now {
            Ok(report) if drawn => ask.screen.redraw(&report.text(now_us(), with_members, ask.screen))?,
            Ok(report) if changed => show(report, with_members, ask)?,
            // It may come back: that is what is being watched.
            Err(failure) if failure.exit != Exit::NoLeader => return Err(failure.clone()),
            Err(failure) if drawn => ask.screen.redraw(&failure.to_string())?,
            Err(failure) if changed => write!(std::io::stderr(), "{failure}")?,
            Ok(_) | Err(_) => {}
        }
        seen = Some(at_rest);
        tokio::time::sleep(REDRAW_INTERVAL).await;
    }
}

fn show(report: &StatusReport, with_members: bool, ask: &Ask) -> Result<(), Failure> {
    if ask.screen.json() {
        ask.screen.object(report)?;
    } else {
        ask.screen.line(&report.text(now_us(), with_members, ask.screen))?;
        ask.screen.line("")?;
    }
    Ok(())
}
