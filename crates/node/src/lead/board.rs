//! What the leader sees, shared between the loop that plans and the services that report and explain.
//!
//! Reports of all nodes arrive here and become the [`View`]. Most of them say nothing new, so the board compares each
//! with the one before and marks a group as due only when something that a plan could turn on has changed; the loop
//! sleeps otherwise. What this node saw itself is kept in any case: it is what a new leader begins with, and what a
//! follower sends. While this node does not lead the board refuses the reports of others.
//!
//! It must not plan, and it reads no clock: every moment is an argument.

use primacy_consensus::Consensus;
use primacy_core::view::{
    Failure, GateReport, HolderReport, MemberStatus, MirrorReport, Observation, Reach, SafetyTimes, View,
    WitnessReport,
};
use primacy_core::{
    ActionKey, Epoch, Group, GroupName, MemberName, Moment, NodeId, Phase, Revision, SiteName, State, Term,
    lease,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A lease that is asked for, or granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseAsk {
    pub(crate) group: GroupName,
    pub(crate) epoch: Epoch,
    /// To be the witness besides.
    pub(crate) witness: bool,
    /// To run the mirror into these members besides.
    pub(crate) mirrors: Vec<MemberName>,
}

/// One member as one node saw it.
pub(crate) type Seen = (GroupName, MemberName, Observation);

/// Lends the committed state. It is locked after the board, never before it.
pub(crate) trait Committed {
    /// Calls `f` once.
    fn lend(&self, f: &mut dyn FnMut(&State));
}

impl Committed for Consensus {
    fn lend(&self, f: &mut dyn FnMut(&State)) {
        self.read(|state| f(state));
    }
}

/// The leader's view, while this node leads.
pub(crate) struct Board {
    me: NodeId,
    times: SafetyTimes,
    desk: Mutex<Desk>,
    wake: Notify,
}

#[derive(Default)]
struct Desk {
    /// What this node saw last of each member.
    own: BTreeMap<(GroupName, MemberName), Observation>,
    /// Whose last observation said something new that no batch has carried yet.
    unsent: BTreeSet<(GroupName, MemberName)>,
    /// What this node says of its own witness connections.
    witnesses: BTreeMap<GroupName, WitnessReport>,
    /// What it says of its gates.
    gates: BTreeMap<GroupName, GateReport>,
    /// What it says of the copies of streams that it keeps for another site.
    holders: BTreeMap<GroupName, HolderReport>,
    /// What it says of the mirrors that it runs, or ran last.
    mirrors: BTreeMap<(GroupName, MemberName), MirrorReport>,
    seat: Option<Seat>,
}

struct Seat {
    view: View,
    /// Groups that need a plan now.
    due: BTreeSet<GroupName>,
    known: BTreeMap<GroupName, Known>,
}

/// What of a group's state was last seen here, to know since when it is so.
#[derive(Default)]
struct Known {
    revision: Revision,
    primary: Option<Epoch>,
    phase: Option<(Epoch, Phase)>,
    held: Option<(Epoch, Option<NodeId>, bool)>,
}

impl Board {
    pub(crate) fn new(me: NodeId, times: SafetyTimes) -> Board {
        Board { me, times, desk: Mutex::default(), wake: Notify::new() }
    }

    /// Takes in what this node says of its witness connection. True when it says something new.
    pub(crate) fn note_witness(&self, now: Moment, group: &GroupName, report: &WitnessReport) -> bool {
        let mut desk = self.lock();
        if let Some(seat) = desk.seat.as_mut() {
            seat.view.heard.insert(self.me, now);
            if seat.take_in_witness(self.me, group, report.clone()) {
                self.wake.notify_one();
            }
        }
        let before = desk.witnesses.insert(group.clone(), report.clone());
        before.is_none_or(|before| report.is_news_after(&before))
    }

    /// Takes in what this node says of its gates. True when it says something new.
    pub(crate) fn note_gates(&self, group: &GroupName, report: &GateReport) -> bool {
        let mut desk = self.lock();
        let seat = desk.seat.as_mut();
        if seat.is_some_and(|seat| seat.take_in_gates(self.me, group, report.clone())) {
            self.wake.notify_one();
        }
        let before = desk.gates.insert(group.clone(), report.clone());
        before.is_none_or(|before| report.is_news_after(&before))
    }

    /// Forgets the gates of groups that are gone.
    pub(crate) fn keep_gates(&self, kept: impl Fn(&GroupName) -> bool) {
        self.lock().gates.retain(|group, _| kept(group));
    }

    /// What this node says of its gates, to be sent.
    pub(crate) fn own_gates<R>(&self, each: impl Fn(&GroupName, &GateReport) -> R) -> Vec<R> {
        self.lock().gates.iter().map(|(group, report)| each(group, report)).collect()
    }

    /// Takes in what a node says of its gates, while this node leads.
    pub(crate) fn report_gates(&self, from: NodeId, gates: Vec<(GroupName, GateReport)>) {
        let mut desk = self.lock();
        let Some(seat) = desk.seat.as_mut() else { return };
        let mut news = false;
        for (group, report) in gates {
            news |= seat.take_in_gates(from, &group, report);
        }
        if news {
            self.wake.notify_one();
        }
    }

    /// Forgets the witness connections of groups that have none here.
    pub(crate) fn keep_witnesses(&self, kept: impl Fn(&GroupName) -> bool) {
        self.lock().witnesses.retain(|group, _| kept(group));
    }

    /// What this node says of its witness connections, to be sent.
    pub(crate) fn own_witnesses<R>(&self, each: impl Fn(&GroupName, &WitnessReport) -> R) -> Vec<R> {
        self.lock().witnesses.iter().map(|(group, report)| each(group, report)).collect()
    }

    /// The last answer of a member that this node had itself.
    pub(crate) fn own_answer(
        &self,
        group: &GroupName,
        member: &MemberName,
    ) -> Option<(Moment, MemberStatus)> {
        let desk = self.lock();
        let seen = desk.own.get(&(group.clone(), member.clone()))?;
        match &seen.reach {
            Reach::Up(status) => Some((seen.at, status.clone())),
            Reach::Down { .. } => seen.last_up.clone(),
        }
    }

    /// Grants leases to a node, under the quorum lease that the caller has checked. None when this node does not lead.
    pub(crate) fn grant(
        &self,
        to: NodeId,
        asks: &[LeaseAsk],
        now: Moment,
        committed: &dyn Committed,
    ) -> Option<Vec<LeaseAsk>> {
        let mut desk = self.lock();
        let seat = desk.seat.as_mut()?;
        let mut granted = Vec::new();
        committed.lend(&mut |state| {
            for ask in asks {
                let Some(group) = state.groups.get(&ask.group) else { continue };
                if lease::may_grant(group, ask.epoch).is_err() {
                    continue;
                }
                let witness = ask.witness && lease::may_witness(group, to, &seat.view, now).is_ok();
                // Two requests of one node may be answered at once: what is remembered never goes back.
                let key = (ask.group.clone(), to);
                let last = seat.view.granted.entry(key.clone()).or_insert(now);
                *last = now.max(*last);
                if witness {
                    let last = seat.view.witness_granted.entry(key).or_insert((ask.epoch, now));
                    *last = (ask.epoch, now.max(last.1));
                }
                let mut mirrors = ask.mirrors.clone();
                mirrors.retain(|member| lease::may_mirror(group, member, to, &seat.view, now).is_ok());
                for member in &mirrors {
                    seat.view.mirror_granted.insert((ask.group.clone(), member.clone()), (to, now));
                }
                granted.push(LeaseAsk { witness, mirrors, ..ask.clone() });
            }
        });
        Some(granted)
    }

    /// Takes in what this node saw itself. True when it says something new.
    pub(crate) fn see(
        &self,
        now: Moment,
        committed: &dyn Committed,
        (group, member, observation): (&GroupName, &MemberName, &Observation),
    ) -> bool {
        let mut desk = self.lock();
        let key = (group.clone(), member.clone());
        let news = desk.own.get(&key).is_none_or(|before| observation.reach.is_news_after(&before.reach));
        if let Some(seat) = desk.seat.as_mut() {
            seat.view.heard.insert(self.me, now);
            let seen = (key.0.clone(), key.1.clone(), observation.clone());
            if seat.take_in_all(self.me, committed, vec![seen]) {
                self.wake.notify_one();
            }
        }
        if news {
            desk.unsent.insert(key.clone());
        }
        desk.own.insert(key, observation.clone());
        news
    }

    /// Forgets members that this node does not watch any more.
    pub(crate) fn keep_own(&self, watched: impl Fn(&GroupName, &MemberName) -> bool) {
        self.lock().own.retain(|(group, member), _| watched(group, member));
    }

    /// What this node saw, to be sent: all of it, or what is new since the last time.
    pub(crate) fn take_unsent<R>(
        &self,
        everything: bool,
        each: impl Fn(&GroupName, &MemberName, &Observation) -> R,
    ) -> Vec<R> {
        let mut desk = self.lock();
        let unsent = std::mem::take(&mut desk.unsent);
        if everything {
            return desk.own.iter().map(|((group, member), seen)| each(group, member, seen)).collect();
        }
        let seen = unsent.iter().filter_map(|key| Some((key, desk.own.get(key)?)));
        seen.map(|((group, member), seen)| each(group, member, seen)).collect()
    }

    /// A view made of this node's own observations alone: what a follower can say by itself.
    pub(crate) fn own_view(
        &self,
        nodes: BTreeMap<NodeId, SiteName>,
        now: Moment,
        committed: &dyn Committed,
    ) -> View {
        let mut seat = Seat::new(self.me, Term::default(), now, self.times);
        seat.view.nodes = nodes;
        let desk = self.lock();
        seat.take_in_desk(self.me, committed, &desk);
        seat.view
    }

    /// This node leads from here on.
    pub(crate) fn take_seat(&self, term: Term, now: Moment, committed: &dyn Committed) {
        let mut seat = Seat::new(self.me, term, now, self.times);
        let mut desk = self.lock();
        seat.take_in_desk(self.me, committed, &desk);
        desk.seat = Some(seat);
        self.wake.notify_one();
    }

    /// It leads no more, and what it saw as leader is void.
    pub(crate) fn leave_seat(&self) {
        self.lock().seat = None;
    }

    /// Takes in what a node saw. False when this node does not lead.
    pub(crate) fn report(
        &self,
        from: NodeId,
        now: Moment,
        committed: &dyn Committed,
        seen: Vec<Seen>,
        witnesses: Vec<(GroupName, WitnessReport)>,
    ) -> bool {
        let mut desk = self.lock();
        let Some(seat) = desk.seat.as_mut() else { return false };
        seat.view.heard.insert(from, now);
        let mut news = seat.take_in_all(from, committed, seen);
        for (group, report) in witnesses {
            news |= seat.take_in_witness(from, &group, report);
        }
        if news {
            self.wake.notify_one();
        }
        true
    }

    /// The voting nodes and their sites, and the nodes that do not vote.
    pub(crate) fn set_nodes(&self, nodes: BTreeMap<NodeId, SiteName>, learners: BTreeSet<NodeId>) {
        let mut guard = self.lock();
        let Some(seat) = guard.seat.as_mut() else { return };
        if seat.view.nodes != nodes || seat.view.learners != learners {
            (seat.view.nodes, seat.view.learners) = (nodes, learners);
            seat.all_due();
        }
    }

    /// Follows the committed state: what changed is due, what is gone is forgotten.
    pub(crate) fn follow(&self, now: Moment, committed: &dyn Committed) {
        if let Some(seat) = self.lock().seat.as_mut() {
            committed.lend(&mut |state| seat.follow(state, now));
        }
    }

    /// The groups that need a plan, once.
    pub(crate) fn take_due(&self) -> BTreeSet<GroupName> {
        self.lock().seat.as_mut().map(|seat| std::mem::take(&mut seat.due)).unwrap_or_default()
    }

    /// Marks a group as due.
    pub(crate) fn set_due(&self, group: &GroupName) {
        if let Some(seat) = self.lock().seat.as_mut() {
            seat.due.insert(group.clone());
        }
    }

    /// Says that this node itself is alive, for the view.
    pub(crate) fn heard_myself(&self, now: Moment) {
        if let Some(seat) = self.lock().seat.as_mut() {
            seat.view.heard.insert(self.me, now);
        }
    }

    /// An action begins.
    pub(crate) fn started(&self, key: ActionKey) {
        if let Some(seat) = self.lock().seat.as_mut() {
            seat.view.running.insert(key);
        }
    }

    /// An action worked.
    pub(crate) fn worked(&self, key: &ActionKey, now: Moment) {
        if let Some(seat) = self.lock().seat.as_mut() {
            seat.view.running.remove(key);
            seat.view.failures.remove(key);
            seat.view.done.insert(key.clone(), now);
            seat.due.insert(key.group.clone());
        }
    }

    /// An action failed; says how often in a row.
    pub(crate) fn failed(&self, key: &ActionKey, now: Moment, message: String, permanent: bool) -> u32 {
        let mut guard = self.lock();
        let Some(seat) = guard.seat.as_mut() else { return 0 };
        seat.view.running.remove(key);
        let count = seat.view.failures.get(key).map_or(0, |f| f.count) + 1;
        seat.view.failures.insert(key.clone(), Failure { count, at: now, message, permanent });
        seat.due.insert(key.group.clone());
        count
    }

    /// Reads the view; none when this node does not lead.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&View) -> R) -> Option<R> {
        self.lock().seat.as_ref().map(|seat| f(&seat.view))
    }

    /// Waits until a report said something new.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn all(&self) -> Vec<Seen> {
        self.own.iter().map(|((group, member), o)| (group.clone(), member.clone(), o.clone())).collect()
    }
}

