//! How everything is: nodes, leader, groups, and the members of a group with what speaks for and against each.

use super::cluster::ClusterReport;
use super::fence::FenceReport;
use super::group::GroupReport;
use super::mirror::{self, KafkaReport, MirrorLinkReport};
use super::transition::TransitionReport;
use super::{Stamp, gathered, ms, word};
use crate::screen::Screen;
use crate::screen::table::{Table, Tone, left, right, wrapped};
use crate::screen::units::{ago, bytes, count, millis, plural};
use primacy_core::{Evidence, Transition};
use primacy_wire::{WireError, v1};
use serde::Serialize;

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MemberReport {
    pub(crate) member: String,
    pub(crate) site: String,
    pub(crate) address: String,
    /// `primary` or `standby`.
    pub(crate) role: String,
    /// Higher is preferred; 0 is never promoted.
    pub(crate) priority: u32,
    /// `up`, `suspected`, `silent`, `dead`, ...
    pub(crate) health: String,
    /// The sites whose nodes get an answer from it.
    pub(crate) reachable_from: Vec<String>,
    pub(crate) offset_bytes: Option<u64>,
    pub(crate) lag_bytes: Option<u64>,
    /// Whether its replication link is up; none for a primary.
    pub(crate) link_up: Option<bool>,
    /// Whether it refuses writes of clients: the fence.
    pub(crate) shut: Option<bool>,
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) version: Option<String>,
    /// What becomes of a Redis server that restarts, by the configuration on its disk: `fenced`, `open` or `unproven`.
    pub(crate) restarts: Option<String>,
    /// Whether it could be promoted, and why not.
    pub(crate) eligible: bool,
    pub(crate) why_not: Option<String>,
    pub(crate) evidence: Vec<String>,
    /// Of a Kafka cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<KafkaReport>,
    /// The mirror into a Kafka cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mirror: Option<MirrorLinkReport>,
}

/// Automatic action is stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PausedReport {
    pub(crate) by: String,
    pub(crate) reason: Option<String>,
    pub(crate) at: Stamp,
}

/// Somebody is needed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BlockedReport {
    pub(crate) code: String,
    pub(crate) reason: String,
    pub(crate) remedy: String,
    pub(crate) since: Stamp,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct GroupStatusReport {
    #[serde(flatten)]
    pub(crate) group: GroupReport,
    pub(crate) members: Vec<MemberReport>,
    /// None while it has no primary.
    pub(crate) fence: Option<FenceReport>,
    /// The transition under way.
    pub(crate) transition: Option<TransitionReport>,
    pub(crate) paused: Option<PausedReport>,
    pub(crate) blocked: Option<BlockedReport>,
    /// What else is worth knowing: weaker settings, missing sites.
    pub(crate) notes: Vec<String>,
}

/// `status -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct StatusReport {
    #[serde(flatten)]
    pub(crate) cluster: ClusterReport,
    pub(crate) groups: Vec<GroupStatusReport>,
}

impl StatusReport {
    /// All groups, a line each; the members too when one group was asked for.
    pub(crate) fn text(&self, now_us: u64, with_members: bool, screen: Screen) -> String {
        let mut text = self.cluster.headline(screen) + "\n";
        text += &self.cluster.troubles(screen);
        text.push('\n');
        if self.groups.is_empty() {
            return text + "no groups yet; primacy apply -f groups.toml creates them\n";
        }
        text += &screen.text(&self.groups_table(now_us));
        if with_members {
            for group in &self.groups {
                text.push('\n');
                text += &screen.text(&group.members_table());
                text += &group.remarks(now_us, screen.tty);
            }
        }
        text
    }

    /// The same without the numbers that move all the time: when this changes, something has happened.
    pub(crate) fn at_rest(mut self) -> Self {
        self.cluster.revision = 0;
        for node in &mut self.cluster.nodes {
            node.last_heard_ms = None;
            node.matched_index = None;
        }
        for status in &mut self.groups {
            if let Some(primary) = &mut status.group.primary {
                (primary.revision, primary.age_ms) = (0, 0);
            }
            for member in &mut status.members {
                (member.offset_bytes, member.lag_bytes, member.rtt_ms) = (None, None, None);
                member.evidence.clear();
                if let Some(cluster) = &mut member.cluster {
                    cluster.end_records = 0;
                }
                if let Some(mirror) = &mut member.mirror {
                    mirror.rest();
                }
            }
            if let Some(fence) = &mut status.fence {
                fence.lease_left_ms = fence.lease_left_ms.map(|left| left.min(1));
                if let Some(witness) = &mut fence.witness {
                    (witness.end_bytes, witness.tail_bytes, witness.age_ms) = (0, 0, 0);
                }
            }
        }
        self
    }

