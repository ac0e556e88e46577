//! Who may hold a lease on a group's primary.
//!
//! A lease is the leader's promise not to promote another member before a time. A guard asks at its local time `t`
//! and may rely on the answer until `t + ttl` (Burrows, "The Chubby lock service", section 2.8). The leader grants under its own quorum lease
//! alone, which the caller checks; and it remembers when, to wait as long before it promotes somebody else.

use crate::view::View;
use crate::{Epoch, FencePolicy, Group, Moment, NodeId, Phase};
use std::collections::BTreeSet;

/// Why a lease is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLease {
    /// The group has no primary under that epoch.
    #[error("the epoch is not that of the primary")]
    StaleEpoch,
    /// A transition has begun: its intent may rest on this lease not being granted.
    #[error("a transition has begun")]
    Intent,
    /// Another node is the witness, or its lease may not be over yet.
    #[error("another node is the witness")]
    NotWitness,
}

/// Whether `node` may rely on the primary of `epoch` staying the primary.
///
/// # Errors
/// [`NoLease`] says why not.
pub fn may_grant(group: &Group, epoch: Epoch) -> Result<(), NoLease> {
    if group.primary.as_ref().is_none_or(|p| p.epoch != epoch) {
        return Err(NoLease::StaleEpoch);
    }
    match &group.transition {
        Some(t) if t.epoch != epoch => Err(NoLease::Intent),
        Some(_) | None => Ok(()),
    }
}

/// Whether `node` may besides be the witness now: one at a time, so another one's last lease must be over.
///
/// # Errors
/// [`NoLease`] says why not.
pub fn may_witness(group: &Group, node: NodeId, view: &View, now: Moment) -> Result<(), NoLease> {
    let appointed = group.primary.as_ref().and_then(|p| p.witness) == Some(node);
    if !appointed || group.spec.fence == FencePolicy::None {
        return Err(NoLease::NotWitness);
    }
    let settled = now >= view.leading_since.after(view.times.lease_ttl + view.times.lease_margin);
    let fresh = group.transition.as_ref().is_some_and(|t| t.phase == Phase::Redirect);
    let holds = view.witness(group).is_some_and(|(_, r)| r.attached);
    if !(settled || fresh || holds) {
        // A leader before this one may have granted it to another node.
        return Err(NoLease::NotWitness);
    }
    let closed = |other: NodeId, at: Moment| {
        let report = view.witnesses.get(&(group.spec.name.clone(), other));
        let let_go = report.is_some_and(|r| r.closed && r.at >= at);
        let_go || now >= at.after(view.times.lease_ttl + view.times.lease_margin)
    };
    // The witness of an earlier primary was attached to that one: it cannot be counted by this one.
    let epoch = group.primary.as_ref().map(|p| p.epoch);
    let of_this = |(other, of): (&NodeId, &Epoch)| *other != node && Some(*of) == epoch;
    let granted = view.witness_granted.iter().filter(|((name, _), _)| *name == group.spec.name);
    let mut others = granted.filter(|((_, other), (of, _))| of_this((other, of)));
    if others.all(|((_, other), (_, at))| closed(*other, *at)) { Ok(()) } else { Err(NoLease::NotWitness) }
}

/// From when no guard relies on a lease on the group's primary, whichever leader granted it.
pub fn over_at(group: &Group, view: &View) -> Moment {
    let granted =
        view.granted.iter().filter(|((name, _), _)| *name == group.spec.name).map(|(_, at)| *at).max();
    let last = granted.unwrap_or_default().max(view.leading_since);
    last.after(view.times.lease_ttl + view.times.lease_margin)
}

/// The nodes that may rely on a lease on the group's primary at `now`: those to which this leader granted one, and in
/// its first time every node, because a leader before it may have.
pub fn holders(group: &Group, view: &View, now: Moment) -> BTreeSet<NodeId> {
    let after = |at: Moment| at.after(view.times.lease_ttl + view.times.lease_margin);
    let granted = view.granted.iter().filter(|((name, _), at)| *name == group.spec.name && now < after(**at));
    let mut holders: BTreeSet<NodeId> = granted.map(|((_, node), _)| *node).collect();
    if now < after(view.leading_since) {
        holders.extend(view.nodes.keys().chain(&view.learners));
    }
    holders
}