impl Seat {
    fn new(me: NodeId, term: Term, now: Moment, times: SafetyTimes) -> Seat {
        let heard = BTreeMap::from([(me, now)]);
        let view = View { me, term, leading_since: now, heard, times, ..View::default() };
        Seat { view, due: BTreeSet::new(), known: BTreeMap::new() }
    }

    /// Keeps all that this node itself sees and says.
    fn take_in_desk(&mut self, me: NodeId, committed: &dyn Committed, desk: &Desk) {
        self.take_in_all(me, committed, desk.all());
        for (group, report) in &desk.witnesses {
            self.take_in_witness(me, group, report.clone());
        }
        for (group, report) in &desk.gates {
            self.take_in_gates(me, group, report.clone());
        }
        for (group, report) in &desk.holders {
            self.take_in_holder(me, group, report.clone());
        }
        for ((group, member), report) in &desk.mirrors {
            self.take_in_mirror(me, group, member, report.clone());
        }
    }

    /// Keeps what is newer than what is here, of members that are committed. True when something is new.
    fn take_in_all(&mut self, from: NodeId, committed: &dyn Committed, seen: Vec<Seen>) -> bool {
        if seen.is_empty() {
            return false;
        }
        let mut seen = Some(seen);
        let mut news = false;
        committed.lend(&mut |state| {
            for (group, member, observation) in seen.take().into_iter().flatten() {
                let known = state.groups.get(&group).filter(|g| g.spec.member(&member).is_some());
                if let Some(known) = known {
                    news |= self.take_in(from, known, &member, observation);
                }
            }
        });
        news
    }

