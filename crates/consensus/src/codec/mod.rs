//! Between openraft's types and the messages of `raft.proto`. What is missing or impossible is an error, never a
//! default.

mod entry;
mod request;
mod snapshot;

pub(crate) use request::{
    append_from, append_response_from, append_response_to, append_to, transfer_from, transfer_response_from,
    transfer_response_to, transfer_to, vote_request_from, vote_request_to, vote_response_from,
    vote_response_to,
};
pub(crate) use snapshot::{meta_from, meta_to, snapshot_from, snapshot_to};

use primacy_storage::{LogId, Vote, log_id};
use primacy_wire::{WireError, v1};

pub(crate) fn required<T>(value: Option<T>, field: &str) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::missing(field))
}

pub(crate) fn log_id_to(id: &LogId) -> v1::RaftLogId {
    v1::RaftLogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn log_id_from(id: v1::RaftLogId) -> LogId {
    log_id(id.term, id.index)
}

pub(crate) fn vote_to(vote: &Vote) -> v1::RaftVote {
    v1::RaftVote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

pub(crate) fn vote_from(vote: Option<v1::RaftVote>, field: &str) -> Result<Vote, WireError> {
    let vote = required(vote, field)?;
    if vote.node == 0 {
        return Err(WireError::new(format!("{field}.node"), "is 0, which is no node"));
    }
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.node)
    } else {
        Vote::new(vote.term, vote.node)
    })
}
