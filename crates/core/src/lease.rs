//! Who may hold a lease on a group's primary.
//!
//! A lease is the leader's promise not to promote another member before a time. A guard asks at its local time `t`
//! and may rely on the answer until `t + ttl` (Burrows, "The Chubby lock service", section 2.8). The leader grants under its own quorum lease
//! alone, which the caller checks; and it remembers when, to wait as long before it promotes somebody else.

use crate::view::View;
use crate::{Epoch, FencePolicy, Group, MemberName, Moment, NodeId, Phase, Transition};
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
    /// Another node runs the mirror into the member, or its lease may not be over yet; or there is nothing to run.
    #[error("another node runs the mirror")]
    NotMirror,
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

/// Whether a transition is under way that will make the primary of `epoch`, unless it is rolled back: a lease on that one
/// may be granted soon.
pub fn may_come(group: &Group, epoch: Epoch) -> bool {
    group.blocked.is_none()
        && group.transition.as_ref().is_some_and(|t| match t.phase {
            Phase::Fence | Phase::Rescue | Phase::Promote => t.epoch == epoch,
            Phase::Redirect | Phase::Settle | Phase::RollBack => false,
        })
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
    let settled = now >= view.times.lease_over(view.leading_since);
    let fresh = group.transition.as_ref().is_some_and(|t| t.phase == Phase::Redirect);
    let holds = view.witness(group).is_some_and(|(_, r)| r.attached);
    if !(settled || fresh || holds) {
        // A leader before this one may have granted it to another node.
        return Err(NoLease::NotWitness);
    }
    // The witness of an earlier primary was attached to that one: it cannot be counted by this one, and that it is closed
    // says nothing of its node, which may have been granted a lease for this one before.
    let epoch = group.primary.as_ref().map(|p| p.epoch);
    let closed = |other: NodeId, at: Moment| {
        let report = view.witnesses.get(&(group.spec.name.clone(), other));
        let let_go = report.is_some_and(|r| r.closed && Some(r.epoch) == epoch && r.at >= at);
        let_go || now >= view.times.lease_over(at)
    };
    let of_this = |(other, of): (&NodeId, &Epoch)| *other != node && Some(*of) == epoch;
    let granted = view.witness_granted.iter().filter(|((name, _), _)| *name == group.spec.name);
    let mut others = granted.filter(|((_, other), (of, _))| of_this((other, of)));
    if others.all(|((_, other), (_, at))| closed(*other, *at)) { Ok(()) } else { Err(NoLease::NotWitness) }
}

/// Whether `node` may besides run the mirror into `member`, or watch it where somebody else runs it, now: one node at a
/// time, at the member's site where there is one, whatever the epoch of the mirror before.
///
/// # Errors
/// [`NoLease`] says why not.
pub fn may_mirror(
    group: &Group,
    member: &MemberName,
    node: NodeId,
    view: &View,
    now: Moment,
) -> Result<(), NoLease> {
    let (Some(spec), Some(primary)) = (group.spec.member(member), &group.primary) else {
        return Err(NoLease::NotMirror);
    };
    let beside = |id: NodeId| view.nodes.get(&id) == Some(&spec.site);
    if group.spec.mirror.is_none()
        || *member == primary.member
        || (!beside(node) && view.nodes.keys().any(|id| beside(*id)))
    {
        return Err(NoLease::NotMirror);
    }
    let key = (group.spec.name.clone(), member.clone());
    let over = |at: Moment| now >= view.times.lease_over(at);
    // Who held a lease when this leader was alone able to grant one, held the only one.
    let reports = view.mirrors.get(&key);
    let holds = reports
        .and_then(|r| r.get(&node))
        .is_some_and(|r| r.running && r.epoch == primary.epoch && r.at >= view.leading_since);
    match view.mirror_granted.get(&key) {
        Some((last, at)) if *last != node && !over(*at) => Err(NoLease::NotMirror),
        Some((last, _)) if *last == node => Ok(()),
        Some(_) | None if over(view.leading_since) || holds => Ok(()),
        Some(_) | None => Err(NoLease::NotMirror),
    }
}

/// From when no guard relies on a lease on the group's primary, whichever leader granted it.
pub fn over_at(group: &Group, view: &View) -> Moment {
    last_over_at(group, view, |_| true)
}

/// The same for gates: those that were shut for a transition rely on none any more.
pub fn gates_over_at(group: &Group, t: &Transition, view: &View) -> Moment {
    last_over_at(group, view, |node| !gates_shut(group, t, view, node))
}

