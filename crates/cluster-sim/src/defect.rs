//! Mistakes made on purpose around the code that ships, each of which must be found.

use crate::net::Net;
use primacy_core::NodeId;
use primacy_wire::v1;
use std::time::Duration;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A leader calls its followers fresh by its quorum's word before an entry of its own is committed.
    FreshBeforeCommit,
    /// A leader sends its quorum's newest word beside an older commit.
    OlderCommit,
    /// A follower dates a leader's word by its receipt.
    DatedByReceipt,
    /// Voters do not keep the promise that they gave a leader: each election passes for a hand-over.
    PromiseBroken,
    /// A vote that was refused counts as granted.
    ForgedVote,
    /// A vote is acknowledged before it is written.
    LostVote,
    /// An entry is acknowledged before it is written.
    LostEntry,
    /// A disk that was emptied passes for the one that it was.
    EmptiedUnderItsName,
    /// A clock runs a tenth too slow.
    SlowClock,
    /// A clock stands still while its process does, as CLOCK_MONOTONIC does in a suspended machine.
    ClockStopsWithProcess,
    /// A line that ended is a leader that is gone; nobody asks whether it still listens.
    EofIsDeath,
}

impl Defect {
    /// All of them.
    pub const ALL: [Defect; 11] = [
        Defect::FreshBeforeCommit,
        Defect::OlderCommit,
        Defect::DatedByReceipt,
        Defect::PromiseBroken,
        Defect::ForgedVote,
        Defect::LostVote,
        Defect::LostEntry,
        Defect::EmptiedUnderItsName,
        Defect::SlowClock,
        Defect::ClockStopsWithProcess,
        Defect::EofIsDeath,
    ];
}

/// How long ago a majority of the voters had last answered the leader `node`.
fn quorum_age(net: &Net, node: u64) -> Option<Duration> {
    let membership = net.listener(node)?.membership();
    let voters = membership.nodes.iter().filter(|(_, member)| member.voter);
    let mut ages: Vec<Duration> = voters
        .filter_map(
            |(id, member)| {
                if *id == NodeId(node) { Some(Duration::ZERO) } else { member.last_ack_age }
            },
        )
        .collect();
    ages.sort();
    let all = membership.nodes.values().filter(|member| member.voter).count();
    ages.get(all / 2).copied()
}

/// What a leader sends, in its own process.
pub(crate) fn on_sending(net: &Net, from: u64, mut request: v1::AppendRequest) -> v1::AppendRequest {
    if net.defect() == Some(Defect::FreshBeforeCommit) && request.quorum_age_us.is_none() {
        request.quorum_age_us = quorum_age(net, from).map(|age| age.as_micros() as u64);
    }
    if net.defect() == Some(Defect::OlderCommit) {
        request.quorum_committed_next = 0;
    }
    request
}

/// What a follower takes in, in its own process.
pub(crate) fn on_arrival(defect: Option<Defect>, mut request: v1::AppendRequest) -> v1::AppendRequest {
    if defect == Some(Defect::DatedByReceipt)
        && let Some(time) = &mut request.follower_time
    {
        time.at_us = primacy_runtime::now().0;
        request.follower_time_age_us = 0;
    }
    request
}

/// What a candidate asks.
pub(crate) fn on_vote(defect: Option<Defect>, mut request: v1::VoteRequest) -> v1::VoteRequest {
    request.leadership_transfer |= defect == Some(Defect::PromiseBroken);
    request
}

/// What it makes of the answer.
pub(crate) fn on_granted(
    defect: Option<Defect>,
    request: &v1::VoteRequest,
) -> impl FnOnce(v1::VoteResponse) -> v1::VoteResponse + Send + 'static {
    let vote = request.vote;
    move |mut answer| {
        if defect == Some(Defect::ForgedVote) && !answer.granted {
            answer.granted = true;
            answer.vote = vote;
        }
        answer
    }
}
