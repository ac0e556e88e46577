//! Linearizable reads: a quorum confirms the leader, then it must have applied what was committed by then.
//! (ReadIndex, Ongaro's dissertation, 6.4.)
//!
//! A round costs one heartbeat to each peer, whoever asked. So at most one is under way, and whoever comes while it
//! is waits for the next: a round may only serve readers that came before it began.

use crate::ReadError;
use crate::context::Core;
use openraft::ReadPolicy;
use openraft::errors::{ForwardReason, ForwardToLeader, LinearizableReadError, RaftError};
use primacy_storage::TypeConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

type Answer = Result<(), ReadError>;

/// Asks for the next round.
#[derive(Clone)]
pub(crate) struct Reads(mpsc::UnboundedSender<oneshot::Sender<Answer>>);

/// The readers that wait for the next round.
pub(crate) struct Waiting(mpsc::UnboundedReceiver<oneshot::Sender<Answer>>);

pub(crate) fn channel() -> (Reads, Waiting) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Reads(sender), Waiting(receiver))
}

fn unavailable(reason: impl Into<String>) -> ReadError {
    ReadError::Unavailable { reason: reason.into() }
}

impl Reads {
    pub(crate) async fn linearizable(&self, within: Duration) -> Answer {
        let (tell, told) = oneshot::channel();
        let stopped = || unavailable("this node has stopped taking part");
        self.0.send(tell).map_err(|_| stopped())?;
        match primacy_runtime::timeout(within, told).await {
            Ok(answer) => answer.map_err(|_| stopped())?,
            Err(_) => {
                Err(unavailable(format!("no quorum has confirmed within {within:?} that this node leads")))
            }
        }
    }
}

/// Runs the rounds.
pub(crate) async fn serve(core: Arc<Core>, mut waiting: Waiting) {
    let mut readers = Vec::new();
    while waiting.0.recv_many(&mut readers, usize::MAX).await > 0 {
        let answer = core.confirm().await;
        for reader in readers.drain(..) {
            // Its time may be over.
            let _ = reader.send(answer.clone());
        }
    }
}

impl Core {
    async fn confirm(&self) -> Answer {
        if let Some(why) = self.halt_reason() {
            return Err(unavailable(why.to_string()));
        }
        let confirmed = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        let index = match confirmed {
            Ok(read) => read.read_log_id().index(),
            Err(error) => return Err(self.unconfirmed(error)),
        };
        if self.replica().progress_now().next > index {
            return Ok(());
        }
        let mut progress = self.replica().progress();
        let applied = progress.wait_for(|progress| progress.next > index);
        match primacy_runtime::timeout(self.config().timings.stall(), applied).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(closed)) => Err(unavailable(closed.to_string())),
            Err(_) => Err(unavailable(format!("this node has not applied entry {index} yet"))),
        }
    }

    fn unconfirmed(&self, error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> ReadError {
        match error {
            RaftError::Fatal(fatal) => unavailable(fatal.to_string()),
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => {
                unavailable("no quorum confirms that this node leads")
            }
            RaftError::APIError(LinearizableReadError::ForwardToLeader(ForwardToLeader {
                reason: ForwardReason::LeadershipTransfer,
                ..
            })) => unavailable("this node is handing its leadership over"),
            RaftError::APIError(LinearizableReadError::ForwardToLeader(_)) => {
                ReadError::NotLeader { leader: self.other_leader() }
            }
        }
    }
}
