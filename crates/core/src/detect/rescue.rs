//! What the witness's tail is worth to a candidate, and what a failover would lose with it.

use super::{CURRENT_WITHIN, Candidate, fence, loss};
use crate::view::{LinkEnd, View};
use crate::{Group, Loss, MemberName, Moment, NodeId};

/// What a candidate can have of the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing: there is none, its node is not heard, or it does not join what the candidate holds.
    None,
    /// The candidate holds all of it already, and the stream has ended.
    Held,
    /// It can be read from that node.
    At(NodeId),
}

impl Tail {
    /// The node to read it from.
    pub fn holder(self) -> Option<NodeId> {
        match self {
            Tail::At(node) => Some(node),
            Tail::None | Tail::Held => None,
        }
    }
}

/// What `to` can have of the tail of the present primary's witness.
pub fn tail(group: &Group, view: &View, to: &MemberName, now: Moment) -> Tail {
    let Some(primary) = &group.primary else { return Tail::None };
    let Some((node, report)) = view.witness(group) else { return Tail::None };
    let heard = view.heard.get(&node).is_some_and(|at| now.since(*at) <= CURRENT_WITHIN);
    let Some((at, status)) = view.freshest(&group.spec.name, to) else { return Tail::None };
    let lineage = &primary.lineage.start.replid;
    let joins = status.replid == *lineage && status.reach_bytes() >= report.start_bytes;
    if report.replid.as_ref() != Some(lineage) || !joins {
        return Tail::None;
    }
    let ended = report.ended == Some(LinkEnd::Eof) && at >= report.heard_at;
    match (ended && status.reach_bytes() >= report.end_bytes, heard) {
        (true, _) => Tail::Held,
        (false, true) => Tail::At(node),
        (false, false) => Tail::None,
    }
}

/// What would be lost if `candidate` took over, the tail read. The primary was last known to be open at `ended`; one that
/// is only `silent` goes on until it notices that it is alone, but where its witness hears nothing from it either, it
/// stopped with its last byte.
pub fn expected(
    group: &Group,
    view: &View,
    candidate: &Candidate<'_>,
    silent: bool,
    ended: Moment,
    now: Moment,
) -> Loss {
    let report = view.witness(group).map(|(_, report)| report);
    let tail = tail(group, view, &candidate.member.name, now);
    let reach = match (tail, report) {
        (Tail::At(_), Some(report)) => candidate.reach_bytes.max(report.end_bytes),
        _ => candidate.reach_bytes,
    };
    let whole = report.is_some_and(|r| r.ended == Some(LinkEnd::Eof));
    match (tail, silent) {
        (Tail::Held | Tail::At(_), false) if whole => loss::residue(group, view),
        (_, false) => loss::estimate(group, view, reach, ended),
        (Tail::Held | Tail::At(_), true) => {
            let heard_at = report.map_or(ended, |r| r.heard_at.max(ended));
            loss::estimate(group, view, reach, heard_at)
        }
        (Tail::None, true) => loss::estimate(group, view, reach, fence::shut_by(group, view, now)),
    }
}
