//! Requests of the protocol and their answers.

use super::entry::{entry_from, entry_to};
use super::{log_id_from, log_id_to, required, vote_from, vote_to};
use crate::authority::Knowledge;
use crate::echo::Heard;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use primacy_core::Moment;
use primacy_storage::TypeConfig;
use primacy_wire::v1::append_response::Outcome as Appended;
use primacy_wire::v1::transfer_leader_response::Outcome as Transferred;
use primacy_wire::{WireError, v1};

pub(crate) fn append_to(
    request: &AppendEntriesRequest<TypeConfig>,
    header: Option<v1::RaftHeader>,
    knowledge: Option<Knowledge>,
    heard: Option<Heard>,
    now: Moment,
) -> v1::AppendRequest {
    v1::AppendRequest {
        header,
        vote: Some(vote_to(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to),
        entries: request.entries.iter().map(entry_to).collect(),
        committed: request.leader_commit.as_ref().map(log_id_to),
        quorum_age_us: knowledge.map(|known| now.since(known.at).as_micros() as u64),
        follower_time: heard.as_ref().map(Heard::time),
        follower_time_age_us: heard.map_or(0, |heard| heard.age(now).as_micros() as u64),
        quorum_committed_next: knowledge.map_or(0, |known| known.next),
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

pub(crate) fn append_response_to(
    result: &StreamAppendResult<TypeConfig>,
    time: v1::FollowerTime,
) -> v1::AppendResponse {
    let outcome = match result {
        Ok(log_id) => Appended::Matched(v1::AppendMatched { log_id: log_id.as_ref().map(log_id_to) }),
        Err(StreamAppendError::Conflict(log_id)) => Appended::Conflict(log_id_to(log_id)),
        Err(StreamAppendError::HigherVote(vote)) => Appended::HigherVote(vote_to(vote)),
    };
    v1::AppendResponse { outcome: Some(outcome), time: Some(time) }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use primacy_core::{Command, NodeId, Term, WallTime};
    use primacy_storage::{Entry, Membership, NodeInfo, Payload, Proposal, Vote, log_id};
    use std::collections::{BTreeMap, BTreeSet};

    fn requests() -> Vec<AppendEntriesRequest<TypeConfig>> {
        let node = NodeInfo { site: "east".to_owned(), address: "host:7400".to_owned() };
        let membership = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, node)])).unwrap();
        let command = Command::AssumeLeadership { node: NodeId(1), term: Term(2), at: WallTime(3) };
        let payloads = [
            Payload::Membership(membership),
            Payload::Blank,
            Payload::Normal(Proposal::from(command)),
            Payload::Normal(Proposal::RegisterNode { node: NodeId(3), store_id: u64::MAX }),
        ];
        let entries = payloads.into_iter().zip(0..);
        let entries: Vec<Entry> =
            entries.map(|(payload, index)| Entry { log_id: log_id(index.min(1), index), payload }).collect();
        let vote = Vote::new_committed(1, 1);
        let rest = AppendEntriesRequest {
            vote,
            prev_log_id: Some(entries[1].log_id),
            entries: entries[2..].to_vec(),
            leader_commit: Some(entries[0].log_id),
        };
        vec![
            AppendEntriesRequest { vote, prev_log_id: None, entries: vec![], leader_commit: None },
            AppendEntriesRequest { vote, prev_log_id: None, entries, leader_commit: None },
            rest,
        ]
    }

    #[test]
    fn appends_come_back() {
        for request in requests() {
            assert_eq!(
                format!("{:?}", append_from(append_to(&request, None, None, None, Moment(0))).unwrap()),
                format!("{request:?}")
            );
        }
    }

    #[test]
    fn answers_come_back() {
        let vote = Vote::new(4, 2);
        for answer in [
            Ok(None),
            Ok(Some(log_id(1, 2))),
            Err(StreamAppendError::Conflict(log_id(0, 0))),
            Err(StreamAppendError::HigherVote(vote)),
        ] {
            assert_eq!(
                append_response_from(append_response_to(&answer, v1::FollowerTime::default())).unwrap(),
                answer
            );
        }
        let mut asked = VoteRequest::new(vote, Some(log_id(3, 4)));
        asked.leadership_transfer = true;
        assert_eq!(vote_request_from(&vote_request_to(&asked, v1::RaftHeader::default())).unwrap(), asked);
        let answered = VoteResponse::new(Vote::new_committed(4, 2), None, true);
        assert_eq!(vote_response_from(vote_response_to(&answered)).unwrap(), answered);
    }

    #[test]
    fn hand_overs_come_back() {
        let leader = Vote::new_committed(4, 2);
        let request = TransferLeaderRequest::new(leader, 3, Some(log_id(4, 9)));
        assert_eq!(transfer_from(&transfer_to(&request, v1::RaftHeader::default())).unwrap(), request);
        for answer in [
            Ok(()),
            Err(TransferLeaderError::VoteChanged { expected: leader, actual: Vote::new(5, 1) }),
            Err(TransferLeaderError::LogNotFlushed { expected: Some(log_id(1, 2)), actual: None }),
        ] {
            assert_eq!(transfer_response_from(transfer_response_to(&answer)).unwrap(), answer);
        }
    }
}
