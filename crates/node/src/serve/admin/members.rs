//! Looks over the servers that are to become members: each new one, each whose address changed, and all of a group that
//! asks for a witness from now on.

mod kafka;

use super::super::Shared;
use super::super::access::access_for;
use crate::config::Problem;
use futures::StreamExt;
use futures::stream;
use primacy_core::view::BootFence;
use primacy_core::{Address, FencePolicy, GroupKind, GroupName, GroupSpec, MemberName, MemberSpec, State};
use primacy_redis::{Access, InspectError, Inspection, inspect};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long one server may take to answer everything.
const WITHIN: Duration = Duration::from_secs(3);
const AT_ONCE: usize = 32;

/// The addresses of the members that are committed already, and how their groups are fenced.
pub(super) type Known = BTreeMap<(GroupName, MemberName), (Address, FencePolicy)>;

pub(super) fn known(state: &State) -> Known {
    let of = |spec: &GroupSpec| {
        let (name, fence) = (spec.name.clone(), spec.fence);
        spec.members
            .iter()
            .map(move |m| ((name.clone(), m.name.clone()), (m.address.clone(), fence)))
            .collect::<Vec<_>>()
    };
    state.groups.values().flat_map(|group| of(&group.spec)).collect()
}

/// What was found.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) problems: Vec<Problem>,
    /// What is not wrong and should be known, by group.
    pub(super) notes: Vec<(GroupName, String)>,
}

/// Inspects the new and the moved members of all groups.
pub(super) async fn look_over(shared: &Arc<Shared>, groups: &[GroupSpec], known: &Known) -> Looked {
    let mut looks = Vec::new();
    for group in groups.iter().filter(|g| g.kind == GroupKind::Redis) {
        let addresses: Vec<Address> = group.members.iter().map(|m| m.address.clone()).collect();
        for member in group.members.iter().filter(|m| is_new(known, group, m)) {
            let access = access_for(&shared.config.redis, &group.name);
            looks.push(look(group, member.clone(), access, addresses.clone()));
        }
    }
    let found: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    let mut looked = Looked::default();
    let mut servers: BTreeMap<String, String> = running(shared, groups, known);
    for (group, member, found) in found {
        let key = format!("redis.{}.member.{}.address", group.name, member.name);
        match found {
            Ok(inspection) => {
                looked.problems.extend(shared_server(
                    &mut servers,
                    &group.name,
                    &member,
                    &inspection.run_id,
                    key,
                ));
                match boot(group, &member, inspection.boot) {
                    Some(Boot::Refused(problem)) => looked.problems.push(problem),
                    Some(Boot::Noted(text)) => {
                        looked.notes.push((group.name.clone(), format!("note: {}: {text}", member.name)));
                    }
                    None => {}
                }
            }
            Err(error) => {
                let reason = format!("{}: {}", error.key, error.reason);
                looked.problems.push(Problem { key, reason, remedy: error.remedy });
            }
        }
    }
    kafka::look_over(shared, groups, known, &mut servers, &mut looked).await;
    looked
}

fn is_new(known: &Known, group: &GroupSpec, m: &MemberSpec) -> bool {
    let before = known.get(&(group.name.clone(), m.name.clone()));
    before.is_none_or(|(address, fence)| {
        *address != m.address || (*fence == FencePolicy::None && group.fence == FencePolicy::Witness)
    })
}

/// What follows from how a member would restart.
enum Boot {
    Refused(Problem),
    Noted(String),
}

/// A primary that restarts writable is a second writer, or an empty one that wipes its replicas.
fn boot(group: &GroupSpec, member: &MemberSpec, fence: BootFence) -> Option<Boot> {
    let lines = format!("primacy redis-conf --group {} --member {}", group.name, member.name);
    match (fence, group.fence) {
        (BootFence::Fenced, _) | (BootFence::Unproven { .. }, FencePolicy::None) => None,
        (BootFence::Open { why }, FencePolicy::Witness) => Some(Boot::Refused(Problem {
            key: format!("redis.{}.member.{}", group.name, member.name),
            reason: format!("it could restart writable: {why}"),
            remedy: format!(
                "append the lines that `{lines}` prints to its configuration, or ask for Sentinel's kind of safety \
                 by fence = \"none\""
            ),
        })),
        (BootFence::Open { why }, FencePolicy::None) => {
            Some(Boot::Noted(format!("it restarts writable: {why}")))
        }
        (BootFence::Unproven { why }, FencePolicy::Witness) => Some(Boot::Noted(format!(
            "that it restarts fenced is unproven: {why}; see that it has the lines that `{lines}` prints"
        ))),
    }
}

