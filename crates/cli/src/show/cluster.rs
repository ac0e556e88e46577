//! The coordinator nodes themselves.

use crate::screen::Screen;
use crate::screen::table::{Table, Tone, left, right};
use crate::screen::units::{count, millis};
use primacy_wire::v1;
use serde::Serialize;

/// A node as the leader sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct NodeReport {
    pub(crate) id: u64,
    pub(crate) site: String,
    pub(crate) address: String,
    /// False for a learner, which follows and does not count.
    pub(crate) voter: bool,
    pub(crate) leader: bool,
    pub(crate) reachable: bool,
    pub(crate) last_heard_ms: Option<u64>,
    /// Up to where its log equals the leader's.
    pub(crate) matched_index: Option<u64>,
    pub(crate) version: Option<String>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LeaderReport {
    pub(crate) id: u64,
    pub(crate) site: String,
    pub(crate) address: String,
    pub(crate) term: u64,
}

/// `cluster status -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClusterReport {
    pub(crate) cluster: String,
    pub(crate) revision: u64,
    pub(crate) leader: Option<LeaderReport>,
    pub(crate) nodes: Vec<NodeReport>,
}

impl ClusterReport {
    /// `prod  3/3 nodes  leader n1 east  term 4  revision 57`.
    pub(crate) fn headline(&self, screen: Screen) -> String {
        let (up, all) = (self.nodes.iter().filter(|node| node.reachable).count(), self.nodes.len());
        let nodes = format!("{up}/{all} nodes");
        let nodes = if up == all { nodes } else { screen.tone(Tone::Bad, &nodes) };
        let leader = match &self.leader {
            Some(leader) => format!("leader n{} {}  term {}", leader.id, leader.site, leader.term),
            None => screen.tone(Tone::Bad, "no leader"),
        };
        format!("{}  {nodes}  {leader}  revision {}", self.cluster, self.revision)
    }

    /// A line for each node that does not answer, and what it means when they are too many: nothing when all do.
    pub(crate) fn troubles(&self, screen: Screen) -> String {
        let away = self.nodes.iter().filter(|node| !node.reachable);
        let mut lines: String = away
            .map(|node| {
                let since = match node.last_heard_ms {
                    Some(heard) => format!("unreachable for {}", millis(heard as f64)),
                    None => "does not answer".to_owned(),
                };
                screen.tone(Tone::Bad, &format!("n{} {} ({}) {since}", node.id, node.site, node.address))
                    + "\n"
            })
            .collect();
        if !self.has_majority() {
            let lost = "no majority of the nodes answers: primaries go on serving, nothing is promoted; start the others";
            lines += &(screen.tone(Tone::Bad, lost) + "\n");
        }
        lines
    }

    fn has_majority(&self) -> bool {
        let voters = self.nodes.iter().filter(|node| node.voter);
        let (up, all) = voters.fold((0, 0), |(up, all), node| (up + usize::from(node.reachable), all + 1));
        up * 2 > all
    }

    /// `cluster status`.
    pub(crate) fn text(&self, screen: Screen) -> String {
        let columns = [
            left("NODE"),
            left("SITE"),
            left("ADDRESS"),
            left("ROLE"),
            left("STATE"),
            right("HEARD"),
            right("MATCHED"),
            left("VERSION"),
        ];
        let mut table = Table::new(columns);
        for node in &self.nodes {
            let state = if node.reachable { ("up", Tone::Good) } else { ("unreachable", Tone::Bad) };
            let or_dash = |value: Option<String>| (value.unwrap_or_else(|| "-".to_owned()), Tone::Plain);
            table.row([
                (format!("n{}", node.id), Tone::Plain),
                (node.site.clone(), Tone::Plain),
                (node.address.clone(), Tone::Plain),
                (node.role().to_owned(), Tone::Plain),
                (state.0.to_owned(), state.1),
                or_dash(node.last_heard_ms.map(|heard| format!("{} ago", millis(heard as f64)))),
                or_dash(node.matched_index.map(count)),
                or_dash(node.version.clone()),
            ]);
        }
        format!("{}\n\n{}", self.headline(screen), screen.text(&table))
    }
}

