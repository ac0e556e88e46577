//! What is news: a difference between two reports that a plan could turn on.
//!
//! Most reports say what the one before said, a little later. Offsets, round trips and counts move with every probe, and
//! no plan waits for them; what does not differ otherwise wakes nobody.

use super::{ClusterStatus, GateReport, HolderReport, MemberRole, MemberStatus, Reach, WitnessReport};

impl Reach {
    /// Whether a plan could turn on what this says and `before` did not.
    pub fn is_news_after(&self, before: &Reach) -> bool {
        match (before, self) {
            (Reach::Up(a), Reach::Up(b)) => character(a) != character(b) || role_differs(&a.role, &b.role),
            (
                Reach::Down { ended, connect, exited_pid, .. },
                Reach::Down { ended: ended2, connect: connect2, exited_pid: exited_pid2, .. },
            ) => (ended, connect, exited_pid) != (ended2, connect2, exited_pid2),
            (Reach::Up(_), Reach::Down { .. }) | (Reach::Down { .. }, Reach::Up(_)) => true,
        }
    }
}

impl WitnessReport {
    /// Whether a plan could turn on what this says and `before` did not.
    pub fn is_news_after(&self, before: &WitnessReport) -> bool {
        let character = |r: &WitnessReport| (r.epoch, r.attached, r.ended, r.closed, r.copies);
        character(before) != character(self) || before.replid != self.replid
    }
}

impl HolderReport {
    /// Whether a plan could turn on what this says and `before` did not.
    pub fn is_news_after(&self, before: &HolderReport) -> bool {
        let character = |r: &HolderReport| (r.epoch, r.sealed, r.covers);
        character(before) != character(self) || before.replid != self.replid
    }
}

impl GateReport {
    /// Whether a plan could turn on what this says and `before` did not.
    pub fn is_news_after(&self, before: &GateReport) -> bool {
        (before.epoch, before.open) != (self.epoch, self.open)
    }
}

fn character(s: &MemberStatus) -> (&str, &str, u64, u64, bool, bool) {
    (&s.run_id, &s.replid, s.min_replicas, s.replicas_online(), s.loading, s.keys == 0)
}

fn role_differs(before: &MemberRole, after: &MemberRole) -> bool {
    match (before, after) {
        (
            MemberRole::Replica { host, port, link_up, read_only, .. },
            MemberRole::Replica { host: host2, port: port2, link_up: up2, read_only: read_only2, .. },
        ) => (host, port, link_up, read_only) != (host2, port2, up2, read_only2),
        (MemberRole::Primary { .. }, MemberRole::Primary { .. })
        | (MemberRole::Endpoint, MemberRole::Endpoint) => false,
        (MemberRole::Cluster(a), MemberRole::Cluster(b)) => {
            let character = |c: &ClusterStatus| (c.brokers, c.leaderless.count, c.under_replicated.count);
            character(a) != character(b) || a.problems != b.problems
        }
        (
            MemberRole::Primary { .. }
            | MemberRole::Replica { .. }
            | MemberRole::Endpoint
            | MemberRole::Cluster(_),
            _,
        ) => true,
    }
}
