//! Looks over the servers that are to become members: each new one, and each whose address changed.

use super::super::Shared;
use super::super::access::access_for;
use crate::config::Problem;
use futures::StreamExt;
use futures::stream;
use primacy_core::{Address, GroupName, GroupSpec, MemberName, MemberSpec, State};
use primacy_redis::{Access, InspectError, Inspection, inspect};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long one server may take to answer everything.
const WITHIN: Duration = Duration::from_secs(3);
const AT_ONCE: usize = 32;

/// The addresses of the members that are committed already.
pub(super) type Known = BTreeMap<(GroupName, MemberName), Address>;

pub(super) fn known(state: &State) -> Known {
    let of = |spec: &GroupSpec| {
        let name = spec.name.clone();
        spec.members
            .iter()
            .map(move |m| ((name.clone(), m.name.clone()), m.address.clone()))
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
    for group in groups {
        let addresses: Vec<Address> = group.members.iter().map(|m| m.address.clone()).collect();
        for member in group.members.iter().filter(|m| is_new(known, group, m)) {
            let access = access_for(&shared.config.redis, &group.name);
            looks.push(look(group.name.clone(), member.clone(), access, addresses.clone()));
        }
    }
    let found: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    let mut looked = Looked::default();
    let mut servers: BTreeMap<String, String> = running(shared, groups, known);
    for (group, member, found) in found {
        let key = format!("redis.{group}.member.{}.address", member.name);
        match found {
            Ok(inspection) => {
                looked.problems.extend(shared_server(&mut servers, &group, &member, &inspection, key));
                let note = |text| (group.clone(), format!("note: {}: {text}", member.name));
                looked.notes.extend(inspection.notes.into_iter().map(note));
            }
            Err(error) => {
                let reason = format!("{}: {}", error.key, error.reason);
                looked.problems.push(Problem { key, reason, remedy: error.remedy });
            }
        }
    }
    looked
}

fn is_new(known: &Known, group: &GroupSpec, m: &MemberSpec) -> bool {
    known.get(&(group.name.clone(), m.name.clone())).is_none_or(|address| *address != m.address)
}

async fn look(
    group: GroupName,
    member: MemberSpec,
    access: Access,
    addresses: Vec<Address>,
) -> (GroupName, MemberSpec, Result<Inspection, InspectError>) {
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
    inspection: &Inspection,
    key: String,
) -> Option<Problem> {
    let me = format!("{} in group {group}", member.name);
    let other = servers.insert(inspection.run_id.clone(), me.clone()).filter(|other| *other != me)?;
    Some(Problem {
        key,
        reason: format!("{} leads to the same server as {other}", member.address),
        remedy: "a server belongs to one member of one group".to_owned(),
    })
}