    fn groups_table(&self, now_us: u64) -> Table {
        let columns = [
            left("GROUP"),
            left("KIND"),
            left("PRIMARY"),
            right("EPOCH"),
            left("STATE"),
            left("STANDBYS"),
            right("LAG"),
            right("LEASE"),
            left("LAST CHANGE"),
        ];
        let mut table = Table::new(columns);
        for status in &self.groups {
            let GroupStatusReport { group, members, fence, .. } = status;
            table.row([
                (group.group.clone(), Tone::Plain),
                (group.kind.clone(), Tone::Plain),
                (group.primary_words(), Tone::Plain),
                (group.epoch_words(), Tone::Plain),
                group.state_cell(),
                (group.standbys_words(), Tone::Plain),
                (lag_words(members), Tone::Plain),
                (fence.as_ref().map_or_else(|| "-".to_owned(), FenceReport::lease_words), Tone::Plain),
                (status.last_words(now_us), Tone::Plain),
            ]);
        }
        table
    }
}

impl GroupStatusReport {
    /// What the group says of itself; and that a primary which was lost while it is paused is not replaced.
    fn last_words(&self, now_us: u64) -> String {
        let words = self.group.last_words(self.transition.as_ref(), now_us);
        let primary = self.members.iter().find(|member| member.role == "primary");
        let lost =
            primary.filter(|member| self.paused.is_some() && ["dead", "silent"].contains(&&*member.health));
        match lost {
            None => words,
            Some(member) => format!(
                "{words}\n{} is {}, and is not replaced while the group is paused\nprimacy failover {}",
                member.member, member.health, self.group.group
            ),
        }
    }
}

/// The lag of the standby that is furthest behind.
fn lag_words(members: &[MemberReport]) -> String {
    let standbys = members.iter().filter(|member| member.role == "standby");
    let by_much = |member: &&MemberReport| match &member.mirror {
        Some(mirror) => Some(mirror.lag.records),
        None => member.lag_bytes,
    };
    let furthest = standbys.max_by_key(by_much);
    furthest.and_then(MemberReport::lag_words).unwrap_or_else(|| "-".to_owned())
}

impl GroupStatusReport {
    fn members_table(&self) -> Table {
        let columns = [
            left("MEMBER"),
            left("SITE"),
            left("ADDRESS"),
            left("ROLE"),
            left("HEALTH"),
            left("SEEN FROM"),
            right("OFFSET"),
            right("LAG"),
            left("FENCE"),
            right("RTT"),
            left("REMARK"),
        ];
        let mut table = Table::new(columns);
        for member in &self.members {
            table.row(member.cells());
        }
        table
    }

    /// What is under way, who paused it, and the notes: whatever does not belong to one member.
    fn remarks(&self, now_us: u64, tty: bool) -> String {
        let under_way = self.transition.iter().map(|transition| {
            let phases: Vec<&str> = transition.phases.iter().map(|phase| phase.name.as_str()).collect();
            let passed = if phases.is_empty() {
                "no phase passed yet".to_owned()
            } else {
                phases.join(", ") + " passed"
            };
            let started = ago(now_us, transition.started_at.0);
            format!(
                "transition to {} under way ({}), started {started}: {passed}",
                transition.to, transition.cause
            )
        });
        let blocked = self
            .blocked
            .iter()
            .map(|blocked| format!("blocked since {} ({}): {}", blocked.since, blocked.code, blocked.reason));
        let paused = self.paused.iter().map(|paused| {
            let why = paused.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("paused by {} {}{why}", paused.by, ago(now_us, paused.at.0))
        });
        let notes = self.notes.iter().map(|note| format!("note: {note}"));
        let fence = self.fence.iter().flat_map(FenceReport::lines);
        let of_member = |member: &MemberReport| {
            let cluster = member.cluster.iter().map(|cluster| cluster.line(&member.member));
            let mirror = member.mirror.iter().flat_map(|mirror| mirror.lines(&member.member, tty));
            cluster.chain(mirror).collect::<Vec<_>>()
        };
        let kafka = self.members.iter().flat_map(of_member);
        let lines: Vec<String> =
            fence.chain(kafka).chain(under_way).chain(blocked).chain(paused).chain(notes).collect();
        if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join("\n")) }
    }
}