async fn look(
    group: &GroupSpec,
    member: MemberSpec,
    access: Access,
    addresses: Vec<Address>,
) -> (&GroupSpec, MemberSpec, Result<Inspection, InspectError>) {
    let found = inspect(&member.address, &access, &addresses, WITHIN).await;
    (group, member, found)
}

/// Which process is which member, as far as it was seen.
fn running(shared: &Shared, wanted: &[GroupSpec], known: &Known) -> BTreeMap<String, String> {
    // A member that goes with this change, or gets another name, stands in nobody's way.
    let stays = |(group, member): &&(GroupName, MemberName)| {
        wanted.iter().find(|g| g.name == *group).is_none_or(|g| g.member(member).is_some())
    };
    shared.with_view(primacy_runtime::now(), |view| {
        let seen = |(group, member): &(GroupName, MemberName)| {
            let (_, status) = view.freshest(group, member)?;
            Some((status.run_id.clone(), format!("{member} in group {group}")))
        };
        known.keys().filter(stays).filter_map(seen).collect()
    })
}

/// Two addresses may lead to one server.
fn shared_server(
    servers: &mut BTreeMap<String, String>,
    group: &GroupName,
    member: &MemberSpec,
    run_id: &str,
    key: String,
) -> Option<Problem> {
    let me = format!("{} in group {group}", member.name);
    let other = servers.insert(run_id.to_owned(), me.clone()).filter(|other| *other != me)?;
    Some(Problem {
        key,
        reason: format!("{} leads to the same server as {other}", member.address),
        remedy: "a server belongs to one member of one group".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::config::GroupsFile;

    fn group(settings: &str) -> GroupSpec {
        let member = |name: &str, port: u16| {
            format!(
                "[[redis.member]]\nname = \"{name}\"\nsite = \"{name}\"\naddress = \"127.0.0.1:{port}\"\n"
            )
        };
        let text = format!("[[redis]]\nname = \"g\"\n{settings}\n{}{}", member("a", 1), member("b", 2));
        GroupsFile::parse(&text).unwrap().remove(0)
    }

    fn told(settings: &str, fence: BootFence) -> String {
        let group = group(settings);
        match boot(&group, &group.members[0], fence) {
            Some(Boot::Refused(problem)) => problem.to_string(),
            Some(Boot::Noted(text)) => format!("note: {text}"),
            None => String::new(),
        }
    }

    #[test]
    fn a_member_that_could_restart_writable_is_refused_unless_nobody_fences() {
        let open = || BootFence::Open { why: "redis.conf has no replicaof".to_owned() };
        let unproven = || BootFence::Unproven { why: "it is on another host".to_owned() };
        assert_eq!(
            told("", open()),
            "redis.g.member.a: it could restart writable: redis.conf has no replicaof; append the lines that \
             `primacy redis-conf --group g --member a` prints to its configuration, or ask for Sentinel's kind of \
             safety by fence = \"none\""
        );
        assert_eq!(
            told("", unproven()),
            "note: that it restarts fenced is unproven: it is on another host; see that it has the lines that \
             `primacy redis-conf --group g --member a` prints"
        );
        assert_eq!(
            told("fence = \"none\"", open()),
            "note: it restarts writable: redis.conf has no replicaof"
        );
        assert_eq!(told("fence = \"none\"", unproven()), "");
        assert_eq!(told("", BootFence::Fenced), "");
    }

    #[test]
    fn all_members_are_looked_at_when_a_group_asks_for_a_witness() {
        let (lax, strict) = (group("fence = \"none\""), group(""));
        let known = |spec: &GroupSpec| -> Known {
            let of = |m: &MemberSpec| ((spec.name.clone(), m.name.clone()), (m.address.clone(), spec.fence));
            spec.members.iter().map(of).collect()
        };
        let looked = |known: &Known, wanted: &GroupSpec| {
            wanted.members.iter().filter(|m| is_new(known, wanted, m)).count()
        };
        assert_eq!(looked(&Known::new(), &strict), 2);
        assert_eq!(looked(&known(&strict), &strict), 0);
        assert_eq!(looked(&known(&lax), &strict), 2);
        assert_eq!(looked(&known(&strict), &lax), 0);
    }
}
