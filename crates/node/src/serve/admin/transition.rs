//! Switchover and failover as an operator asks for them: the checks, the intent, then each phase as it passes.
//!
//! The stream reads the replicated state, so it tells the same story whoever leads meanwhile; when this node loses touch
//! with the cluster, or the transition takes longer than anybody waits, it ends by saying how to find out.

use super::super::{Shared, refuse};
use super::Progress;
use crate::lead::fault::{self, Place, command_word};
use futures::StreamExt;
use primacy_core::check::{self, Checked, Request};
use primacy_core::{Cause, Command, Epoch, GroupName, MemberName, Transition};
use primacy_runtime::{Task, now, sleep, spawn, wall};
use primacy_wire::v1::transition_progress::News;
use primacy_wire::{Refusal, WireError, v1};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

const PROPOSE_WITHIN: Duration = Duration::from_secs(5);
/// A transition that has not ended by then is left to itself.
const FOLLOW_WITHIN: Duration = Duration::from_mins(1);
/// A node out of touch with the leader for longer cannot tell how it goes on.
const IN_TOUCH_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const WAITING_MAX: usize = 32;

enum Kind {
    Switchover,
    Failover,
}

pub(super) fn switchover(shared: &Arc<Shared>, message: v1::SwitchoverRequest) -> Result<Progress, Status> {
    if message.failback && message.to.is_some() {
        return Err(WireError::new(
            "to",
            "it is set, and a failback chooses the most preferred member itself",
        )
        .into());
    }
    let request = Request {
        group: refuse::name(&message.group, "group")?,
        to: member(message.to.as_deref())?,
        requested_by: message.requested_by,
        reason: message.reason,
        allow_data_loss: false,
        cause: if message.failback { Cause::Failback } else { Cause::Operator },
    };
    Ok(run(shared, Kind::Switchover, request, message.dry_run))
}

pub(super) fn failover(shared: &Arc<Shared>, message: v1::FailoverRequest) -> Result<Progress, Status> {
    let request = Request {
        group: refuse::name(&message.group, "group")?,
        to: member(message.to.as_deref())?,
        requested_by: message.requested_by,
        reason: message.reason,
        allow_data_loss: message.allow_data_loss,
        cause: Cause::Operator,
    };
    Ok(run(shared, Kind::Failover, request, message.dry_run))
}

fn member(name: Option<&str>) -> Result<Option<MemberName>, Status> {
    name.map(|name| refuse::name(name, "to")).transpose()
}

type Answer = Result<v1::TransitionProgress, Status>;

fn run(shared: &Arc<Shared>, kind: Kind, request: Request, dry_run: bool) -> Progress {
    let (sink, answers) = mpsc::channel::<Answer>(WAITING_MAX);
    let story = Story { shared: shared.clone(), sink };
    let task: Task<()> = spawn(async move {
        if let Err(refusal) = story.tell(kind, request, dry_run).await {
            // The client may be gone.
            let _ = story.sink.send(Err(refusal.into())).await;
        }
    });
    let answers = tokio_stream::wrappers::ReceiverStream::new(answers);
    // The task lives as long as somebody listens; the transition goes on without it.
    answers
        .map(move |answer| {
            let _ = &task;
            answer
        })
        .boxed()
}

struct Story {
    shared: Arc<Shared>,
    sink: mpsc::Sender<Answer>,
}

impl Story {
    async fn tell(&self, kind: Kind, request: Request, dry_run: bool) -> Result<(), Refusal> {
        let consensus = &self.shared.consensus;
        consensus.linearizable(PROPOSE_WITHIN).await.map_err(refuse::read)?;
        let checked = self.check(&kind, &request)?;
        let checks = checked.checks.iter().map(|c| v1::Check {
            name: c.name.to_owned(),
            passed: c.passed,
            detail: c.detail.clone(),
        });
        self.say(News::Checks(v1::Checks { checks: checks.collect() })).await;
        let start = checked.start?;
        if dry_run {
            return Ok(());
        }
        let command = Command::StartTransition(Box::new(start));
        let word = command_word(&command);
        let committed = consensus.propose(command, PROPOSE_WITHIN).await.map_err(refuse::propose)?;
        fault::reach(Place::Committed(word));
        self.follow(&request.group, Epoch(committed.revision.0)).await
    }

    fn check(&self, kind: &Kind, request: &Request) -> Result<Checked, Refusal> {
        let (at, stamp) = (now(), wall());
        let checked = self.shared.board.read(|view| {
            self.shared.consensus.read(|state| match kind {
                Kind::Switchover => check::switchover(state, view, request, at, stamp),
                Kind::Failover => check::failover(state, view, request, at, stamp),
            })
        });
        match checked {
            None => Err(self.shared.refuse_as_follower()),
            Some(checked) => checked.map_err(Refusal::from),
        }
    }

    /// Tells each phase once, whichever node moves it on.
    async fn follow(&self, group: &GroupName, epoch: Epoch) -> Result<(), Refusal> {
        let mut revisions = self.shared.consensus.revision_watch();
        let mut stopping = self.shared.stopping.clone();
        let give_up_at = now().after(FOLLOW_WITHIN);
        let mut told = None;
        loop {
            let found = self.shared.consensus.read(|state| {
                let group = state.groups.get(group)?;
                let all = group.transition.iter().chain(&group.history);
                all.filter(|t| t.epoch == epoch).map(Transition::clone).next()
            });
            let Some(transition) = found else {
                return Err(lost(group, "the transition is no longer kept"));
            };
            if self.tell_news(&transition, &mut told).await {
                return Ok(());
            }
            if now() >= give_up_at {
                return Err(lost(group, "it has not ended within a minute"));
            }
            if self.shared.consensus.staleness().is_none_or(|age| age > IN_TOUCH_WITHIN) {
                return Err(lost(group, "this node lost touch with the leader"));
            }
            tokio::select! {
                biased;
                _ = stopping.changed() => return Err(lost(group, "this node is stopping")),
                changed = revisions.changed() => if changed.is_err() {
                    return Err(lost(group, "this node is stopping"));
                },
                () = self.sink.closed() => return Ok(()),
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Tells what is new of it. True once it has ended.
    async fn tell_news(&self, transition: &Transition, told: &mut Option<usize>) -> bool {
        if told.is_none() {
            self.say(News::Started(transition.into())).await;
        }
        let before = told.unwrap_or(0);
        for record in transition.phases.iter().skip(before) {
            self.say(News::Phase(record.into())).await;
        }
        *told = Some(transition.phases.len());
        let ended = transition.outcome.is_some();
        if ended {
            self.say(News::Ended(transition.into())).await;
        }
        ended
    }

    async fn say(&self, news: News) {
        // Nobody may be listening; the transition goes on all the same.
        let _ = self.sink.send(Ok(v1::TransitionProgress { news: Some(news) })).await;
    }
}

fn lost(group: &GroupName, why: &str) -> Refusal {
    let message = format!(
        "{why}; the transition goes on or is rolled back without us: `primacy history {group} --last 1` and `primacy status \
         {group}` show what came of it"
    );
    Refusal::OutcomeUnknown { message }
}