impl MemberReport {
    fn cells(&self) -> Vec<(String, Tone)> {
        let plain = |text: Option<String>| (text.unwrap_or_else(|| "-".to_owned()), Tone::Plain);
        let seen =
            if self.reachable_from.is_empty() { "nowhere".to_owned() } else { self.reachable_from.join(" ") };
        vec![
            (self.member.clone(), Tone::Plain),
            (self.site.clone(), Tone::Plain),
            (self.address.clone(), Tone::Plain),
            (self.role.clone(), Tone::Plain),
            (self.health.clone(), health_tone(&self.health)),
            (seen, Tone::Plain),
            plain(self.offset_bytes.or(self.cluster.as_ref().map(|c| c.end_records)).map(count)),
            plain(self.lag_words()),
            plain(self.shut.map(|shut| if shut { "shut" } else { "open" }.to_owned())),
            plain(self.rtt_ms.map(millis)),
            (self.remark(), Tone::Plain),
        ]
    }

    /// What it lacks: bytes of a stream, or records of a cluster.
    fn lag_words(&self) -> Option<String> {
        let of_mirror = self.mirror.as_ref().filter(|mirror| mirror.sample_age_ms.is_some());
        let records = of_mirror.map(|mirror| plural(mirror.lag.records, "record"));
        records.or(self.lag_bytes.map(bytes)).filter(|_| self.role == "standby")
    }

    /// Why it is not what it should be; nothing when it is.
    fn remark(&self) -> String {
        let mut remarks: Vec<String> = Vec::new();
        if self.role == "standby" && self.link_up == Some(false) {
            remarks.push("replication link down".to_owned());
        }
        if !self.eligible && self.role == "standby" {
            remarks.extend(self.why_not.clone());
        }
        if self.health != "up" {
            remarks.extend(gathered(&self.evidence));
        }
        remarks.dedup();
        remarks.iter().map(|remark| wrapped(remark, 50)).collect::<Vec<_>>().join("\n")
    }
}

impl TryFrom<v1::MemberStatus> for MemberReport {
    type Error = WireError;

    fn try_from(status: v1::MemberStatus) -> Result<Self, WireError> {
        let reachable = !status.reachable_from.is_empty();
        let evidence =
            status.evidence.into_iter().map(|evidence| Ok(Evidence::try_from(evidence)?.to_string()));
        Ok(MemberReport {
            role: word(v1::Role::try_from(status.role).ok().map(|role| role.as_str_name()), "ROLE_"),
            evidence: evidence.collect::<Result<_, WireError>>()?,
            member: status.name,
            site: status.site,
            address: status.address,
            priority: status.priority,
            health: status.health,
            reachable_from: status.reachable_from,
            offset_bytes: status.offset_bytes,
            lag_bytes: status.lag_bytes,
            link_up: status.link_up,
            shut: status.shut,
            rtt_ms: status.rtt_us.map(ms),
            version: status.version,
            restarts: status.boot.map(|boot| word(Some(boot.verdict().as_str_name()), "VERDICT_")),
            eligible: status.eligible,
            why_not: status.why_not,
            cluster: status.cluster.and_then(|cluster| KafkaReport::of(cluster, reachable)),
            mirror: status.mirror.and_then(mirror::link),
        })
    }
}

impl TryFrom<v1::GroupStatus> for GroupStatusReport {
    type Error = WireError;

    fn try_from(status: v1::GroupStatus) -> Result<Self, WireError> {
        let summary = status.summary.ok_or_else(|| WireError::missing("summary"))?;
        let transition = status.transition.map(Transition::try_from).transpose()?;
        Ok(GroupStatusReport {
            group: summary.try_into()?,
            members: status.members.into_iter().map(MemberReport::try_from).collect::<Result<_, _>>()?,
            fence: status.fence.map(FenceReport::from),
            transition: transition.as_ref().map(TransitionReport::from),
            paused: status.paused.map(|paused| PausedReport {
                by: paused.by,
                reason: paused.reason,
                at: Stamp(paused.at_us),
            }),
            blocked: status.blocked.map(|blocked| BlockedReport {
                code: blocked.code,
                reason: blocked.reason,
                remedy: blocked.remedy,
                since: Stamp(blocked.since_us),
            }),
            notes: status.notes,
        })
    }
}

