use super::{Ask, failure_of, now_us, understood};
use crate::exit::Failure;
use crate::show::transition::{TransitionReport, history_text};
use clap::Args;
use primacy_core::Transition;
use primacy_wire::v1;

/// Lists the transitions of a group: cause, evidence, phases, outage, loss, who asked
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  primacy history features
  primacy history features --last 1 -o json    the last one, with the start and length of each phase

DETECTED is the time from the first sign of trouble to the decision, OUTAGE the time without an open primary, LOST
what the old primary had acknowledged and the new one does not have: exact, a bound, or unknown, never hidden.")]
pub(crate) struct HistoryArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,

    /// How many, counted from the newest
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
}

pub(crate) async fn run(args: HistoryArgs, ask: &Ask) -> Result<(), Failure> {
    let request = v1::HistoryRequest { group: args.group, last: args.last };
    let answer = ask.client.admin().history(request).await.map_err(|error| failure_of(&error))?;
    let transitions = answer.transitions.into_iter().map(|transition| {
        let transition = understood(Transition::try_from(transition))?;
        Ok(TransitionReport::from(&transition))
    });
    let transitions: Vec<TransitionReport> = transitions.collect::<Result<_, Failure>>()?;
    if ask.screen.json() {
        for transition in &transitions {
            ask.screen.object(transition)?;
        }
    } else {
        ask.screen.write(&history_text(&transitions, now_us(), ask.screen))?;
    }
    Ok(())
}
