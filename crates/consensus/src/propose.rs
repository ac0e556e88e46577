//! Commands to the log, with an end in time and an answer that says what is known.
//!
//! A proposal is tied to the leadership it was made under: a leader that was replaced meanwhile, even by itself, does
//! not write what it planned before. Once it was handed to openraft it may be committed whatever happens here, so
//! what ends after that, without an answer, has an unknown outcome.

use crate::ProposeError;
use crate::context::Core;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use primacy_core::{Event, Moment, Revision, Term};
use primacy_storage::{Applied, Proposal, TypeConfig};
use std::time::Duration;

/// The first wait before a leader without its quorum's word is asked again, and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(2);
const RETRY_MAX: Duration = Duration::from_millis(50);

/// A command is committed and applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Who reads at this revision or later sees what the command did. Where nothing changed, the revision as it was.
    pub revision: Revision,
    /// What happened; nothing, when it was true already.
    pub events: Vec<Event>,
}

/// What one attempt came to.
enum Attempt {
    Applied(Applied),
    /// Not written: the leader has no quorum's word at the moment.
    NoLease,
    Failed(ProposeError),
}

impl Core {
    pub(crate) async fn propose(
        &self,
        proposal: Proposal,
        within: Duration,
    ) -> Result<Committed, ProposeError> {
        let deadline = primacy_runtime::now().after(within);
        let term = self.metrics(|m| self.leads(m)).ok_or_else(|| self.not_leader())?;
        let mut pause = RETRY_FIRST;
        loop {
            match self.attempt(proposal.clone(), term, deadline).await {
                Attempt::Applied(applied) => {
                    let events = applied.outcome?;
                    return Ok(Committed { revision: applied.revision, events });
                }
                Attempt::Failed(error) => return Err(error),
                Attempt::NoLease => {
                    if primacy_runtime::now().after(pause) >= deadline {
                        let reason = "this node leads, but no quorum answers it";
                        return Err(ProposeError::Unavailable { reason: reason.to_owned() });
                    }
                    primacy_runtime::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn attempt(&self, proposal: Proposal, term: Term, deadline: Moment) -> Attempt {
        if self.quorum_is_old() {
            // What is written now nobody may ever hear of, and who asked could not be told what became of it.
            return Attempt::NoLease;
        }
        let unknown =
            |reason: &str| Attempt::Failed(ProposeError::OutcomeUnknown { reason: reason.to_owned() });
        let (responder, answer) =
            ProgressResponder::<TypeConfig, ClientWriteResult<TypeConfig>>::complete_only();
        let write = async {
            let tied = self.raft.write(proposal).with_leader(leader_of(term));
            tied.responder(responder).await?;
            Ok::<_, openraft::errors::Fatal<TypeConfig>>(answer.await)
        };
        match primacy_runtime::timeout_at(deadline, write).await {
            Err(_) => unknown("no quorum has answered in time"),
            Ok(Err(fatal)) => Attempt::Failed(ProposeError::Unavailable { reason: fatal.to_string() }),
            Ok(Ok(Err(_))) => unknown("this node stopped before it was answered"),
            Ok(Ok(Ok(Ok(written)))) => Attempt::Applied(written.data),
            Ok(Ok(Ok(Err(error)))) => self.refused(&error),
        }
    }

    fn refused(&self, error: &ClientWriteError<TypeConfig>) -> Attempt {
        match error {
            ClientWriteError::ForwardToLeader(ForwardToLeader {
                reason: ForwardReason::LeaseExpired,
                ..
            }) => Attempt::NoLease,
            ClientWriteError::ForwardToLeader(_) => Attempt::Failed(self.not_leader()),
            ClientWriteError::LogEntryDiscarded(_) => Attempt::Failed(ProposeError::OutcomeUnknown {
                reason: "another node became leader before it was committed".to_owned(),
            }),
            // Only a change of the membership is refused so.
            ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
                Attempt::Failed(ProposeError::Unavailable { reason: error.to_string() })
            }
        }
    }

    fn not_leader(&self) -> ProposeError {
        ProposeError::NotLeader { leader: self.other_leader() }
    }
}

fn leader_of(term: Term) -> openraft::alias::CommittedLeaderIdOf<TypeConfig> {
    openraft::alias::CommittedLeaderIdOf::<TypeConfig>::new(term.0)
}
