//! A silent primary that can be waited out.
//!
//! It accepts writes only while `min_replicas` of its fence quorum are attached, by its own count. Who was taken away
//! from it cannot come back: a standby because it was pointed elsewhere and this leader's word is the only one it
//! hears, the witness because its lease is over. The primary notices by itself within the passive bound. So it is
//! shut once fewer than `min_replicas` are left of the witness, the members that could not be taken away, and the
//! replicas that are none of ours, which nobody can take away.

use super::CURRENT_WITHIN;
use crate::view::{MemberStatus, View};
use crate::{
    ActionKey, Evidence, FencePolicy, Finding, Group, MemberName, MemberSpec, Moment, Primary, Proof,
    Transition, lease,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// From the decision to the standbys being pointed elsewhere, for estimates.
const TAKING_AWAY: Duration = Duration::from_millis(500);

/// Whether waiting can prove that the primary is shut: enough of its fence quorum answer, so they can be taken away.
pub fn can_be_waited_out(group: &Group, view: &View, now: Moment) -> bool {
    let Some(primary) = guarded(group) else { return false };
    let answering = in_quorum(group, primary).filter(|m| answers(group, &m.name, view, now)).count() as u64;
    let witness = u64::from(witnessed(group, view));
    all(group, primary, view).saturating_sub(answering + witness) < primary.fence.min_replicas
        && in_force(group, view)
}

/// By when a silent primary accepts no more writes, if its standbys are taken away from it now: when it has noticed that
/// they are gone, and its witness too where that alone would keep it open.
pub(super) fn shut_by(group: &Group, view: &View, now: Moment) -> Moment {
    let soon = now.after(TAKING_AWAY);
    let Some(primary) = guarded(group) else { return soon.after(view.times.passive_bound) };
    let answering = in_quorum(group, primary).filter(|m| answers(group, &m.name, view, now)).count() as u64;
    let standbys_suffice = all(group, primary, view).saturating_sub(answering) < primary.fence.min_replicas;
    let last = if standbys_suffice { soon } else { soon.max(lease::witness_over_at(group, view)) };
    last.after(view.times.passive_bound)
}

/// The members of the fence quorum that answer and were not taken away yet.
pub fn to_take_away<'a>(
    group: &'a Group,
    t: &'a Transition,
    view: &'a View,
    now: Moment,
) -> impl Iterator<Item = &'a MemberSpec> + 'a {
    let primary = guarded(group);
    let members =
        group.spec.members.iter().filter(move |m| {
            primary.is_some_and(|p| p.fence.replicas.contains(&m.name) && p.member != m.name)
        });
    members.filter(move |m| answers(group, &m.name, view, now) && taken_away(t, &m.name, view).is_none())
}

/// The proof that the primary has been waited out, once it is one.
pub fn expired(group: &Group, t: &Transition, view: &View, now: Moment) -> Option<Proof> {
    let primary = guarded(group)?;
    let gates_over_at = lease::gates_over_at(group, t, view);
    if now < gates_over_at || !in_force(group, view) {
        return None;
    }
    let noticed = |since: Moment| now >= since.after(view.times.passive_bound);
    let mut evidence = vec![Evidence {
        observer: None,
        member: primary.member.clone(),
        finding: Finding::LeaseOver { ms: now.since(gates_over_at).as_millis() as u64 },
    }];
    let mut gone = 0;
    for member in in_quorum(group, primary) {
        if let Some(since) = taken_away(t, &member.name, view).filter(|since| noticed(*since)) {
            gone += 1;
            let finding = Finding::TakenAway { ms: now.since(since).as_millis() as u64 };
            evidence.push(Evidence { observer: None, member: member.name.clone(), finding });
        }
    }
    // What a node says of its gates says nothing of its witness.
    if witnessed(group, view) && noticed(lease::witness_over_at(group, view)) {
        gone += 1;
    }
    let undetached = all(group, primary, view).saturating_sub(gone);
    let min_replicas = primary.fence.min_replicas;
    (undetached < min_replicas).then_some(Proof::Expired { evidence, min_replicas, undetached })
}

/// When, at the earliest, the next look can find it waited out.
pub fn expires_at(group: &Group, t: &Transition, view: &View) -> Moment {
    let over = lease::gates_over_at(group, t, view);
    let taken = group.spec.members.iter().filter_map(|m| taken_away(t, &m.name, view)).max();
    taken.map_or(over, |at| over.max(at.after(view.times.passive_bound)))
}

fn guarded(group: &Group) -> Option<&Primary> {
    let primary = group.primary.as_ref()?;
    (group.spec.fence == FencePolicy::Witness && primary.fence.min_replicas > 0).then_some(primary)
}

fn in_quorum<'a>(group: &'a Group, primary: &'a Primary) -> impl Iterator<Item = &'a MemberSpec> + 'a {
    group.spec.members.iter().filter(|m| m.name != primary.member && primary.fence.replicas.contains(&m.name))
}

/// Whether a witness may be attached: one is appointed now, or a node said that it was one under this epoch.
fn witnessed(group: &Group, view: &View) -> bool {
    let Some(primary) = &group.primary else { return false };
    let name = &group.spec.name;
    primary.witness.is_some()
        || view.witnesses.iter().any(|((g, _), r)| g == name && r.epoch == primary.epoch && r.attached)
}

/// All that the primary may count: its quorum, its witness, and strangers.
fn all(group: &Group, primary: &Primary, view: &View) -> u64 {
    let members = in_quorum(group, primary).count() as u64;
    members + u64::from(witnessed(group, view)) + strangers(group, view)
}

/// Replicas that the primary counts and that are neither members nor its witness, by its last answer.
pub fn strangers(group: &Group, view: &View) -> u64 {
    let Some((_, status)) = view.last_of_primary(group) else { return 0 };
    beside_members(group, status).saturating_sub(u64::from(witnessed(group, view)))
}

/// Replicas that a primary counts and that are no members.
pub(super) fn beside_members(group: &Group, status: &MemberStatus) -> u64 {
    let addresses: BTreeSet<_> = group.spec.members.iter().map(|m| &m.address).collect();
    let members = addresses.into_iter().filter(|a| status.counts(a)).count() as u64;
    status.replicas_online().saturating_sub(members)
}

/// Whether the committed number was in force by the last answer; with no answer it is, by the order of commit and set.
fn in_force(group: &Group, view: &View) -> bool {
    let wanted = group.primary.as_ref().map_or(0, |p| p.fence.min_replicas);
    view.last_of_primary(group)
        .is_none_or(|(_, status)| status.min_replicas >= wanted && status.notices_silence)
}

fn answers(group: &Group, member: &MemberName, view: &View, now: Moment) -> bool {
    view.freshest(&group.spec.name, member).is_some_and(|(at, _)| now.since(at) <= CURRENT_WITHIN)
}

/// Since when this leader knows that the member was taken away in this transition.
fn taken_away(t: &Transition, member: &MemberName, view: &View) -> Option<Moment> {
    let of = |word| ActionKey { group: t.group.clone(), epoch: t.epoch, member: member.clone(), word };
    view.done.get(&of("detach")).copied()
}
