//! Replicas that a primary here hears nothing from any more, let go by a clock that cannot be set.
//!
//! The problem: a primary must have noticed within the passive bound that its replicas are silent, and Redis looks at
//! its wall clock for that. When that clock is stepped back while the site is cut off, the primary counts them for as
//! much longer, and is still open when another member is promoted. The idea: each node at the primary's site watches by
//! its boot-time clock how far each replica has acknowledged, and closes the link of one that has acknowledged nothing for
//! [`SILENT_MAX`] while there was something to acknowledge; there is, once a second, because a primary pings. By a clock
//! that is right Redis does not count it any more by then, and is about to close it, so this changes nothing.

use super::Guards;
use primacy_core::view::{MemberRole, MemberStatus};
use primacy_core::{FencePolicy, Group, GroupKind, GroupName, MemberName, MemberSpec, Moment};
use primacy_runtime::{interval, spawn};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// With a second to the next ping and a probe, what the passive bound allows.
const SILENT_MAX: Duration = Duration::from_millis(2_200);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So long a primary may take to close a link.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How far a replica is, and since when it has not moved although the stream has.
#[derive(Clone, Copy, Debug)]
struct Behind {
    acknowledged: u64,
    since: Moment,
}

/// The replicas of one primary that owe an acknowledgement.
#[derive(Debug, Default)]
struct Debtors {
    /// The process of the primary.
    run_id: String,
    behind: BTreeMap<MemberName, Behind>,
}

impl Debtors {
    /// Takes in an answer of the primary as of `at`, and says whom it should let go.
    fn unheard(&mut self, members: &[MemberSpec], status: &MemberStatus, at: Moment) -> Vec<MemberName> {
        if self.run_id != status.run_id {
            *self = Debtors { run_id: status.run_id.clone(), behind: BTreeMap::new() };
        }
        let replicas = match &status.role {
            MemberRole::Primary { replicas } => replicas.as_slice(),
            MemberRole::Replica { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => &[],
        };
        let owes = |member: &MemberSpec| {
            let address = &member.address;
            let attached =
                replicas.iter().find(|r| r.online && r.host == address.host && r.port == address.port)?;
            (attached.offset_bytes < status.offset_bytes)
                .then(|| (member.name.clone(), attached.offset_bytes))
        };
        let before = std::mem::take(&mut self.behind);
        self.behind = members
            .iter()
            .filter_map(owes)
            .map(|(name, acknowledged)| {
                let same = before.get(&name).filter(|behind| behind.acknowledged == acknowledged);
                let since = same.map_or(at, |behind| behind.since);
                (name, Behind { acknowledged, since })
            })
            .collect();
        let silent = self.behind.iter().filter(|(_, behind)| at.since(behind.since) >= SILENT_MAX);
        silent.map(|(name, _)| name.clone()).collect()
    }
}

/// Watches the primaries at this site until it is dropped.
pub(crate) async fn watch_unheard(guards: Arc<Guards>) {
    let mut debtors: BTreeMap<GroupName, Debtors> = BTreeMap::new();
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let here = guards.primaries_here();
        debtors.retain(|group, _| here.iter().any(|(name, ..)| name == group));
        for (group, primary, members) in here {
            let Some((at, status)) = guards.board.own_answer(&group, &primary.name) else { continue };
            let unheard = debtors.entry(group.clone()).or_default().unheard(&members, &status, at);
            for replica in unheard {
                // It is closed once for each time that it falls silent.
                if let Some(debtors) = debtors.get_mut(&group) {
                    debtors.behind.remove(&replica);
                }
                spawn(close(guards.clone(), group.clone(), primary.clone(), replica)).detach();
            }
        }
    }
}

async fn close(guards: Arc<Guards>, group: GroupName, primary: MemberSpec, replica: MemberName) {
    let (group, primary, replica) = (&group, &primary, &replica);
    match guards.links.close_replica(group, primary, replica, CLOSE_WITHIN).await {
        Ok(0) => {}
        Ok(_) => {
            warn!(%group, primary = %primary.name, %replica, "its link is closed: it has acknowledged nothing for {SILENT_MAX:?}");
        }
        Err(error) => {
            debug!(%group, primary = %primary.name, %replica, "its link cannot be closed: {error}");
        }
    }
}

impl Guards {
    /// The primaries at this node's site that a fence quorum keeps open, and the members of their groups.
    fn primaries_here(&self) -> Vec<(GroupName, MemberSpec, Vec<MemberSpec>)> {
        let fenced =
            |group: &Group| group.spec.kind == GroupKind::Redis && group.spec.fence == FencePolicy::Witness;
        self.consensus.read(|state| {
            let of = |(name, group): (&GroupName, &Group)| {
                let primary = group.spec.member(&group.primary.as_ref()?.member)?;
                let here = primary.site == self.config.node.site && fenced(group);
                here.then(|| (name.clone(), primary.clone(), group.spec.members.clone()))
            };
            state.groups.iter().filter_map(of).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use primacy_core::view::AttachedReplica;
    use primacy_core::{Address, Probe, SiteName};

    fn member(name: &str, port: u16) -> MemberSpec {
        MemberSpec {
            name: MemberName::new(name).unwrap(),
            site: SiteName::new("north").unwrap(),
            address: Address { host: "h".into(), port, tls: false },
            priority: 100,
            probe: Probe::Tcp,
        }
    }

    fn members() -> Vec<MemberSpec> {
        vec![member("a", 1), member("b", 2), member("c", 3)]
    }

    /// The primary `a` at `offset`, with what each replica has acknowledged.
    fn answer(offset: u64, acknowledged: &[(u16, u64)]) -> MemberStatus {
        let replica = |(port, offset_bytes): &(u16, u64)| AttachedReplica {
            host: "h".into(),
            port: *port,
            online: true,
            offset_bytes: *offset_bytes,
        };
        MemberStatus {
            run_id: "r".into(),
            role: MemberRole::Primary { replicas: acknowledged.iter().map(replica).collect() },
            offset_bytes: offset,
            ..MemberStatus::endpoint(0)
        }
    }

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000)
    }

    #[test]
    fn one_that_acknowledges_nothing_is_named_once_it_has_been_silent_for_long() {
        let mut debtors = Debtors::default();
        let mut named = Vec::new();
        for n in 0..60 {
            // `b` acknowledges once a second, `c` stopped at 5; 9 is a stranger's port.
            let status = answer(10 + n, &[(2, 10 + n / 10 * 10), (3, 5), (9, 0)]);
            for name in debtors.unheard(&members(), &status, at(n * 100)) {
                named.push((name.to_string(), n * 100));
            }
        }
        assert_eq!(named.first(), Some(&("c".to_owned(), 2_200)));
        assert!(named.iter().all(|(name, _)| name == "c"), "{named:?}");
    }

    #[test]
    fn nobody_owes_anything_while_the_stream_stands_still() {
        let mut debtors = Debtors::default();
        for n in 0..60 {
            assert!(debtors.unheard(&members(), &answer(10, &[(2, 10), (3, 10)]), at(n * 100)).is_empty());
        }
    }

    #[test]
    fn another_process_begins_anew() {
        let mut debtors = Debtors::default();
        assert!(debtors.unheard(&members(), &answer(10, &[(2, 5)]), at(0)).is_empty());
        let restarted = MemberStatus { run_id: "s".into(), ..answer(10, &[(2, 5)]) };
        assert!(debtors.unheard(&members(), &restarted, at(5_000)).is_empty());
        assert_eq!(debtors.unheard(&members(), &restarted, at(8_000)).len(), 1);
    }
}
