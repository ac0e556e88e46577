//! Asks a standby again while it still claims a link to a primary whose connection has just ended.
//!
//! The standby's kernel hears of the end as we do, but its event loop may answer our question first, and its next
//! regular probe is an age away. So it is asked again after 2 ms, 4 ms, 8 ms... until it has noticed, or a second is over:
//! then the primary lives and only our own connection ended.

use primacy_core::view::{LinkEnd, MemberRole, Observation, Reach};
use primacy_core::{Address, GroupName, MemberName, Moment};
use std::collections::BTreeMap;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(64);
const FOR: Duration = Duration::from_secs(1);

/// Who is to be asked again, and when.
#[derive(Default)]
pub(super) struct Rechecks {
    groups: BTreeMap<GroupName, Group>,
    next: Option<Moment>,
}

#[derive(Default)]
struct Group {
    /// Members whose connection ended, where they were, since when.
    ended: BTreeMap<MemberName, (Address, Moment)>,
    /// Standbys that claim a link, and to where.
    claims: BTreeMap<MemberName, Claim>,
}

struct Claim {
    host: String,
    port: u16,
    next: Option<(Moment, Duration)>,
}

impl Rechecks {
    /// Takes note of something new that was seen of a member at `address`.
    pub(super) fn note(
        &mut self,
        group: &GroupName,
        member: &MemberName,
        address: &Address,
        seen: &Observation,
    ) {
        let group = self.groups.entry(group.clone()).or_default();
        match &seen.reach {
            Reach::Up(status) => {
                group.ended.remove(member);
                group.claim(member, &status.role);
            }
            Reach::Down { since, ended: Some(LinkEnd::Eof | LinkEnd::Reset), .. } => {
                group.claims.remove(member);
                group.ended.insert(member.clone(), (address.clone(), *since));
            }
            Reach::Down { .. } => {
                group.claims.remove(member);
            }
        }
        group.schedule(seen.at);
        if group.ended.is_empty() && group.claims.is_empty() {
            self.groups.retain(|_, g| !g.ended.is_empty() || !g.claims.is_empty());
        }
        self.find_next();
    }

    /// When somebody is to be asked again.
    pub(super) fn next_at(&self) -> Option<Moment> {
        self.next
    }

    fn find_next(&mut self) {
        let claims = self.groups.values().flat_map(|g| g.claims.values());
        self.next = claims.filter_map(|c| c.next.map(|(at, _)| at)).min();
    }

    /// Who is to be asked now; each is put off by twice as long.
    pub(super) fn take_due(&mut self, now: Moment) -> Vec<(GroupName, MemberName)> {
        let mut due = Vec::new();
        for (name, group) in &mut self.groups {
            for (member, claim) in &mut group.claims {
                let Some((at, pause)) = claim.next.filter(|(at, _)| *at <= now) else { continue };
                let longer = (pause * 2).min(LONGEST);
                claim.next = Some((at.max(now).after(longer), longer));
                due.push((name.clone(), member.clone()));
            }
            group.give_up(now);
        }
        self.find_next();
        due
    }
}

impl Group {
    fn claim(&mut self, member: &MemberName, role: &MemberRole) {
        match role {
            MemberRole::Replica { host, port, link_up: true, .. } => {
                let known = self.claims.get_mut(member).filter(|c| c.host == *host && c.port == *port);
                if known.is_none() {
                    self.claims.insert(member.clone(), Claim { host: host.clone(), port: *port, next: None });
                }
            }
            MemberRole::Replica { .. }
            | MemberRole::Primary { .. }
            | MemberRole::Endpoint
            | MemberRole::Cluster(_) => {
                self.claims.remove(member);
            }
        }
    }

    fn schedule(&mut self, now: Moment) {
        let Group { ended, claims } = self;
        for claim in claims.values_mut() {
            let gone = |(address, since): &(Address, Moment)| {
                address.host == claim.host && address.port == claim.port && now < since.after(FOR)
            };
            let contradicted = ended.values().any(gone);
            if contradicted && claim.next.is_none() {
                claim.next = Some((now.after(FIRST), FIRST));
            } else if !contradicted {
                claim.next = None;
            }
        }
    }

    fn give_up(&mut self, now: Moment) {
        self.ended.retain(|_, (_, since)| now < since.after(FOR));
        self.schedule(now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use primacy_core::view::{BootFence, MemberStatus};

    fn names() -> (GroupName, MemberName, MemberName) {
        (GroupName::new("g").unwrap(), MemberName::new("a").unwrap(), MemberName::new("b").unwrap())
    }

    fn at(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn replica(moment: u64, link_up: bool) -> Observation {
        let role =
            MemberRole::Replica { host: "h".into(), port: 1, link_up, read_offset_bytes: 0, read_only: true };
        let status = MemberStatus {
            run_id: "r".into(),
            pid: 1,
            uptime_s: 1,
            version: "7".into(),
            role,
            replid: "x".into(),
            replid2: None,
            second_offset_bytes: 0,
            offset_bytes: 0,
            min_replicas: 0,
            notices_silence: true,
            loading: false,
            keys: 0,
            clients: 0,
            sentinels: 0,
            boot: BootFence::Fenced,
            rtt_us: 0,
        };
        Observation { at: Moment(moment), reach: Reach::Up(status), last_up: None, rate_peak_bytes: Some(0) }
    }

    fn ended(moment: u64) -> Observation {
        let reach = Reach::Down {
            since: Moment(moment),
            ended: Some(LinkEnd::Eof),
            connect: None,
            exited_pid: None,
            detail: String::new(),
        };
        Observation { at: Moment(moment), reach, last_up: None, rate_peak_bytes: Some(0) }
    }

    #[test]
    fn a_standby_that_has_not_noticed_is_asked_until_it_has() {
        let (group, a, b) = names();
        let mut rechecks = Rechecks::default();
        rechecks.note(&group, &b, &at("h:2"), &replica(1_000, true));
        assert_eq!(rechecks.next_at(), None);
        rechecks.note(&group, &a, &at("h:1"), &ended(2_000));
        assert_eq!(rechecks.next_at(), Some(Moment(4_000)));
        assert_eq!(rechecks.take_due(Moment(4_000)), [(group.clone(), b.clone())]);
        assert_eq!(rechecks.next_at(), Some(Moment(8_000)), "twice as long");
        rechecks.note(&group, &b, &at("h:2"), &replica(5_000, true));
        assert_eq!(rechecks.next_at(), Some(Moment(8_000)), "it has not noticed yet");
        rechecks.note(&group, &b, &at("h:2"), &replica(6_000, false));
        assert_eq!(rechecks.next_at(), None);
    }

    #[test]
    fn it_is_given_up_when_the_primary_seems_to_live() {
        let (group, a, b) = names();
        let mut rechecks = Rechecks::default();
        rechecks.note(&group, &b, &at("h:2"), &replica(1_000, true));
        rechecks.note(&group, &a, &at("h:1"), &ended(2_000));
        let mut asked = 0;
        while let Some(next) = rechecks.next_at() {
            asked += rechecks.take_due(next).len();
        }
        assert!((10..40).contains(&asked), "{asked}");
    }

    #[test]
    fn a_standby_of_somebody_else_is_left_alone() {
        let (group, a, b) = names();
        let mut rechecks = Rechecks::default();
        rechecks.note(&group, &b, &at("h:2"), &replica(1_000, true));
        rechecks.note(&group, &a, &at("elsewhere:1"), &ended(2_000));
        assert_eq!(rechecks.next_at(), None);
    }
}
