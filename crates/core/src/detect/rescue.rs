//! What the witness's tail, or a copy of it at another site, is worth to a candidate, and what a failover would lose
//! with it.

use super::{CURRENT_WITHIN, Candidate, fence, loss};
use crate::view::{LinkEnd, View};
use crate::{Group, Loss, MemberName, Moment, NodeId};
use std::cmp::Reverse;

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

/// What `to` can have of the present primary's stream: from its witness, or from whoever copied it to another site,
/// where the witness is gone or knows of less.
pub fn tail(group: &Group, view: &View, to: &MemberName, now: Moment) -> Tail {
    let witness = view.witness(group);
    let by_witness = of_witness(group, view, to, now);
    let known_to = match (by_witness, witness) {
        (Tail::None, _) | (_, None) => 0,
        (Tail::Held | Tail::At(_), Some((_, report))) => report.end_bytes,
    };
    let further =
        copy(group, view, to, now).filter(|(_, end_bytes)| by_witness == Tail::None || *end_bytes > known_to);
    further.map_or(by_witness, |(node, _)| Tail::At(node))
}

fn of_witness(group: &Group, view: &View, to: &MemberName, now: Moment) -> Tail {
    let Some(primary) = &group.primary else { return Tail::None };
    let Some((node, report)) = view.witness(group) else { return Tail::None };
    let Some((at, status)) = view.freshest(&group.spec.name, to) else { return Tail::None };
    let lineage = &primary.lineage.start.replid;
    let joins = status.replid == *lineage && status.reach_bytes() >= report.start_bytes;
    if report.replid.as_ref() != Some(lineage) || !joins {
        return Tail::None;
    }
    let ended = report.ended == Some(LinkEnd::Eof) && at >= report.heard_at;
    match (ended && status.reach_bytes() >= report.end_bytes, heard(view, node, now)) {
        (true, _) => Tail::Held,
        (false, true) => Tail::At(node),
        (false, false) => Tail::None,
    }
}

/// The copy of the stream at another site that has most of it, beyond what `to` holds, and where that ends. It is not
/// known to be all that the primary sent.
pub fn copy(group: &Group, view: &View, to: &MemberName, now: Moment) -> Option<(NodeId, u64)> {
    let primary = group.primary.as_ref()?;
    let (_, status) = view.freshest(&group.spec.name, to)?;
    if status.replid != primary.lineage.start.replid {
        return None;
    }
    let reach_bytes = status.reach_bytes();
    let joining = view.copies(group).filter(|(node, report)| {
        heard(view, *node, now) && report.start_bytes <= reach_bytes && reach_bytes < report.end_bytes
    });
    joining.map(|(node, report)| (node, report.end_bytes)).max_by_key(|(node, end)| (*end, Reverse(*node)))
}

/// Up to where a node copied the stream; 0 where it has no copy.
pub fn copied_to(group: &Group, view: &View, node: NodeId) -> u64 {
    view.copies(group).find(|(id, _)| *id == node).map_or(0, |(_, report)| report.end_bytes)
}

/// Whether replies may have been let go on the word of a node that cannot be asked for the stream now.
pub fn holder_is_missing(group: &Group, view: &View, now: Moment) -> bool {
    let Some(node) = group.primary.as_ref().and_then(|p| p.holder.filter(|_| !p.degraded)) else {
        return false;
    };
    view.holder(group).is_none() || !heard(view, node, now)
}

/// Whether the end of the witness's connection is that of the process, so that it has all that the process ever sent. A
/// connection that was closed while the process lived on, as a fence does, ends in the same way: then the last answer
/// counts nobody beside the members, or is further than the witness.
pub fn witness_saw_the_end(group: &Group, view: &View) -> bool {
    let report = view.witness(group).map(|(_, report)| report);
    let Some(report) = report.filter(|r| r.ended == Some(LinkEnd::Eof)) else { return false };
    let Some((_, last)) = view.last_of_primary(group) else { return false };
    fence::beside_members(group, last) > 0 && last.offset_bytes <= report.end_bytes
}

fn heard(view: &View, node: NodeId, now: Moment) -> bool {
    view.heard.get(&node).is_some_and(|at| now.since(*at) <= CURRENT_WITHIN)
}

/// How long the primary went on, for all that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Its process is gone, or another answers: it was last known to be open then.
    Gone(Moment),
    /// It is only silent, and goes on until it notices that it is alone.
    Notices,
    /// It was shut by then at the latest, and may have been served by clients to the end.
    Shut(Moment),
}

/// What would be lost if `candidate` took over, the tail read.
pub fn expected(group: &Group, view: &View, candidate: &Candidate<'_>, until: Until, now: Moment) -> Loss {
    let (ended, gone) = match until {
        Until::Gone(at) => (at, true),
        Until::Notices => (fence::shut_by(group, view, now), false),
        Until::Shut(at) => (at, false),
    };
    let tail = tail(group, view, &candidate.member.name, now);
    let witness = view.witness(group);
    if let Tail::At(node) = tail
        && witness.is_none_or(|(witness, _)| witness != node)
    {
        // Its end is not that of the stream, and nothing says when its last byte was sent.
        let reach_bytes = candidate.reach_bytes.max(copied_to(group, view, node));
        return loss::estimate(group, view, reach_bytes, ended);
    }
    let report = witness.map(|(_, report)| report);
    let reach = match (tail, report) {
        (Tail::At(_), Some(report)) => candidate.reach_bytes.max(report.end_bytes),
        _ => candidate.reach_bytes,
    };
    let whole = witness_saw_the_end(group, view);
    // That its witness hears nothing of a silent one may be a firewall: clients may be served all the while.
    match tail {
        Tail::Held | Tail::At(_) if gone && whole => loss::residue(group, view),
        Tail::Held | Tail::At(_) | Tail::None => loss::estimate(group, view, reach, ended),
    }
}
