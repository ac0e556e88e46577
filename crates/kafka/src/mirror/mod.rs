//! The mirror: from the active cluster to one standby, every record at its own offset.
//!
//! Whole batches go from Fetch to Produce, compressed as they are. Each acknowledgement must name the offset that the
//! record has at the source; the first that does not ends the copying of its topic, because a log cannot be mended.
//! What is written is stamped with a producer id of our own, so that the target drops what it is sent twice and refuses
//! what comes out of order, and so that a newer owner's first batch shuts out an older owner; with users of
//! its own, it has brokers refuse older owners before it writes anything.

mod context;
mod engine;
mod fill;
mod judge;
mod ledger;
mod offsets;
mod part;
mod plan;
mod prepare;
mod pull;
mod push;
mod report;
mod status;
mod survey;
mod topics;
mod translation;
mod verify;
mod writers;

pub use plan::{Authority, Gaps, MirrorPlan};
pub use status::{
    GroupStatus, Lag, MirrorStatus, Mode, PartitionStatus, Progress, Side, TopicState, TopicStatus, Unaligned,
};

use crate::batch::Producer;
use crate::calls::{init_producer, is_superseded};
use crate::link::LinkError;
use context::Context;
use engine::{Ended, Engine};
use ledger::Ledger;
use primacy_runtime::Task;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How long to rest when the target cannot be reached to begin.
const REST: Duration = Duration::from_millis(500);

/// A running mirror. Dropping it ends it where it stands.
pub struct Mirror {
    status: watch::Receiver<MirrorStatus>,
    stop: watch::Sender<bool>,
    ask: mpsc::Sender<offsets::Ask>,
    task: Task<()>,
}

impl Mirror {
    /// Starts copying. What goes wrong is told by the status, and tried again.
    pub fn start(plan: MirrorPlan) -> Mirror {
        let (status, told) = watch::channel(MirrorStatus::new(&plan.group, plan.epoch));
        let (stop, stopped) = watch::channel(false);
        let (ask, asked) = mpsc::channel(4);
        let task = primacy_runtime::spawn(run(plan, status, stopped, asked));
        Mirror { status: told, stop, ask, task }
    }

    /// How it goes.
    pub fn status(&self) -> MirrorStatus {
        self.status.borrow().clone()
    }

    /// Whether it has ended for ever because a newer owner has begun: who still is the owner starts another one.
    pub fn is_superseded(&self) -> bool {
        self.status.borrow().superseded
    }

    /// How it goes, each time that changes.
    pub fn watch(&self) -> watch::Receiver<MirrorStatus> {
        self.status.clone()
    }

    /// Copies the offsets of all consumer groups now, as before a switch: when it returns, what was committed at the
    /// source before the call is committed on the target, as far as the target holds the records.
    ///
    /// # Errors
    /// The first group whose offsets could not be read or written, and a mirror that has ended.
    pub async fn copy_offsets(&self) -> Result<(), LinkError> {
        let (answer, answered) = oneshot::channel();
        let ended = || LinkError::Configuration("the mirror has ended".into());
        self.ask.send(answer).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Ends it, and writes down on the target how far it came.
    pub async fn stop(self) {
        // It may have ended by itself.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

async fn run(
    plan: MirrorPlan,
    status: watch::Sender<MirrorStatus>,
    stop: watch::Receiver<bool>,
    asked: mpsc::Receiver<offsets::Ask>,
) {
    let context = match Context::new(plan, status.clone()) {
        Ok(context) => context,
        Err(e) => {
            tracing::error!("the mirror cannot be started: {e}");
            status.send_modify(|status| status.stopped = Some(format!("{e}; {}", e.remedy())));
            return;
        }
    };
    let (found, surveyed) = watch::channel(None);
    let _offsets = primacy_runtime::spawn(offsets::run(context.clone(), asked));
    let _survey = primacy_runtime::spawn(survey::run(context.clone(), found));
    loop {
        let mut stopping = stop.clone();
        let opened = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            opened = open(&context) => opened,
        };
        let Some((producer, ledger)) = opened else { return end(&context) };
        let mut engine = Engine::new(context.clone(), surveyed.clone(), producer, ledger);
        let ended = tokio::select! {
            ended = engine.run(stop.clone()) => ended,
            what = disturbed(&context) => {
                let group = &context.plan.group;
                tracing::warn!(group, "{what}: nothing is written until all earlier owners are shut out again");
                continue;
            }
        };
        match ended {
            Ended::Stopped => engine.close().await,
            Ended::Fenced => end(&context),
        }
        return;
    }
}

/// Says that it has ended for ever.
fn end(context: &Context) {
    tracing::warn!(group = context.plan.group, "a newer owner of the mirror has begun: this one has ended");
    context.status.send_modify(|status| {
        status.stopped = Some("a newer owner of the mirror has begun".into());
        status.superseded = true;
    });
}

/// Returns when somebody else may write; never where that is only detected.
async fn disturbed(context: &Context) -> String {
    match &context.writers {
        Some(writers) => writers.until_disturbed(context).await,
        None => std::future::pending().await,
    }
}

/// A producer in a new epoch, and what was written down before: from here on no older owner can write where we do.
/// Nothing when a newer owner has begun.
async fn open(context: &Arc<Context>) -> Option<(Producer, Ledger)> {
    let producer = loop {
        match begin(context).await {
            Ok(producer) => break producer,
            Err(e) if context.writers.is_some() && is_superseded(&e) => return None,
            Err(e) => rest(context, &e).await,
        }
    };
    loop {
        match Ledger::open(context).await {
            Ok(ledger) => {
                context.status.send_modify(|status| status.stopped = None);
                return Some((producer, ledger));
            }
            Err(e) => rest(context, &e).await,
        }
    }
}

async fn begin(context: &Context) -> Result<Producer, LinkError> {
    context.may_write()?;
    match &context.writers {
        Some(writers) => writers.claim(context).await,
        None => init_producer(&context.target, &context.own_name()).await,
    }
}

async fn rest(context: &Context, error: &LinkError) {
    context.status.send_modify(|status| status.stopped = Some(format!("{error}; {}", error.remedy())));
    tokio::time::sleep(REST).await;
}
