use super::{Ask, failure_of, now_us};
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
    ask.understood(StatusReport::try_from(answer.map_err(|error| failure_of(&error))?))
}

/// Draws the status again and again on a terminal; elsewhere prints it when something that matters has changed.
async fn watch(group: Option<String>, ask: &Ask) -> Result<(), Failure> {
    let with_members = group.is_some();
    let mut seen = None;
    loop {
        match fetch(group.clone(), ask).await {
            Ok(report) if ask.screen.tty && !ask.screen.json() => {
                ask.screen.redraw(&report.text(now_us(), with_members, ask.screen))?;
            }
            Ok(report) => {
                let essence = Some(report.essence());
                if seen != essence {
                    seen = essence;
                    show(&report, with_members, ask)?;
                }
            }
            // It may come back: that is what is being watched.
            Err(failure) if failure.exit == Exit::NoLeader => {
                let essence = Some(failure.message.clone());
                if ask.screen.tty && !ask.screen.json() {
                    ask.screen.redraw(&failure.to_string())?;
                } else if seen != essence {
                    seen = essence;
                    write!(std::io::stderr(), "{failure}")?;
                }
            }
            Err(failure) => return Err(failure),
        }
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