    fn take_in(
        &mut self,
        from: NodeId,
        group: &Group,
        member: &MemberName,
        observation: Observation,
    ) -> bool {
        let name = &group.spec.name;
        let before =
            self.view.seen.get(&(name.clone(), member.clone())).and_then(|by_node| by_node.get(&from));
        if before.is_some_and(|b| b.at > observation.at) {
            return false;
        }
        let news = before.is_none_or(|b| observation.reach.is_news_after(&b.reach));
        self.view.record(group, member, from, observation);
        if news {
            self.due.insert(name.clone());
        }
        news
    }

    /// Keeps the newest report of a node's witness connection. True when a plan could turn on it.
    fn take_in_witness(&mut self, from: NodeId, group: &GroupName, report: WitnessReport) -> bool {
        let key = (group.clone(), from);
        let before = self.view.witnesses.get(&key);
        if before.is_some_and(|b| b.at > report.at) {
            return false;
        }
        let news = before.is_none_or(|b| report.is_news_after(b));
        self.view.witnesses.insert(key, report);
        if news {
            self.due.insert(group.clone());
        }
        news
    }

    /// Keeps the newest report of a node's gates. True when a plan could turn on it.
    fn take_in_gates(&mut self, from: NodeId, group: &GroupName, report: GateReport) -> bool {
        let key = (group.clone(), from);
        let before = self.view.gates.get(&key);
        if before.is_some_and(|b| b.at > report.at) {
            return false;
        }
        let news = before.is_none_or(|b| report.is_news_after(b));
        self.view.gates.insert(key, report);
        if news {
            self.due.insert(group.clone());
        }
        news
    }