impl NodeReport {
    fn role(&self) -> &'static str {
        match (self.leader, self.voter) {
            (true, _) => "leader",
            (false, true) => "follower",
            (false, false) => "learner",
        }
    }
}

/// What a request answers that only changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DoneReport {
    /// `paused` or `resumed`.
    pub(crate) done: &'static str,
    pub(crate) group: String,
    pub(crate) revision: u64,
}

/// A snapshot that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SnapshotReport {
    /// The last log index in it.
    pub(crate) log_index: u64,
    pub(crate) size_bytes: u64,
}

impl From<v1::ClusterStatusResponse> for ClusterReport {
    fn from(status: v1::ClusterStatusResponse) -> Self {
        let leader = status.leader.map(|leader| LeaderReport {
            id: leader.id,
            site: leader.site,
            address: leader.address,
            term: leader.term,
        });
        let leader_id = leader.as_ref().map(|leader| leader.id);
        let nodes = status.nodes.into_iter().map(|node| NodeReport {
            leader: leader_id == Some(node.id),
            id: node.id,
            site: node.site,
            address: node.address,
            voter: node.voter,
            reachable: node.reachable,
            last_heard_ms: node.last_heard_ms,
            matched_index: node.matched_index,
            version: node.version,
        });
        ClusterReport { cluster: status.cluster, revision: status.revision, leader, nodes: nodes.collect() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::primary::tests::PLAIN;
    use super::*;
    use expect_test::expect;

    pub(crate) fn report() -> ClusterReport {
        let node = |id, site: &str, last_heard_ms| NodeReport {
            id,
            site: site.into(),
            address: format!("10.0.0.{id}:7101"),
            voter: id != 4,
            leader: id == 1,
            reachable: id != 3,
            last_heard_ms,
            matched_index: (id != 3).then_some(12_057),
            version: (id != 3).then(|| "0.1.0".to_owned()),
        };
        ClusterReport {
            cluster: "prod".into(),
            revision: 57,
            leader: Some(LeaderReport {
                id: 1,
                site: "east".into(),
                address: "10.0.0.1:7101".into(),
                term: 4,
            }),
            nodes: vec![
                node(1, "east", Some(0)),
                node(2, "north", Some(31)),
                node(3, "west", Some(12_000)),
                node(4, "west", Some(18)),
            ],
        }
    }

    #[test]
    fn nodes_in_a_table() {
        expect![[r"
            prod  3/4 nodes  leader n1 east  term 4  revision 57

            NODE  SITE   ADDRESS        ROLE      STATE             HEARD  MATCHED  VERSION
            n1    east   10.0.0.1:7101  leader    up           0.0 ms ago   12,057  0.1.0
            n2    north  10.0.0.2:7101  follower  up            31 ms ago   12,057  0.1.0
            n3    west   10.0.0.3:7101  follower  unreachable    12 s ago        -  -
            n4    west   10.0.0.4:7101  learner   up            18 ms ago   12,057  0.1.0
        "]]
        .assert_eq(&report().text(PLAIN));
        assert_eq!(report().troubles(PLAIN), "n3 west (10.0.0.3:7101) unreachable for 12 s\n");
        let mut lost = report();
        lost.nodes[1].reachable = false;
        lost.nodes[1].last_heard_ms = None;
        expect![[r"
            n2 north (10.0.0.2:7101) does not answer
            n3 west (10.0.0.3:7101) unreachable for 12 s
            no majority of the nodes answers: primaries go on serving, nothing is promoted; start the others
        "]]
        .assert_eq(&lost.troubles(PLAIN));
    }

    #[test]
    fn json() {
        let report = ClusterReport { nodes: report().nodes[2..3].to_vec(), ..report() };
        expect![[r#"{"cluster":"prod","revision":57,"leader":{"id":1,"site":"east","address":"10.0.0.1:7101","term":4},"nodes":[{"id":3,"site":"west","address":"10.0.0.3:7101","voter":true,"leader":false,"reachable":false,"last_heard_ms":12000,"matched_index":null,"version":null}]}"#]]
            .assert_eq(&serde_json::to_string(&report).unwrap());
        let done = DoneReport { done: "paused", group: "features".into(), revision: 60 };
        assert_eq!(
            serde_json::to_string(&done).unwrap(),
            r#"{"done":"paused","group":"features","revision":60}"#
        );
    }
}
