//! What the nodes say of the mirrors into members that they run.

use super::{Board, Seat};
use primacy_core::view::MirrorReport;
use primacy_core::{GroupName, MemberName, NodeId};

/// A report with its place.
pub(crate) type Mirrored = (GroupName, MemberName, MirrorReport);

impl Board {
    /// Takes in what this node says of a mirror. True when it says something new.
    pub(crate) fn note_mirror(&self, group: &GroupName, member: &MemberName, report: &MirrorReport) -> bool {
        let mut desk = self.lock();
        if let Some(seat) = desk.seat.as_mut() {
            seat.take_in_mirror(self.me, group, member, report.clone());
        }
        let before = desk.mirrors.insert((group.clone(), member.clone()), report.clone());
        before.is_none_or(|before| report.is_news_after(&before))
    }

    /// Forgets the mirrors that this node can have no more.
    pub(crate) fn keep_mirrors(&self, kept: impl Fn(&GroupName, &MemberName) -> bool) {
        self.lock().mirrors.retain(|(group, member), _| kept(group, member));
    }

    /// What this node says of its mirrors, to be sent.
    pub(crate) fn own_mirrors<R>(
        &self,
        each: impl Fn(&GroupName, &MemberName, &MirrorReport) -> R,
    ) -> Vec<R> {
        self.lock().mirrors.iter().map(|((group, member), report)| each(group, member, report)).collect()
    }

    /// Takes in what a node says of its mirrors, while this node leads.
    pub(crate) fn report_mirrors(&self, from: NodeId, mirrors: Vec<Mirrored>) {
        let mut desk = self.lock();
        let Some(seat) = desk.seat.as_mut() else { return };
        for (group, member, report) in mirrors {
            seat.take_in_mirror(from, &group, &member, report);
        }
    }
}

impl Seat {
    /// Keeps the newest report of a node. No plan turns on it yet.
    pub(super) fn take_in_mirror(
        &mut self,
        from: NodeId,
        group: &GroupName,
        member: &MemberName,
        report: MirrorReport,
    ) {
        let reports = self.view.mirrors.entry((group.clone(), member.clone())).or_default();
        if reports.get(&from).is_none_or(|before| before.at <= report.at) {
            reports.insert(from, report);
        }
    }
}
