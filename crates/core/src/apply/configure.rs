//! Groups as the operator wants them.

use super::{Rejected, State};
use crate::{Address, Event, Group, GroupName, GroupSpec, MemberName, Revision};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) fn apply(
    state: &mut State,
    revision: Revision,
    groups: &[GroupSpec],
    prune: bool,
) -> Result<Vec<Event>, Rejected> {
    check(state, groups, prune)?;
    let mut events = Vec::new();
    if prune {
        let named: BTreeSet<&GroupName> = groups.iter().map(|g| &g.name).collect();
        let gone: Vec<GroupName> = state.groups.keys().filter(|g| !named.contains(g)).cloned().collect();
        for group in gone {
            state.groups.remove(&group);
            events.push(Event::GroupRemoved { group });
        }
    }
    for spec in groups {
        if let Some(group) = state.groups.get_mut(&spec.name) {
            if group.spec == *spec {
                continue;
            }
            group.spec = spec.clone();
            group.revision = revision;
        } else {
            let group = Group {
                spec: spec.clone(),
                primary: None,
                transition: None,
                paused: None,
                blocked: None,
                history: VecDeque::new(),
                revision,
            };
            state.groups.insert(spec.name.clone(), group);
        }
        events.push(Event::GroupConfigured { group: spec.name.clone() });
    }
    Ok(events)
}

/// Refuses what cannot work, before anything is changed.
///
/// # Errors
/// [`Rejected::InvalidGroup`] with key, reason and remedy, or [`Rejected::TransitionInProgress`].
pub fn check(state: &State, groups: &[GroupSpec], prune: bool) -> Result<(), Rejected> {
    let mut names = BTreeSet::new();
    for spec in groups {
        if !names.insert(&spec.name) {
            return Err(invalid(
                format!("redis.{}", spec.name),
                "the group is named twice",
                "give each group its own name",
            ));
        }
        check_members(spec)?;
        if let Some(known) = state.groups.get(&spec.name) {
            check_change(known, spec)?;
        }
    }
    if prune {
        for (name, group) in &state.groups {
            if let Some(t) = group.transition.as_ref().filter(|_| !names.contains(name)) {
                return Err(Rejected::TransitionInProgress { group: name.clone(), epoch: t.epoch });
            }
        }
    }
    let kept = state.groups.values().map(|g| &g.spec).filter(|s| !prune && !names.contains(&s.name));
    check_addresses(groups.iter().chain(kept))
}

fn check_members(spec: &GroupSpec) -> Result<(), Rejected> {
    let key = format!("redis.{}.member", spec.name);
    if spec.members.len() < 2 {
        let reason =
            format!("the group has {} member(s), so there is nothing to fail over to", spec.members.len());
        return Err(invalid(key, reason, "name at least two members, at two sites or more"));
    }
    let mut names: BTreeSet<&MemberName> = BTreeSet::new();
    for m in &spec.members {
        if !names.insert(&m.name) {
            return Err(invalid(key, format!("{} is named twice", m.name), "give each member its own name"));
        }
    }
    if spec.members.iter().all(|m| m.priority == 0) {
        return Err(invalid(key, "every member has priority 0", "give at least one a higher priority"));
    }
    if spec.down_after_ms == 0 {
        let key = format!("redis.{}.down_after", spec.name);
        return Err(invalid(key, "it is zero", "use a duration such as \"1s\""));
    }
    Ok(())
}

/// The primary and whoever takes part in a transition stay, at the address they have.
fn check_change(known: &Group, spec: &GroupSpec) -> Result<(), Rejected> {
    if known.spec == *spec {
        return Ok(());
    }
    if let Some(t) = known.transition.as_ref().filter(|t| t.phase.closes_the_door()) {
        return Err(Rejected::TransitionInProgress { group: spec.name.clone(), epoch: t.epoch });
    }
    let Some(primary) = &known.primary else { return Ok(()) };
    let before = known.spec.member(&primary.member).map(|m| &m.address);
    let after = spec.member(&primary.member).map(|m| &m.address);
    let key = format!("redis.{}.member", spec.name);
    let remedy = format!("move the primary first: primacy switchover {}", spec.name);
    match after {
        None => Err(invalid(key, format!("{} is the primary and is missing", primary.member), remedy)),
        Some(_) if before != after => {
            Err(invalid(key, format!("{} is the primary and its address differs", primary.member), remedy))
        }
        Some(_) => Ok(()),
    }
}

fn check_addresses<'a>(specs: impl Iterator<Item = &'a GroupSpec>) -> Result<(), Rejected> {
    let mut owners: BTreeMap<(String, u16), (&GroupName, &MemberName)> = BTreeMap::new();
    for spec in specs {
        for m in &spec.members {
            let Address { host, port, .. } = &m.address;
            if let Some((group, member)) = owners.insert((host.to_lowercase(), *port), (&spec.name, &m.name))
            {
                let key = format!("redis.{}.member.{}.address", spec.name, m.name);
                let reason = format!("{} is the address of {member} in group {group} as well", m.address);
                return Err(invalid(key, reason, "a server belongs to one member of one group"));
            }
        }
    }
    Ok(())
}

fn invalid(key: String, reason: impl Into<String>, remedy: impl Into<String>) -> Rejected {
    Rejected::InvalidGroup { key, reason: reason.into(), remedy: remedy.into() }
}
