//! What switchover, failover and failback share: the checks, then the phases as they pass, then the sentence that
//! ends it.

use super::{Ask, failure_of, understood};
use crate::exit::{Exit, Failure};
use crate::show::transition::{CheckReport, PhaseReport, ProgressReport, TransitionReport, checks_text};
use futures::{Stream, StreamExt};
use primacy_client::ClientError;
use primacy_core::{Phase, PhaseRecord, Transition};
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
    let (mut refusal, mut under_way) = (None, None);
    let mut open = false;
    loop {
        let Ok(next) = timeout_at(deadline, news.next()).await else {
            return match under_way.filter(|_| open) {
                Some(transition) => unsettled(wish, &transition, ask),
                None => Err(unknown(wish, "it is not over within --timeout")),
            };
        };
        match next.transpose().map_err(|error| failure_of(&error))?.and_then(|progress| progress.news) {
            Some(News::Checks(checks)) => refusal = checked(wish, checks, ask)?,
            Some(News::Started(transition)) => {
                let transition = understood(Transition::try_from(transition))?;
                started(&transition, ask)?;
                under_way = Some(transition);
            }
            Some(News::Phase(record)) => {
                let record = understood(PhaseRecord::try_from(record))?;
                open |= record.phase == Phase::Redirect;
                passed(PhaseReport::from(&record), ask)?;
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

/// Time is up, but the new primary is open, which is not taken back: what is left is that every member follows. That
/// takes until the dead one counts as gone, and in a paused group until it is resumed.
fn unsettled(wish: &Wish<'_>, transition: &Transition, ask: &Ask) -> Result<(), Failure> {
    if !ask.screen.json() {
        ask.screen.line(&format!(
            "{group} is served by {}, epoch {}. Not every member follows yet: primacy status {group}",
            transition.to,
            transition.epoch.0,
            group = wish.group
        ))?;
    }
    Ok(())
}

fn unknown(wish: &Wish<'_>, why: &str) -> Failure {
    Failure::new(Exit::Unknown, format!("{} of {}: {why}", wish.verb, wish.group))
        .remedy(format!("primacy history {} --last 1 tells how it ended", wish.group))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::screen::{Format, Screen};
    use futures::stream;
    use primacy_client::Client;
    use primacy_wire::v1;
    use std::time::Duration;

    /// What comes of this news, when nothing comes after it and the stream stays open or ends.
    async fn told(news: Vec<News>, dry_run: bool, stays_open: bool) -> Result<(), Failure> {
        let client = Client::builder(["127.0.0.1:1"]).deadline(Duration::from_millis(50)).build().unwrap();
        let screen = Screen { format: Format::Json, tty: false, colour: false };
        let ask = Ask { client, screen, timeout: Duration::from_millis(50) };
        let news = stream::iter(news.into_iter().map(|news| Ok(TransitionProgress { news: Some(news) })));
        let wish = Wish { verb: "switchover", group: "features", dry_run };
        if stays_open {
            follow(&wish, news.chain(stream::pending()), &ask).await
        } else {
            follow(&wish, news, &ask).await
        }
    }

    fn checks(passed: bool) -> News {
        let check = v1::Check { name: "lag".into(), passed, detail: "north-a is 12 MiB behind".into() };
        News::Checks(v1::Checks { checks: vec![check] })
    }

    fn ended(outcome: v1::TransitionOutcome) -> News {
        News::Ended(v1::Transition {
            group: "features".into(),
            epoch: 42,
            from: Some("east-a".into()),
            to: "north-a".into(),
            cause: v1::Cause::Operator.into(),
            planned: true,
            phase: v1::Phase::Settle.into(),
            lost: Some(v1::Loss { amount: Some(v1::loss::Amount::ExactBytes(0)) }),
            outcome: Some(outcome.into()),
            failure: Some("north-a did not catch up".into()),
            ..v1::Transition::default()
        })
    }

    #[tokio::test]
    async fn every_end_has_its_exit_code() {
        use v1::TransitionOutcome::{RolledBack, Settled};
        let code = |told: Result<(), Failure>| told.map_or_else(|failure| failure.exit.code(), |()| 0);
        assert_eq!(code(told(vec![checks(true), ended(Settled)], false, true).await), 0);
        assert_eq!(code(told(vec![checks(true)], true, false).await), 0, "a dry run ends after its checks");
        assert_eq!(code(told(vec![checks(true), ended(RolledBack)], false, true).await), 1);
        assert_eq!(code(told(vec![checks(false)], true, false).await), 3);
        assert_eq!(code(told(vec![checks(false)], false, false).await), 3);
        assert_eq!(code(told(vec![checks(true)], false, true).await), 5, "time is up");
        assert_eq!(code(told(vec![checks(true)], false, false).await), 5, "the connection ended");
    }

    #[tokio::test]
    async fn an_open_primary_is_no_unknown_outcome() {
        let started = || {
            let News::Ended(mut transition) = ended(v1::TransitionOutcome::Settled) else { unreachable!() };
            transition.outcome = None;
            News::Started(transition)
        };
        let passed = |phase: v1::Phase| {
            News::Phase(v1::PhaseRecord { phase: phase.into(), ..v1::PhaseRecord::default() })
        };
        let promoted = vec![started(), passed(v1::Phase::Promote)];
        assert_eq!(told(promoted, false, true).await.unwrap_err().exit.code(), 5, "nobody is open yet");
        let open = vec![started(), passed(v1::Phase::Promote), passed(v1::Phase::Redirect)];
        assert!(told(open, false, true).await.is_ok(), "only the settling is not over");
    }

    #[tokio::test]
    async fn failures_say_what_why_and_what_to_do() {
        let refused = told(vec![checks(false)], false, false).await.unwrap_err().to_string();
        assert_eq!(
            refused,
            "refused by rule lag: switchover of features: north-a is 12 MiB behind\n  \
             remedy: primacy status features shows its members\n"
        );
        let unknown = told(vec![checks(true)], false, true).await.unwrap_err().to_string();
        assert!(unknown.starts_with("outcome unknown: switchover of features: "), "{unknown}");
        assert!(unknown.contains("primacy history features --last 1"), "{unknown}");
        let back =
            told(vec![ended(v1::TransitionOutcome::RolledBack)], false, true).await.unwrap_err().to_string();
        assert!(
            back.starts_with("error: the switchover of features was rolled back: north-a did not"),
            "{back}"
        );
    }
}
