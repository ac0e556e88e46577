//! Groups as the operator wants them.
//!
//! Two sorts of rules. Those that keep the state sound hold for every command of the log. What is unwise or has no
//! meaning is refused to whoever asks for it, and never to the log: a later version may know more of such rules, and
//! what was committed before it must give the same state on every node.

mod kafka;

use super::{Rejected, State};
use crate::{
    Address, Durability, Event, FencePolicy, Group, GroupKind, GroupName, GroupSpec, MemberName, MemberSpec,
    Probe, Revision, SiteName,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) fn apply(
    state: &mut State,
    revision: Revision,
    groups: &[GroupSpec],
    prune: bool,
) -> Result<Vec<Event>, Rejected> {
    check_sound(state, groups, prune)?;
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

/// Refuses what cannot work or has no meaning, before it is proposed.
///
/// # Errors
/// [`Rejected::InvalidGroup`] with key, reason and remedy, or [`Rejected::TransitionInProgress`].
pub fn check(state: &State, groups: &[GroupSpec], prune: bool) -> Result<(), Rejected> {
    check_sound(state, groups, prune)?;
    groups.iter().try_for_each(|spec| match spec.kind {
        GroupKind::Redis => check_redis(spec),
        GroupKind::Endpoint => check_endpoint(spec),
        GroupKind::Kafka => kafka::check(spec),
    })
}

/// Refuses what would leave the state unsound.
fn check_sound(state: &State, groups: &[GroupSpec], prune: bool) -> Result<(), Rejected> {
    let mut names = BTreeSet::new();
    for spec in groups {
        if !names.insert(&spec.name) {
            return Err(invalid(of(spec, ""), "the group is named twice", "give each group its own name"));
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
    let key = of(spec, ".member");
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
        return Err(invalid(of(spec, ".down_after"), "it is zero", "use a duration such as \"1s\""));
    }
    Ok(())
}

/// The least that a witness can keep, in bytes, and the most, because it is kept in memory.
const TAIL_MAX_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(16 << 30);

fn check_redis(spec: &GroupSpec) -> Result<(), Rejected> {
    if let Some(m) = spec.members.iter().find(|m| m.probe != Probe::Native) {
        let reason = "a Redis server is probed by its own protocol";
        return Err(invalid(of_member(spec, m, ".probe"), reason, "remove the key"));
    }
    if !TAIL_MAX_BYTES.contains(&spec.tail_max_bytes) {
        let reason = format!("{} bytes is out of range", spec.tail_max_bytes);
        return Err(invalid(of(spec, ".tail_max"), reason, "use a size from \"64 KiB\" to \"16 GiB\""));
    }
    match spec.fence {
        FencePolicy::None if spec.durability != Durability::Async => {
            let reason = format!(
                "replies cannot wait for a witness with durability = \"{}\": fence = \"none\" has none",
                spec.durability.word()
            );
            let remedy = "use durability = \"async\", or fence = \"witness\"";
            Err(invalid(of(spec, ".durability"), reason, remedy))
        }
        FencePolicy::None => Ok(()),
        FencePolicy::Witness => check_far_replica(spec),
    }
}

/// With all members at one site nothing tells a primary that is cut off from one that is dead: whoever keeps it open is
/// cut off with it.
fn check_far_replica(spec: &GroupSpec) -> Result<(), Rejected> {
    let sites: BTreeSet<&SiteName> = spec.members.iter().map(|m| &m.site).collect();
    let Some(site) = sites.first().filter(|_| sites.len() == 1) else { return Ok(()) };
    let reason = format!(
        "all members are at site {site}: a primary there that is cut off with them stays open, and is never proven shut"
    );
    let remedy = "put a member at another site, or ask for Sentinel's kind of safety by fence = \"none\"";
    Err(invalid(of(spec, ".member"), reason, remedy))
}

fn check_endpoint(spec: &GroupSpec) -> Result<(), Rejected> {
    for m in &spec.members {
        let key = || of_member(spec, m, ".probe");
        match &m.probe {
            Probe::Tcp => {}
            Probe::Native | Probe::Cluster { .. } => {
                let reason = "an endpoint has no protocol of its own to probe it by";
                return Err(invalid(key(), reason, "use \"tcp\", or \"http:/healthz\""));
            }
            Probe::Http { path } => check_path(path).map_err(|reason| {
                invalid(key(), reason, "use the path of a health check, such as \"http:/healthz\"")
            })?,
        }
        if m.address.tls {
            let reason = format!("{} asks for TLS, which a gate passes on without speaking it", m.address);
            return Err(invalid(of_member(spec, m, ".address"), reason, "write HOST:PORT"));
        }
    }
    // A gate leads to an endpoint under a lease alone, so there is nothing to choose.
    if spec.fence != FencePolicy::Witness {
        let reason = "gates lead to an endpoint under a lease, and never without";
        return Err(invalid(of(spec, ".fence"), reason, "remove the key"));
    }
    let redis_only = [("durability", spec.durability != Durability::Async), ("may_kill", spec.may_kill)];
    match redis_only.into_iter().find(|(_, set)| *set) {
        Some((key, _)) => {
            Err(invalid(of(spec, &format!(".{key}")), "it has no meaning for an endpoint", "remove the key"))
        }
        None => Ok(()),
    }
}

/// A path that can stand in a request line.
fn check_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("the path {path:?} does not begin with a slash"));
    }
    match path.chars().find(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        Some(c) => Err(format!("the path {path:?} has the character {c:?}")),
        None => Ok(()),
    }
}

/// A key of the group, as the file has it.
fn of(spec: &GroupSpec, key: &str) -> String {
    format!("{}.{}{key}", spec.kind, spec.name)
}

fn of_member(spec: &GroupSpec, member: &MemberSpec, key: &str) -> String {
    of(spec, &format!(".member.{}{key}", member.name))
}

/// The primary and whoever takes part in a transition stay, at the address they have.
fn check_change(known: &Group, spec: &GroupSpec) -> Result<(), Rejected> {
    if known.spec == *spec {
        return Ok(());
    }
    if let Some(t) = known.transition.as_ref().filter(|t| t.phase.closes_the_door()) {
        return Err(Rejected::TransitionInProgress { group: spec.name.clone(), epoch: t.epoch });
    }
    if known.spec.kind != spec.kind {
        let reason = format!("it is a group of kind {}, which never changes", known.spec.kind);
        return Err(invalid(of(spec, ""), reason, "give it another name, or remove the old one first"));
    }
    let Some(primary) = &known.primary else { return Ok(()) };
    let before = known.spec.member(&primary.member).map(|m| &m.address);
    let after = spec.member(&primary.member).map(|m| &m.address);
    let key = of(spec, ".member");
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
            for address in m.addresses() {
                let Address { host, port, .. } = address;
                let owner = owners.insert((host.to_lowercase(), *port), (&spec.name, &m.name));
                if let Some((group, member)) = owner.filter(|owner| *owner != (&spec.name, &m.name)) {
                    let kafka = spec.kind == GroupKind::Kafka;
                    let key = of_member(spec, m, if kafka { ".bootstrap" } else { ".address" });
                    let reason = format!("{address} is the address of {member} in group {group} as well");
                    let what = if kafka { "cluster" } else { "server" };
                    return Err(invalid(key, reason, format!("a {what} belongs to one member of one group")));
                }
            }
        }
    }
    Ok(())
}

fn invalid(key: String, reason: impl Into<String>, remedy: impl Into<String>) -> Rejected {
    Rejected::InvalidGroup { key, reason: reason.into(), remedy: remedy.into() }
}
