//! What switchover, failover and failback share: the checks, then the phases as they pass, then the sentence that
//! ends it.

use super::{Ask, failure_of, understood};
use crate::exit::{Exit, Failure};
use crate::show::transition::{CheckReport, PhaseReport, ProgressReport, TransitionReport, checks_text};
use futures::{Stream, StreamExt};
use primacy_client::ClientError;
use primacy_core::{PhaseRecord, Transition};
use primacy_wire::v1::{TransitionProgress, transition_progress::News};
use std::pin::pin;
use tokio::time::{Instant, timeout_at};

/// What was asked for.
pub(super) struct Wish<'a> {
    /// `switchover`, for messages.
    pub(super) verb: &'static str,
    pub(super) group: &'a str,
    pub(super) dry_run: bool,
}

/// Prints what happens until it has ended.
pub(super) async fn follow(
    wish: &Wish<'_>,
    news: impl Stream<Item = Result<TransitionProgress, ClientError>>,
    ask: &Ask,
) -> Result<(), Failure> {
    let deadline = Instant::now() + ask.timeout;
    let mut news = pin!(news);
    let mut refusal = None;
    loop {
        let Ok(next) = timeout_at(deadline, news.next()).await else {
            return Err(unknown(wish, "it is not over within --timeout"));
        };
        match next.transpose().map_err(|error| failure_of(&error))?.and_then(|progress| progress.news) {
            Some(News::Checks(checks)) => refusal = checked(wish, checks, ask)?,
            Some(News::Started(transition)) => {
                let transition = understood(Transition::try_from(transition))?;
                started(&transition, ask)?;
            }
            Some(News::Phase(record)) => {
                let phase = PhaseReport::from(&understood(PhaseRecord::try_from(record))?);
                passed(phase, ask)?;
            }
            Some(News::Ended(transition)) => {
                let transition = understood(Transition::try_from(transition))?;
                return ended(wish, TransitionReport::from(&transition), ask).await;
            }
            None => match refusal {
                Some(failure) => return Err(failure),
                None if wish.dry_run => return Ok(()),
                None => return Err(unknown(wish, "the connection ended before it did")),
            },
        }
    }
}

/// Prints the checks; the first that fails is why it is refused.
fn checked(wish: &Wish<'_>, checks: primacy_wire::v1::Checks, ask: &Ask) -> Result<Option<Failure>, Failure> {
    let checks: Vec<CheckReport> = checks.checks.into_iter().map(CheckReport::from).collect();
    let failed = checks.iter().find(|check| !check.passed);
    let refusal = failed.map(|check| {
        Failure::refused(&check.name, format!("{} of {}: {}", wish.verb, wish.group, check.detail))
            .remedy(format!("primacy status {} shows its members", wish.group))
    });
    if ask.screen.json() {
        ask.screen.object(&ProgressReport::Checks { checks })?;
    } else {
        ask.screen.write(&checks_text(&checks, wish.dry_run, ask.screen))?;
    }
    Ok(refusal)
}

fn started(transition: &Transition, ask: &Ask) -> Result<(), Failure> {
    if ask.screen.json() {
        let transition = Box::new(TransitionReport::from(transition));
        ask.screen.object(&ProgressReport::Started { transition })?;
    }
    Ok(())
}

fn passed(phase: PhaseReport, ask: &Ask) -> Result<(), Failure> {
    if ask.screen.json() {
        ask.screen.object(&ProgressReport::Phase { phase })?;
    } else {
        ask.screen.line(&phase.line())?;
    }
    Ok(())
}

async fn ended(wish: &Wish<'_>, transition: TransitionReport, ask: &Ask) -> Result<(), Failure> {
    let rolled_back = transition.outcome == "rolled_back";
    let failure = transition.failure.clone().unwrap_or_else(|| "no reason was recorded".to_owned());
    if ask.screen.json() {
        ask.screen.object(&ProgressReport::Ended { transition: Box::new(transition) })?;
    } else if !rolled_back {
        // The site is a courtesy: the transition is over, with or without it.
        let site = ask.site_of_primary(wish.group).await;
        ask.screen.line(&transition.conclusion(site.as_deref()))?;
    }
    if rolled_back {
        let message = format!("the {} of {} was rolled back: {failure}", wish.verb, wish.group);
        return Err(
            Failure::failed(message).remedy(format!("primacy status {} shows its members", wish.group))
        );
    }
    Ok(())
}

fn unknown(wish: &Wish<'_>, why: &str) -> Failure {
    Failure::new(Exit::Unknown, format!("{} of {}: {why}", wish.verb, wish.group))
        .remedy(format!("primacy history {} --last 1 tells how it ended", wish.group))
}
