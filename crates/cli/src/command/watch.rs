use super::{Ask, failure_of};
use crate::exit::Failure;
use crate::show::Stamp;
use crate::show::event::{EventKind, EventReport};
use clap::Args;
use futures::StreamExt;
use primacy_core::EventBatch;
use std::pin::pin;

/// Prints events as they are committed, until interrupted
///
/// Nothing is left out and nothing is repeated, across reconnects and changes of leader. Start from a revision
/// that you have seen, and the first event is the one after it.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy watch                         everything from now on
  primacy watch features --from 57      what happened to one group after revision 57
  primacy watch -o json | jq -c 'select(.event == \"primary_changed\")'

A revision that is too old was compacted: read the present state with `primacy groups -o json` and watch from the
revision in that answer.")]
pub(crate) struct WatchArgs {
    /// The groups to watch; all of them when none is given
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,

    /// The last revision seen; events after it are printed first
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
}

pub(crate) async fn run(args: WatchArgs, ask: &Ask) -> Result<(), Failure> {
    let mut batches = pin!(ask.client.watch(args.groups, args.from));
    while let Some(batch) = batches.next().await {
        print(&batch.map_err(|error| failure_of(&error))?, ask)?;
    }
    Ok(())
}

fn print(batch: &EventBatch, ask: &Ask) -> Result<(), Failure> {
    for event in &batch.events {
        let report =
            EventReport { revision: batch.revision.0, at: Stamp(batch.at.0), event: EventKind::from(event) };
        if ask.screen.json() {
            ask.screen.object(&report)?;
        } else {
            ask.screen.line(&report.line())?;
        }
    }
    Ok(())
}
