//! What the nodes say of the copies of streams that they keep for another site.

use super::{Board, Seat};
use primacy_core::detect::CURRENT_WITHIN;
use primacy_core::view::{HolderReport, Reach};
use primacy_core::{Group, GroupName, MemberName, Moment, NodeId};

impl Board {
    /// Takes in what this node says of its copy. True when it says something new.
    pub(crate) fn note_holder(&self, group: &GroupName, report: &HolderReport) -> bool {
        let mut desk = self.lock();
        let seat = desk.seat.as_mut();
        if seat.is_some_and(|seat| seat.take_in_holder(self.me, group, report.clone())) {
            self.wake.notify_one();
        }
        let before = desk.holders.insert(group.clone(), report.clone());
        before.is_none_or(|before| report.is_news_after(&before))
    }

    /// Forgets the copies of groups that have none here.
    pub(crate) fn keep_holders(&self, kept: impl Fn(&GroupName) -> bool) {
        self.lock().holders.retain(|group, _| kept(group));
    }

    /// What this node says of its copies, to be sent.
    pub(crate) fn own_holders<R>(&self, each: impl Fn(&GroupName, &HolderReport) -> R) -> Vec<R> {
        self.lock().holders.iter().map(|(group, report)| each(group, report)).collect()
    }

    /// Takes in what a node says of its copies, while this node leads.
    pub(crate) fn report_holders(&self, from: NodeId, holders: Vec<(GroupName, HolderReport)>) {
        let mut desk = self.lock();
        let Some(seat) = desk.seat.as_mut() else { return };
        let mut news = false;
        for (group, report) in holders {
            news |= seat.take_in_holder(from, &group, report);
        }
        if news {
            self.wake.notify_one();
        }
    }

    /// How far the data of a member reaches by this node's own fresh look, if it is of the history `replid`.
    pub(crate) fn own_reach(
        &self,
        group: &GroupName,
        member: &MemberName,
        replid: &str,
        now: Moment,
    ) -> Option<u64> {
        let desk = self.lock();
        let seen = desk.own.get(&(group.clone(), member.clone()))?;
        match &seen.reach {
            Reach::Up(status) if now.since(seen.at) <= CURRENT_WITHIN => {
                (status.replid == replid && !status.loading).then(|| status.reach_bytes())
            }
            Reach::Up(_) | Reach::Down { .. } => None,
        }
    }
}

impl Seat {
    /// Keeps the newest report of a node's copy. True when a plan could turn on it.
    pub(super) fn take_in_holder(&mut self, from: NodeId, group: &GroupName, report: HolderReport) -> bool {
        let key = (group.clone(), from);
        let before = self.view.holders.get(&key);
        if before.is_some_and(|b| b.at > report.at) {
            return false;
        }
        let news = before.is_none_or(|b| report.is_news_after(b));
        self.view.holders.insert(key, report);
        if news {
            self.due.insert(group.clone());
        }
        news
    }

    /// Remembers since when the present holder is known here.
    pub(super) fn follow_holder(&mut self, group: &Group, now: Moment) {
        let name = &group.spec.name;
        let held = group.primary.as_ref().map(|p| (p.epoch, p.holder, p.degraded));
        let known = self.known.entry(name.clone()).or_default();
        if known.held != held {
            known.held = held;
            self.view.holder_since.insert(name.clone(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use primacy_core::view::SafetyTimes;
    use primacy_core::{Epoch, State, Term};

    #[test]
    fn a_copy_that_turns_makes_a_group_due_and_one_that_grows_does_not() {
        let board = Board::new(NodeId(1), SafetyTimes::default());
        board.take_seat(Term(3), Moment(1), &NoGroups);
        let group = GroupName::new("features").unwrap();
        let report = |at, covers, end_bytes| HolderReport {
            at: Moment(at),
            epoch: Epoch(7),
            replid: Some("h1".to_owned()),
            start_bytes: 0,
            end_bytes,
            sealed: false,
            covers,
            since: Moment(1),
        };
        let due = |report| {
            board.report_holders(NodeId(2), vec![(group.clone(), report)]);
            board.take_due().len()
        };
        assert_eq!(due(report(3, false, 10)), 1);
        assert_eq!(due(report(4, false, 20)), 0, "it has only grown");
        assert_eq!(due(report(5, true, 20)), 1);
        assert_eq!(due(report(4, false, 20)), 0, "an older one that comes late is dropped");
        assert_eq!(board.read(|v| v.witnesses.len()), Some(0), "a copy is no witness");
        assert!(board.note_holder(&group, &report(6, true, 30)), "news to be sent");
        assert!(!board.note_holder(&group, &report(7, true, 40)));
        assert_eq!(board.own_holders(|_, r| r.end_bytes), [40]);
        board.keep_holders(|_| false);
        assert_eq!(board.own_holders(|_, _| ()).len(), 0);
    }

    struct NoGroups;

    impl super::super::Committed for NoGroups {
        fn lend(&self, f: &mut dyn FnMut(&State)) {
            f(&State::default());
        }
    }
}