/// The same for witnesses, of whichever epoch: who holds a lease for its gates alone is attached to no primary.
pub fn witness_over_at(group: &Group, view: &View) -> Moment {
    let granted = view.witness_granted.iter().filter(|((name, _), _)| *name == group.spec.name);
    last_of(view, granted.map(|(_, (_, at))| *at))
}

fn last_over_at(group: &Group, view: &View, relies: impl Fn(NodeId) -> bool) -> Moment {
    let granted = view.granted.iter().filter(|((name, node), _)| *name == group.spec.name && relies(*node));
    last_of(view, granted.map(|(_, at)| *at))
}

/// When the last of these grants is over, and all that a leader before this one may have made.
fn last_of(view: &View, granted: impl Iterator<Item = Moment>) -> Moment {
    view.times.lease_over(granted.max().unwrap_or_default().max(view.leading_since))
}

/// Whether a node that knows of the intent says that nothing passes its gates. Grants end with the intent, so what it
/// says cannot be undone by a restart.
pub fn gates_shut(group: &Group, t: &Transition, view: &View, node: NodeId) -> bool {
    let report = view.gates.get(&(group.spec.name.clone(), node));
    report.is_some_and(|r| r.epoch >= t.epoch && !r.open)
}

/// The nodes that may rely on a lease on the group's primary at `now`: those to which this leader granted one, and in
/// its first time every node, because a leader before it may have.
pub fn holders(group: &Group, view: &View, now: Moment) -> BTreeSet<NodeId> {
    let relies = |at: Moment| now < view.times.lease_over(at);
    let granted = view.granted.iter().filter(|((name, _), at)| *name == group.spec.name && relies(**at));
    let mut holders: BTreeSet<NodeId> = granted.map(|((_, node), _)| *node).collect();
    if relies(view.leading_since) {
        holders.extend(view.nodes.keys().chain(&view.learners));
    }
    holders
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::view::{MirrorMode, MirrorReport, WitnessReport};
    use crate::{
        Durability, FailoverMode, FenceQuorum, GapPolicy, GroupKind, GroupSpec, LagBudget, Lineage,
        LossBudget, MemberSpec, MirrorEngine, MirrorSpec, OnNoSite, Position, Primary, Probe, Revision,
        SiteName, WallTime,
    };
    use std::collections::VecDeque;

    fn group(epoch: u64) -> Group {
        let member = |name: &str, port: u16| {
            let address: crate::Address = format!("10.0.0.1:{port}").parse().unwrap();
            MemberSpec {
                name: MemberName::new(name).unwrap(),
                site: SiteName::new(name).unwrap(),
                address: address.clone(),
                priority: 100,
                probe: Probe::Cluster { bootstrap: vec![address] },
            }
        };
        let mirror = MirrorSpec {
            engine: MirrorEngine::Builtin,
            topics: vec![".*".to_owned()],
            groups: vec![],
            rate_max_bytes: None,
            gaps: GapPolicy::Refuse,
            max_lag: LagBudget::Any,
        };
        let nothing = Position { replid: String::new(), offset_bytes: 0 };
        Group {
            spec: GroupSpec {
                name: crate::GroupName::new("events").unwrap(),
                kind: GroupKind::Kafka,
                failover: FailoverMode::Manual,
                down_after_ms: 1_000,
                max_loss: LossBudget::Any,
                fence: FencePolicy::Witness,
                tail_max_bytes: 0,
                may_kill: false,
                durability: Durability::Local,
                on_no_site: OnNoSite::Refuse,
                mirror: Some(mirror),
                members: vec![member("east", 1), member("west", 2)],
            },
            primary: Some(Primary {
                member: MemberName::new("east").unwrap(),
                epoch: Epoch(epoch),
                lineage: Lineage { run_id: "A".to_owned(), start: nothing, previous: None },
                since: WallTime(0),
                fence: FenceQuorum::default(),
                witness: None,
                holder: None,
                degraded: false,
            }),
            transition: None,
            paused: None,
            blocked: None,
            history: VecDeque::new(),
            revision: Revision(1),
        }
    }

    fn view() -> View {
        let site = |name: &str| SiteName::new(name).unwrap();
        let nodes = [(1, "east"), (2, "west"), (3, "west")];
        View {
            nodes: nodes.map(|(id, name)| (NodeId(id), site(name))).into(),
            leading_since: Moment(0),
            ..View::default()
        }
    }

    const LATER: Moment = Moment(60_000_000);

    fn running(at: u64, epoch: u64) -> MirrorReport {
        let nothing = MirrorReport::nothing(Moment(at), Epoch(epoch));
        MirrorReport { running: true, mode: MirrorMode::Live, ..nothing }
    }

    #[test]
    fn one_node_at_the_standbys_site_runs_the_mirror() {
        let (group, mut view) = (group(7), view());
        let west = MemberName::new("west").unwrap();
        let may = |view: &View, node, now| may_mirror(&group, &west, NodeId(node), view, now);
        assert_eq!(may(&view, 1, LATER), Err(NoLease::NotMirror), "it is at another site");
        assert_eq!(may(&view, 2, LATER), Ok(()));
        assert_eq!(
            may_mirror(&group, &MemberName::new("east").unwrap(), NodeId(1), &view, LATER),
            Err(NoLease::NotMirror)
        );
        let key = (group.spec.name.clone(), west.clone());
        view.mirror_granted.insert(key, (NodeId(2), LATER));
        assert_eq!(may(&view, 3, LATER), Err(NoLease::NotMirror), "the other one has it");
        assert_eq!(may(&view, 2, LATER), Ok(()), "and keeps it");
        let over = LATER.after(view.times.lease_ttl + view.times.lease_margin);
        assert_eq!(may(&view, 3, over), Ok(()), "until its lease is over");
        view.nodes.retain(|id, _| *id == NodeId(1));
        assert_eq!(may(&view, 1, over), Ok(()), "where nobody is beside it, anybody");
    }

    #[test]
    fn a_new_leader_lets_the_owner_go_on_and_makes_others_wait() {
        let (group, mut view) = (group(7), view());
        let west = MemberName::new("west").unwrap();
        (view.leading_since, view.mirror_granted) = (LATER, std::collections::BTreeMap::new());
        let may = |view: &View, node, now| may_mirror(&group, &west, NodeId(node), view, now);
        assert_eq!(
            may(&view, 2, LATER),
            Err(NoLease::NotMirror),
            "a leader before may have granted it to n3"
        );
        let key = (group.spec.name.clone(), west.clone());
        let tell = |view: &mut View, report| {
            view.mirrors.entry(key.clone()).or_default().insert(NodeId(2), report);
        };
        tell(&mut view, running(LATER.0 - 1, 7));
        assert_eq!(may(&view, 2, LATER), Err(NoLease::NotMirror), "that was before");
        tell(&mut view, running(LATER.0 + 1, 6));
        assert_eq!(may(&view, 2, LATER), Err(NoLease::NotMirror), "that was another primary's");
        tell(&mut view, running(LATER.0 + 1, 7));
        assert_eq!(may(&view, 2, LATER), Ok(()));
        assert_eq!(may(&view, 3, LATER), Err(NoLease::NotMirror));
    }

    #[test]
    fn a_gates_lease_keeps_no_primary_open() {
        let (group, mut view) = (group(7), view());
        let lease = view.times.lease_ttl + view.times.lease_margin;
        let name = group.spec.name.clone();
        view.leading_since = Moment(1);
        assert_eq!(
            witness_over_at(&group, &view),
            Moment(1).after(lease),
            "an earlier leader may have granted one"
        );
        view.witness_granted.insert((name.clone(), NodeId(1)), (Epoch(7), Moment(5)));
        view.granted.extend([((name.clone(), NodeId(1)), LATER), ((name, NodeId(3)), LATER)]);
        assert_eq!(witness_over_at(&group, &view), Moment(5).after(lease));
        assert_eq!(over_at(&group, &view), LATER.after(lease), "a gate relies on it all the same");
    }

    #[test]
    fn a_witness_of_an_earlier_primary_that_is_closed_lets_nothing_go() {
        let (mut group, mut view) = (group(7), view());
        group.spec.fence = FencePolicy::Witness;
        group.primary.as_mut().unwrap().witness = Some(NodeId(3));
        let key = (group.spec.name.clone(), NodeId(2));
        view.witness_granted.insert(key.clone(), (Epoch(7), LATER));
        let closed = |epoch| WitnessReport {
            at: Moment(LATER.0 + 1),
            epoch: Epoch(epoch),
            attached: false,
            ended: None,
            closed: true,
            replid: None,
            start_bytes: 0,
            end_bytes: 0,
            heard_at: LATER,
            copies: 0,
        };
        let now = Moment(LATER.0 + 2);
        view.witnesses.insert(key.clone(), closed(6));
        assert_eq!(
            may_witness(&group, NodeId(3), &view, now),
            Err(NoLease::NotWitness),
            "n2 may be attached"
        );
        view.witnesses.insert(key, closed(7));
        assert_eq!(may_witness(&group, NodeId(3), &view, now), Ok(()));
    }
}
