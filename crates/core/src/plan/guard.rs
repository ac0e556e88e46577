//! Who keeps the primary open: its witness and its fence quorum follow what the nodes see.
//!
//! The committed `min_replicas` is never above the one in force. So it is lowered by a commit before it is set, and
//! raised by setting and reading back before it is committed; a member is committed into the quorum before it is
//! admitted, and leaves it after the primary refused it. Each is one step here, found from scratch each time.

use super::{Context, Step, StepKind, holder};
use crate::detect::{self, CURRENT_WITHIN, Health};
use crate::view::{MemberStatus, SHUT_MIN_REPLICAS};
use crate::{
    ActionKey, ActionKind, Command, FencePolicy, FenceQuorum, Group, MemberName, MemberSpec, NodeId, Primary,
    SiteName,
};
use std::time::Duration;

const RULE: &str = "guard";
/// A member that has been away from the primary for so long leaves the quorum.
const EXCLUDE_AFTER: Duration = Duration::from_secs(10);
/// One that was admitted by commit and is not attached yet is admitted again.
const ADMIT_AGAIN_AFTER: Duration = Duration::from_millis(300);
const ADMIT_EVERY: Duration = Duration::from_secs(3);
/// A witness whose node says nothing for so long is replaced, if there is another at its site.
const WITNESS_AWAY: Duration = Duration::from_secs(2);

pub(super) fn steps(c: &Context<'_>) -> Vec<Step> {
    let Some(primary) = c.group.primary.as_ref().filter(|_| c.group.spec.fence == FencePolicy::Witness)
    else {
        return vec![];
    };
    let Some(member) = c.group.spec.member(&primary.member) else { return vec![] };
    let appointed = appoint(c, primary, member);
    if !appointed.is_empty() {
        return appointed;
    }
    if detect::verdict(c.group, &member.name, c.view, c.now).health != Health::Up {
        return vec![];
    }
    let Some((at, status)) = c.view.freshest(&c.group.spec.name, &member.name) else { return vec![] };
    let shut = status.min_replicas == SHUT_MIN_REPLICAS;
    // A door that is being opened gets the number that was committed when that began.
    let shut = shut || is_under_way(c, primary, "open");
    if shut || !status.is_primary() || c.now.since(at) > CURRENT_WITHIN {
        return vec![];
    }
    let held = holder::steps(c, primary, member);
    if held.is_empty() { quorum(c, primary, member, status) } else { held }
}

/// Whether the primary admits the member as a replica.
pub(super) fn admitted(group: &Group, member: &MemberName) -> bool {
    let quorum =
        group.primary.as_ref().filter(|_| group.spec.fence == FencePolicy::Witness).map(|p| &p.fence);
    quorum.is_none_or(|q| q.replicas.contains(member))
}

/// Whether that is being done to the primary.
pub(super) fn is_under_way(c: &Context<'_>, primary: &Primary, word: &'static str) -> bool {
    let (group, member) = (c.group.spec.name.clone(), primary.member.clone());
    c.view.running.contains(&ActionKey { group, epoch: primary.epoch, member, word })
}

/// The node that is or becomes the witness of a primary at `site`: the present one while it is heard.
pub(super) fn witness_for(c: &Context<'_>, site: &SiteName, present: Option<NodeId>) -> Option<NodeId> {
    if c.group.spec.fence == FencePolicy::None {
        return None;
    }
    let heard = |id: &NodeId| c.view.heard.get(id).is_some_and(|at| c.now.since(*at) <= WITNESS_AWAY);
    let at_site = || c.view.nodes.iter().filter(|(_, s)| *s == site).map(|(id, _)| *id);
    let heard_there = at_site().find(heard);
    match present.filter(|id| at_site().any(|other| other == *id)) {
        Some(id) if heard(&id) || heard_there.is_none() => Some(id),
        Some(_) | None => heard_there,
    }
}

fn appoint(c: &Context<'_>, primary: &Primary, member: &MemberSpec) -> Vec<Step> {
    let node = witness_for(c, &member.site, primary.witness);
    if node == primary.witness {
        return vec![];
    }
    let (group, epoch) = (c.group.spec.name.clone(), primary.epoch);
    propose(Command::AppointWitness { group, epoch, node, at: c.wall })
}