    fn all_due(&mut self) {
        self.due.extend(self.known.keys().cloned());
    }

    fn follow(&mut self, state: &State, now: Moment) {
        for (name, group) in &state.groups {
            let fresh = !self.known.contains_key(name);
            let known = self.known.entry(name.clone()).or_default();
            if !fresh && known.revision == group.revision {
                continue;
            }
            known.revision = group.revision;
            self.due.insert(name.clone());
            let primary = group.primary.as_ref().map(|p| p.epoch);
            if known.primary != primary {
                known.primary = primary;
                self.view.primary_since.insert(name.clone(), now);
            }
            let phase = group.transition.as_ref().map(|t| (t.epoch, t.phase));
            if known.phase != phase {
                known.phase = phase;
                self.view.phase_since.insert(name.clone(), now);
            }
            self.follow_holder(group, now);
            let live = [primary, phase.map(|(epoch, _)| epoch)];
            let over = |key: &ActionKey| key.group == *name && !live.contains(&Some(key.epoch));
            self.view.failures.retain(|key, _| !over(key));
            self.view.done.retain(|key, _| !over(key));
            self.view.seen.retain(|(g, m), _| g != name || group.spec.member(m).is_some());
        }
        self.forget_removed(state, now);
    }

    fn forget_removed(&mut self, state: &State, now: Moment) {
        let known = |group: &GroupName| state.groups.contains_key(group);
        self.known.retain(|g, _| known(g));
        self.view.seen.retain(|(g, _), _| known(g));
        self.view.failures.retain(|key, _| known(&key.group));
        self.view.done.retain(|key, _| known(&key.group));
        self.view.last_of_primary.retain(|g, _| known(g));
        self.view.rates.retain(|(g, _), _| known(g));
        self.view.primary_since.retain(|g, _| known(g));
        self.view.phase_since.retain(|g, _| known(g));
        // A group that takes the name of one that is gone must know who may still rely on that one.
        let times = self.view.times;
        let kept = |g: &GroupName, at: Moment| known(g) || now < times.lease_over(at);
        self.view.granted.retain(|(g, _), at| kept(g, *at));
        self.view.witness_granted.retain(|(g, _), (_, at)| kept(g, *at));
        self.view.witnesses.retain(|(g, _), _| known(g));
        self.view.gates.retain(|(g, _), _| known(g));
        self.view.holders.retain(|(g, _), _| known(g));
        self.view.mirrors.retain(|(g, _), _| known(g));
        self.view.mirror_granted.retain(|(g, _), (_, at)| kept(g, *at));
        self.view.holder_since.retain(|g, _| known(g));
        self.view.unattached.retain(|(g, _), _| known(g));
    }
}

mod holders;
mod mirrors;

#[cfg(test)]
mod tests;