impl TryFrom<v1::StatusResponse> for StatusReport {
    type Error = WireError;

    fn try_from(status: v1::StatusResponse) -> Result<Self, WireError> {
        let cluster = status.cluster.ok_or_else(|| WireError::missing("cluster"))?;
        let groups = status.groups.into_iter().map(GroupStatusReport::try_from).collect::<Result<_, _>>()?;
        Ok(StatusReport { cluster: cluster.into(), groups })
    }
}

fn health_tone(health: &str) -> Tone {
    match health {
        "up" => Tone::Good,
        "unseen" | "suspected" => Tone::Busy,
        _ => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::fence::WitnessStatusReport;
    use super::super::primary::tests::PLAIN;
    use super::super::transition::tests::NOW_US;
    use super::super::{cluster, group};
    use super::*;
    use expect_test::expect;

    fn member(name: &str, site: &str) -> MemberReport {
        let primary = name == "east-a";
        MemberReport {
            member: name.into(),
            site: site.into(),
            address: "10.0.0.1:6379".into(),
            role: if primary { "primary" } else { "standby" }.into(),
            priority: 100,
            health: "up".into(),
            reachable_from: vec!["east".into(), "north".into(), "west".into()],
            offset_bytes: Some(88_231_904),
            lag_bytes: Some(0),
            link_up: (!primary).then_some(true),
            shut: Some(!primary),
            rtt_ms: Some(0.21),
            version: Some("7.0.15".into()),
            restarts: Some("fenced".into()),
            eligible: !primary,
            why_not: primary.then(|| "it is the primary".into()),
            evidence: Vec::new(),
            cluster: None,
            mirror: None,
        }
    }

    fn dead() -> MemberReport {
        MemberReport {
            health: "dead".into(),
            reachable_from: Vec::new(),
            offset_bytes: None,
            lag_bytes: None,
            link_up: Some(false),
            shut: None,
            rtt_ms: None,
            eligible: false,
            why_not: Some("it does not answer".into()),
            evidence: vec!["n1 (east): west-a refuses connections".into()],
            ..member("west-a", "west")
        }
    }

    fn fence() -> FenceReport {
        FenceReport {
            min_replicas: 2,
            min_replicas_in_force: Some(2),
            replicas: vec!["north-a".into(), "west-a".into()],
            attached: Some(2),
            strangers: 0,
            witness_node: Some(1),
            witness: Some(WitnessStatusReport {
                attached: true,
                end_bytes: 88_231_904,
                tail_bytes: 67_108_864,
                copies: 0,
                age_ms: 21,
            }),
            lease_left_ms: Some(2_400),
            holder_node: None,
            degraded: false,
        }
    }

    fn report() -> StatusReport {
        let status = |group, members, fence| GroupStatusReport {
            group,
            members,
            fence,
            transition: None,
            paused: None,
            blocked: None,
            notes: Vec::new(),
        };
        let members = vec![member("east-a", "east"), member("north-a", "north"), dead()];
        StatusReport {
            cluster: cluster::tests::report(),
            groups: vec![
                status(group::tests::serving(), members, Some(fence())),
                status(group::tests::blocked(), Vec::new(), None),
            ],
        }
    }

    #[test]
    fn the_overview_puts_the_remedy_next_to_the_problem() {
        expect![[r#"
            prod  3/4 nodes  leader n1 east  term 4  revision 57
            n3 west (10.0.0.3:7101) unreachable for 12 s

            GROUP     KIND   PRIMARY        EPOCH  STATE    STANDBYS  LAG  LEASE  LAST CHANGE
            features  redis  east-a (east)     42  serving  2/2       0 B  2.4 s  3m ago  death  61 ms  0 lost
            sessions  redis  east-a (east)     42  blocked  0/2         -      -  failover would lose up to 3145728 bytes (budget 1 MiB)
                                                                                  bring the old primary back, or accept the loss: primacy
                                                                                  failover sessions --allow-data-loss
        "#]]
        .assert_eq(&report().text(NOW_US, false, PLAIN));
    }

    #[test]
    fn a_primary_that_was_lost_while_paused_is_named_with_the_remedy() {
        let mut status = report().groups.remove(0);
        status.members[0].health = "dead".into();
        assert!(!status.last_words(NOW_US).contains("paused"), "it is replaced");
        status.paused = Some(PausedReport { by: "ann@ops1".into(), reason: None, at: Stamp(NOW_US) });
        let words = status.last_words(NOW_US);
        let added =
            "\neast-a is dead, and is not replaced while the group is paused\nprimacy failover features";
        assert!(words.ends_with(added), "{words}");
    }

    #[test]
    fn one_group_is_shown_with_its_members() {
        let mut report = report();
        report.groups.truncate(1);
        let reason = Some("kernel update".into());
        report.groups[0].paused =
            Some(PausedReport { by: "ann@ops1".into(), reason, at: Stamp(NOW_US - 5_000_000) });
        report.groups[0].notes = vec!["fence = \"none\": two writers are possible".into()];
        let text = report.text(NOW_US, true, PLAIN);
        expect![[r#"
            MEMBER   SITE   ADDRESS        ROLE     HEALTH  SEEN FROM            OFFSET  LAG  FENCE     RTT  REMARK
            east-a   east   10.0.0.1:6379  primary  up      east north west  88,231,904    -  open   0.2 ms
            north-a  north  10.0.0.1:6379  standby  up      east north west  88,231,904  0 B  shut   0.2 ms
            west-a   west   10.0.0.1:6379  standby  dead    nowhere                   -    -  -           -  replication link down
                                                                                                             it does not answer
                                                                                                             west-a refuses connections (n1)

            fence: 2 of 3 attached (north-a, west-a, witness n1), 2 must be; lease 2.4 s
            witness: n1 attached, at offset 88,231,904, keeps the last 64 MiB
            paused by ann@ops1 5s ago: kernel update
            note: fence = "none": two writers are possible
        "#]]
        .assert_eq(text.split_once("0 lost\n\n").unwrap().1);
    }

    #[test]
    fn a_fence_that_is_weak_shows_it() {
        let witness = WitnessStatusReport { attached: false, copies: 2, ..fence().witness.unwrap() };
        let weak = FenceReport {
            attached: None,
            witness: Some(witness),
            lease_left_ms: Some(0),
            holder_node: Some(3),
            ..fence()
        };
        expect![[r"
            fence: ? of 3 attached (north-a, west-a, witness n1), 2 must be; lease over
            witness: n1 not attached, at offset 88,231,904, keeps the last 64 MiB, 2 full syncs thrown away
            holder: n3 has the stream at another site"]]
        .assert_eq(&weak.lines().join("\n"));
        let none = FenceReport {
            replicas: vec![],
            witness_node: None,
            witness: None,
            lease_left_ms: None,
            ..fence()
        };
        assert_eq!((none.lines(), none.lease_words()), (vec![], "-".to_owned()));
    }

    #[test]
    fn json_has_the_members_always() {
        let mut report = report();
        report.cluster.nodes.clear();
        report.groups.truncate(1);
        report.groups[0].group.last_transition = None;
        report.groups[0].group.primary = None;
        report.groups[0].members.drain(1..);
        expect![[r#"{"cluster":"prod","revision":57,"leader":{"id":1,"site":"east","address":"10.0.0.1:7101","term":4},"nodes":[],"groups":[{"group":"features","kind":"redis","primary":null,"state":"serving","reason":null,"remedy":null,"standbys_ready":2,"standbys_total":2,"last_transition":null,"members":[{"member":"east-a","site":"east","address":"10.0.0.1:6379","role":"primary","priority":100,"health":"up","reachable_from":["east","north","west"],"offset_bytes":88231904,"lag_bytes":0,"link_up":null,"shut":false,"rtt_ms":0.21,"version":"7.0.15","restarts":"fenced","eligible":false,"why_not":"it is the primary","evidence":[]}],"fence":{"min_replicas":2,"min_replicas_in_force":2,"replicas":["north-a","west-a"],"attached":2,"strangers":0,"witness_node":1,"witness":{"attached":true,"end_bytes":88231904,"tail_bytes":67108864,"copies":0,"age_ms":21},"lease_left_ms":2400,"holder_node":null,"degraded":false},"transition":null,"paused":null,"blocked":null,"notes":[]}]}"#]]
            .assert_eq(&serde_json::to_string(&report).unwrap());
    }
}