fn quorum(c: &Context<'_>, primary: &Primary, member: &MemberSpec, status: &MemberStatus) -> Vec<Step> {
    let fence = &primary.fence;
    let others = || c.group.spec.members.iter().filter(|m| m.name != primary.member);
    if let Some(joining) = others().find(|m| !fence.replicas.contains(&m.name) && answers(c, m)) {
        let mut wider = fence.clone();
        wider.replicas.insert(joining.name.clone());
        return propose(change(c, primary, wider));
    }
    // One that is no member any more cannot be counted by us, and is a stranger if it comes back.
    let gone: Vec<MemberName> =
        fence.replicas.iter().filter(|name| c.group.spec.member(name).is_none()).cloned().collect();
    let away =
        others().filter(|m| fence.replicas.contains(&m.name)).filter(|m| away_too_long(c, m, status, fence));
    let refuse: Vec<MemberName> = gone.into_iter().chain(away.map(|m| m.name.clone())).collect();
    let admit = |without: &[MemberName]| {
        fence.replicas.iter().filter(|m| !without.contains(m)).cloned().collect::<Vec<_>>()
    };
    let set = |min_replicas, refuse: Vec<MemberName>| {
        let kind = ActionKind::SetFence { min_replicas, admit: admit(&refuse), refuse };
        c.perform(RULE, primary.epoch, member, kind).into_iter().collect::<Vec<_>>()
    };
    if !refuse.is_empty() {
        return set(fence.min_replicas, refuse);
    }
    let wanted = FenceQuorum::wanted(fence.replicas.len(), primary.witness.is_some());
    if wanted < fence.min_replicas {
        return propose(change(c, primary, FenceQuorum { min_replicas: wanted, ..fence.clone() }));
    }
    if wanted > fence.min_replicas && attached(c, status) >= wanted {
        return set(wanted, vec![]);
    }
    let readmit = others().any(|m| {
        fence.replicas.contains(&m.name)
            && answers(c, m)
            && missing_for(c, m).is_some_and(|d| d >= ADMIT_AGAIN_AFTER)
    });
    let key = ActionKey {
        group: c.group.spec.name.clone(),
        epoch: primary.epoch,
        member: primary.member.clone(),
        word: "set_fence",
    };
    let lately = c.view.done.get(&key).is_some_and(|at| c.now.since(*at) < ADMIT_EVERY);
    let by_hand = status.min_replicas != fence.min_replicas || !status.notices_silence;
    if by_hand || (readmit && !lately) {
        return set(fence.min_replicas, vec![]);
    }
    vec![]
}

/// How many of those that may keep it open are attached: members by its own list, and the witness.
fn attached(c: &Context<'_>, status: &MemberStatus) -> u64 {
    let members =
        c.group.spec.members.iter().filter(|m| admitted(c.group, &m.name) && status.counts(&m.address));
    let witness =
        c.view.witness(c.group).is_some_and(|(_, r)| r.attached && c.now.since(r.at) <= CURRENT_WITHIN);
    members.count() as u64 + u64::from(witness)
}

/// Whether a member has been missing for long; or for `down_after`, when the primary is shut for want of it.
fn away_too_long(c: &Context<'_>, m: &MemberSpec, status: &MemberStatus, fence: &FenceQuorum) -> bool {
    let Some(missing) = missing_for(c, m) else { return false };
    let short = status.replicas_online() < fence.min_replicas;
    let patience = if short { Duration::from_millis(c.group.spec.down_after_ms) } else { EXCLUDE_AFTER };
    missing >= patience && (short || !answers(c, m))
}

fn missing_for(c: &Context<'_>, m: &MemberSpec) -> Option<Duration> {
    let since = c.view.unattached.get(&(c.group.spec.name.clone(), m.name.clone()))?;
    Some(c.now.since(*since))
}

fn answers(c: &Context<'_>, m: &MemberSpec) -> bool {
    let fresh = c.view.freshest(&c.group.spec.name, &m.name);
    fresh.is_some_and(|(at, s)| c.now.since(at) <= CURRENT_WITHIN && !s.loading)
}

fn change(c: &Context<'_>, primary: &Primary, fence: FenceQuorum) -> Command {
    Command::ChangeFence { group: c.group.spec.name.clone(), epoch: primary.epoch, fence, at: c.wall }
}

fn propose(command: Command) -> Vec<Step> {
    vec![Step { rule: RULE, kind: StepKind::Propose(command) }]
}
