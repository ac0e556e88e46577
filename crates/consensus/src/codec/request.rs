//! Requests of the protocol and their answers.

use super::entry::{entry_from, entry_to};
use super::{log_id_from, log_id_to, required, vote_from, vote_to};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use primacy_storage::TypeConfig;
use primacy_wire::v1::append_response::Outcome as Appended;
use primacy_wire::v1::transfer_leader_response::Outcome as Transferred;
use primacy_wire::{WireError, v1};

pub(crate) fn append_to(
    request: &AppendEntriesRequest<TypeConfig>,
    header: Option<v1::RaftHeader>,
) -> v1::AppendRequest {
    v1::AppendRequest {
        header,
        vote: Some(vote_to(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to),
        entries: request.entries.iter().map(entry_to).collect(),
        committed: request.leader_commit.as_ref().map(log_id_to),
    }
}

pub(crate) fn append_from(sent: v1::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    let vote = vote_from(sent.vote, "vote")?;
    if !vote.committed {
        return Err(WireError::new("vote.committed", "is false; only a leader appends"));
    }
    let prev_log_id = sent.prev.map(log_id_from);
    let mut entries = Vec::with_capacity(sent.entries.len());
    let mut next = prev_log_id.map_or(0, |id| id.index.saturating_add(1));
    for (at, entry) in sent.entries.into_iter().enumerate() {
        let entry = entry_from(entry).map_err(|e| e.within(&format!("entries[{at}]")))?;
        if entry.log_id.index != next {
            let reason = format!("is {}, {next} comes next", entry.log_id.index);
            return Err(WireError::new(format!("entries[{at}].log_id.index"), reason));
        }
        next = next.saturating_add(1);
        entries.push(entry);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit: sent.committed.map(log_id_from) })
}

pub(crate) fn append_response_to(result: &StreamAppendResult<TypeConfig>) -> v1::AppendResponse {
    let outcome = match result {
        Ok(log_id) => Appended::Matched(v1::AppendMatched { log_id: log_id.as_ref().map(log_id_to) }),
        Err(StreamAppendError::Conflict(log_id)) => Appended::Conflict(log_id_to(log_id)),
        Err(StreamAppendError::HigherVote(vote)) => Appended::HigherVote(vote_to(vote)),
    };
    v1::AppendResponse { outcome: Some(outcome) }
}

pub(crate) fn append_response_from(
    sent: v1::AppendResponse,
) -> Result<StreamAppendResult<TypeConfig>, WireError> {
    Ok(match required(sent.outcome, "outcome")? {
        Appended::Matched(matched) => Ok(matched.log_id.map(log_id_from)),
        Appended::Conflict(log_id) => Err(StreamAppendError::Conflict(log_id_from(log_id))),
        Appended::HigherVote(vote) => {
            Err(StreamAppendError::HigherVote(vote_from(Some(vote), "outcome.higher_vote")?))
        }
    })
}

pub(crate) fn vote_request_to(request: &VoteRequest<TypeConfig>, header: v1::RaftHeader) -> v1::VoteRequest {
    v1::VoteRequest {
        header: Some(header),
        vote: Some(vote_to(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from(sent: &v1::VoteRequest) -> Result<VoteRequest<TypeConfig>, WireError> {
    let vote = vote_from(sent.vote, "vote")?;
    if vote.committed {
        return Err(WireError::new("vote.committed", "is true; a candidate is no leader yet"));
    }
    let mut request = VoteRequest::new(vote, sent.last_log_id.map(log_id_from));
    request.leadership_transfer = sent.leadership_transfer;
    Ok(request)
}

pub(crate) fn vote_response_to(response: &VoteResponse<TypeConfig>) -> v1::VoteResponse {
    v1::VoteResponse {
        vote: Some(vote_to(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_to),
    }
}

pub(crate) fn vote_response_from(sent: v1::VoteResponse) -> Result<VoteResponse<TypeConfig>, WireError> {
    let vote = vote_from(sent.vote, "vote")?;
    Ok(VoteResponse::new(vote, sent.last_log_id.map(log_id_from), sent.granted))
}

pub(crate) fn transfer_to(
    request: &TransferLeaderRequest<TypeConfig>,
    header: v1::RaftHeader,
) -> v1::TransferLeaderRequest {
    v1::TransferLeaderRequest {
        header: Some(header),
        from_leader: Some(vote_to(request.from_leader())),
        to_node: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_to),
    }
}

pub(crate) fn transfer_from(
    sent: &v1::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
    if sent.to_node == 0 {
        return Err(WireError::new("to_node", "is 0, which is no node"));
    }
    let from = vote_from(sent.from_leader, "from_leader")?;
    Ok(TransferLeaderRequest::new(from, sent.to_node, sent.last_log_id.map(log_id_from)))
}

pub(crate) fn transfer_response_to(
    response: &TransferLeaderResponse<TypeConfig>,
) -> v1::TransferLeaderResponse {
    let outcome = match response {
        Ok(()) => Transferred::Accepted(v1::TransferAccepted {}),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            let (expected, actual) = (Some(vote_to(expected)), Some(vote_to(actual)));
            Transferred::VoteChanged(v1::TransferVoteChanged { expected, actual })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            let (expected, actual) = (expected.as_ref().map(log_id_to), actual.as_ref().map(log_id_to));
            Transferred::LogNotFlushed(v1::TransferLogNotFlushed { expected, actual })
        }
    };
    v1::TransferLeaderResponse { outcome: Some(outcome) }
}

pub(crate) fn transfer_response_from(
    sent: v1::TransferLeaderResponse,
) -> Result<TransferLeaderResponse<TypeConfig>, WireError> {
    Ok(match required(sent.outcome, "outcome")? {
        Transferred::Accepted(v1::TransferAccepted {}) => Ok(()),
        Transferred::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: vote_from(changed.expected, "outcome.vote_changed.expected")?,
            actual: vote_from(changed.actual, "outcome.vote_changed.actual")?,
        }),
        Transferred::LogNotFlushed(not) => Err(TransferLeaderError::LogNotFlushed {
            expected: not.expected.map(log_id_from),
            actual: not.actual.map(log_id_from),
        }),
    })
}
