//! The replicated log: elections, replication, a leader's lease, and how all of it goes wrong.
//!
//! Raft (Ongaro and Ousterhout, 2014) as far as the rest can tell: leaders are deposed without knowing, hear late, lose
//! entries that were never committed; whoever proposes may never learn what became of it. Voters do not elect another
//! leader for `election_max` after they heard one, unless its process is known to be gone.

use crate::coverage::Mark;
use crate::message::{Entry, Message};
use crate::net::End;
use crate::world::{Event, World};
use primacy_core::{Command, Moment};
use std::rc::Rc;
use std::time::Duration;

/// No world has more.
const NODES_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Follower,
    Candidate,
    Leader,
}

pub(crate) struct Raft {
    pub(crate) term: u64,
    voted_for: Option<usize>,
    pub(crate) log: Vec<Entry>,
    /// How many entries its disk has.
    durable: usize,
    pub(crate) role: Role,
    pub(crate) leader: Option<usize>,
    pub(crate) commit: usize,
    heard_at: Option<Moment>,
    stand_at: Moment,
    votes: Vec<bool>,
    next: Vec<usize>,
    matched: Vec<usize>,
    /// When what each answered last was sent, by this leader's clock.
    answered: Vec<Moment>,
    beat_at: Moment,
    unacked: Vec<(usize, usize, u64, u64)>,
    /// The term of a leader whose process is known to be gone.
    gone: u64,
}

impl Raft {
    pub(crate) fn new(nodes: usize) -> Raft {
        Raft {
            term: 0,
            voted_for: None,
            log: vec![],
            durable: 0,
            role: Role::Follower,
            leader: None,
            commit: 0,
            heard_at: None,
            stand_at: Moment(0),
            votes: vec![false; nodes],
            next: vec![1; nodes],
            matched: vec![0; nodes],
            answered: vec![Moment(0); nodes],
            beat_at: Moment(0),
            unacked: vec![],
            gone: 0,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    fn last(&self) -> (usize, u64) {
        (self.log.len(), self.log.last().map_or(0, |e| e.term))
    }

    fn term_at(&self, index: usize) -> u64 {
        index.checked_sub(1).and_then(|i| self.log.get(i)).map_or(0, |e| e.term)
    }

    /// What was not on disk is gone.
    pub(crate) fn crash(&mut self) {
        self.log.truncate(self.durable.max(self.commit));
        self.durable = self.log.len();
        self.role = Role::Follower;
        self.leader = None;
        self.unacked.clear();
        self.gone = 0;
    }

    pub(crate) fn restart(&mut self, at: Moment) {
        self.stand_at = Moment(0);
        // It may have promised a leader its patience before it died.
        self.heard_at = Some(at);
    }

    fn step_down(&mut self, term: u64) {
        if term > self.term {
            self.term = term;
            self.voted_for = None;
        }
        self.role = Role::Follower;
    }
}

impl World {
    fn patience(&mut self) -> Duration {
        let t = self.setup.timings;
        Duration::from_micros(t.election_max + self.dice.below(t.election_max - t.election_min))
    }

    pub(crate) fn raft_tick(&mut self, n: usize) {
        let at = self.clock(n);
        let raft = &self.nodes[n].raft;
        if raft.leads() {
            if at >= raft.beat_at {
                self.nodes[n].raft.beat_at = at.after(Duration::from_micros(self.setup.timings.heartbeat));
                self.replicate(n);
            }
            return;
        }
        if raft.stand_at == Moment(0) {
            self.nodes[n].raft.stand_at = at.after(self.patience());
        } else if at >= raft.stand_at {
            self.stand(n, false);
        }
    }

    fn stand(&mut self, n: usize, gone: bool) {
        let at = self.clock(n);
        let patience = self.patience();
        let peers = self.nodes.len();
        let raft = &mut self.nodes[n].raft;
        raft.term += 1;
        raft.role = Role::Candidate;
        raft.voted_for = Some(n);
        raft.leader = None;
        raft.votes = vec![false; peers];
        raft.votes[n] = true;
        raft.stand_at = at.after(patience);
        let (last_index, last_term) = raft.last();
        let term = raft.term;
        for peer in (0..peers).filter(|p| *p != n) {
            self.tell(n, peer, Message::RequestVote { term, last_index, last_term, gone });
        }
        self.leave_seat(n);
    }

    pub(crate) fn raft_hears(&mut self, n: usize, from: usize, message: Message) {
        match message {
            Message::RequestVote { term, last_index, last_term, gone } => {
                self.vote_asked(n, from, term, (last_index, last_term), gone);
            }
            Message::Vote { term, granted } => self.vote_given(n, from, term, granted),
            Message::Append { .. } => self.append_arrives(n, from, message),
            Message::Appended { term, ok, matched, sent_at } => {
                self.appended(n, from, term, ok, matched, sent_at);
            }
            _ => {}
        }
    }

    fn vote_asked(&mut self, n: usize, from: usize, term: u64, last: (usize, u64), gone: bool) {
        let at = self.clock(n);
        let patience = Duration::from_micros(self.setup.timings.election_max);
        let raft = &self.nodes[n].raft;
        let excused = gone && raft.gone + 1 >= term && raft.gone > 0;
        let leading = raft.leads() && self.has_authority(n);
        let raft = &self.nodes[n].raft;
        let heard = raft.heard_at.is_some_and(|heard| at < heard.after(patience)) || leading;
        if heard && !excused || term < raft.term {
            self.tell(n, from, Message::Vote { term: self.nodes[n].raft.term, granted: false });
            return;
        }
        if term > self.nodes[n].raft.term {
            self.depose(n, term);
        }
        let wait = self.patience();
        let raft = &mut self.nodes[n].raft;
        let (index, log_term) = raft.last();
        let up_to_date = (last.1, last.0) >= (log_term, index);
        let granted = up_to_date && raft.voted_for.is_none_or(|v| v == from) && raft.role == Role::Follower;
        if granted {
            raft.voted_for = Some(from);
            raft.stand_at = at.after(wait);
        }
        let term = raft.term;
        self.tell(n, from, Message::Vote { term, granted });
    }

    fn depose(&mut self, n: usize, term: u64) {
        if self.nodes[n].raft.leads() {
            self.coverage.mark(Mark::LeaderDeposed);
        }
        self.nodes[n].raft.step_down(term);
        self.leave_seat(n);
    }

    fn vote_given(&mut self, n: usize, from: usize, term: u64, granted: bool) {
        let raft = &mut self.nodes[n].raft;
        if term > raft.term {
            self.depose(n, term);
            return;
        }
        if raft.role != Role::Candidate || term != raft.term || !granted {
            return;
        }
        raft.votes[from] = true;
        if raft.votes.iter().filter(|v| **v).count() * 2 > raft.votes.len() {
            self.win(n);
        }
    }

    fn win(&mut self, n: usize) {
        let at = self.clock(n);
        let raft = &mut self.nodes[n].raft;
        raft.role = Role::Leader;
        raft.leader = Some(n);
        let end = raft.log.len();
        raft.next = vec![end + 1; raft.votes.len()];
        raft.matched = vec![0; raft.votes.len()];
        raft.answered = vec![Moment(0); raft.votes.len()];
        raft.beat_at = at;
        self.coverage.mark(Mark::LeaderElected);
        let (site, term) = (self.setup.nodes[n], self.nodes[n].raft.term);
        self.say(Some(site), || format!("n{} leads in term {term}", n + 1));
        self.push_entry(n, None);
        self.take_seat(n);
    }

    /// Puts a command into the leader's log. Says where.
    pub(crate) fn push_entry(&mut self, n: usize, command: Option<Rc<Command>>) -> usize {
        let raft = &mut self.nodes[n].raft;
        raft.log.push(Entry { term: raft.term, command });
        let (index, term) = (raft.log.len(), raft.term);
        self.keep_on_disk(n, index, term);
        self.replicate(n);
        index
    }

    fn keep_on_disk(&mut self, n: usize, index: usize, term: u64) {
        let boot = self.nodes[n].boot;
        let took = self.dice.range(100, self.setup.disk[n]);
        self.schedule(self.now + took, Event::Durable { node: n, boot, index, term });
    }

    pub(crate) fn durable(&mut self, n: usize, index: usize, term: u64) {
        let raft = &mut self.nodes[n].raft;
        if raft.term_at(index) != term {
            return;
        }
        raft.durable = raft.durable.max(index);
        if raft.leads() {
            raft.matched[n] = raft.durable;
            self.advance_commit(n);
            return;
        }
        let (done, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut raft.unacked).into_iter().partition(|(i, ..)| *i <= index);
        raft.unacked = left;
        for (matched, leader, term, sent_at) in done {
            if term == self.nodes[n].raft.term {
                self.tell(n, leader, Message::Appended { term, ok: true, matched, sent_at });
            }
        }
    }

    fn replicate(&mut self, n: usize) {
        let sent_at = self.clock(n).0;
        for peer in 0..self.nodes.len() {
            if peer == n {
                continue;
            }
            let raft = &self.nodes[n].raft;
            let prev_index = raft.next[peer] - 1;
            let entries: Vec<Entry> =
                raft.log[prev_index.min(raft.log.len())..].iter().take(32).cloned().collect();
            let message = Message::Append {
                term: raft.term,
                prev_index,
                prev_term: raft.term_at(prev_index),
                entries,
                commit: raft.commit,
                sent_at,
            };
            self.tell(n, peer, message);
        }
    }

    fn append_arrives(&mut self, n: usize, from: usize, message: Message) {
        let Message::Append { term, prev_index, prev_term, entries, commit, sent_at } = message else {
            return;
        };
        if term < self.nodes[n].raft.term {
            let term = self.nodes[n].raft.term;
            self.tell(n, from, Message::Appended { term, ok: false, matched: 0, sent_at: 0 });
            return;
        }
        if term > self.nodes[n].raft.term || self.nodes[n].raft.role != Role::Follower {
            self.depose(n, term);
        }
        let (at, patience) = (self.clock(n), self.patience());
        let raft = &mut self.nodes[n].raft;
        raft.leader = Some(from);
        raft.heard_at = Some(at);
        raft.stand_at = at.after(patience);
        if prev_index > raft.log.len() || raft.term_at(prev_index) != prev_term {
            let matched = raft.log.len().min(prev_index.saturating_sub(1)).max(raft.commit);
            self.tell(n, from, Message::Appended { term, ok: false, matched, sent_at });
            return;
        }
        let matched = prev_index + entries.len();
        let mut news = false;
        for (i, entry) in entries.into_iter().enumerate() {
            let index = prev_index + i + 1;
            if raft.term_at(index) == entry.term {
                continue;
            }
            raft.log.truncate(index - 1);
            raft.durable = raft.durable.min(index - 1);
            raft.log.push(entry);
            news = true;
        }
        let to_keep = (news || raft.durable < matched).then(|| raft.term_at(matched));
        let commit = commit.min(matched);
        if commit > raft.commit {
            raft.commit = commit;
        }
        if let Some(entry_term) = to_keep {
            raft.unacked.push((matched, from, term, sent_at));
            self.keep_on_disk(n, matched, entry_term);
        } else {
            self.tell(n, from, Message::Appended { term, ok: true, matched, sent_at });
        }
        self.apply_soon(n);
    }

    fn appended(&mut self, n: usize, from: usize, term: u64, ok: bool, matched: usize, sent_at: u64) {
        let raft = &mut self.nodes[n].raft;
        if term > raft.term {
            self.depose(n, term);
            return;
        }
        if !raft.leads() || term != raft.term {
            return;
        }
        raft.answered[from] = raft.answered[from].max(Moment(sent_at));
        if ok {
            raft.matched[from] = raft.matched[from].max(matched);
            raft.next[from] = raft.next[from].max(matched + 1);
            let behind = raft.next[from] <= raft.log.len() && matched + 1 < raft.log.len();
            self.advance_commit(n);
            if behind {
                self.nodes[n].raft.beat_at = Moment(0);
            }
        } else {
            raft.next[from] = (matched + 1).max(1);
        }
    }

    fn advance_commit(&mut self, n: usize) {
        let raft = &mut self.nodes[n].raft;
        let mut matched = raft.matched.clone();
        matched.sort_unstable();
        let majority = matched[(matched.len() - 1) / 2];
        if majority > raft.commit && raft.term_at(majority) == raft.term {
            raft.commit = majority;
            self.replicate(n);
            self.apply_soon(n);
        }
    }

    /// Whether a quorum has stood behind this node as leader so lately that there is no other, and it has applied what
    /// came before it.
    pub(crate) fn has_authority(&self, n: usize) -> bool {
        let raft = &self.nodes[n].raft;
        if !raft.leads() || self.nodes[n].applied_term != raft.term {
            return self.has(crate::defect::Defect::NoQuorumLease) && self.nodes[n].seat.is_some();
        }
        if self.has(crate::defect::Defect::NoQuorumLease) {
            return true;
        }
        let at = self.clock(n);
        // Asked after every event: a sorted copy on the heap would be most of what an invariant costs.
        let mut answered = [Moment(0); NODES_MAX];
        let count = raft.answered.len().min(NODES_MAX);
        answered[..count].copy_from_slice(&raft.answered[..count]);
        answered[n] = at;
        answered[..count].sort_unstable();
        let quorum = answered[(count - 1) / 2];
        let lease = Duration::from_micros(self.setup.timings.election_max * 99 / 100);
        quorum > Moment(0) && at < quorum.after(lease)
    }

    /// The kernel of a leader's host has said that its process is gone.
    pub(crate) fn announce_leader_gone(&mut self, n: usize, term: u64) {
        for peer in 0..self.nodes.len() {
            let (a, b) = ((End::Node(n), self.setup.nodes[n]), (End::Node(peer), self.setup.nodes[peer]));
            if peer != n && !self.net.is_cut(a, b) && !self.net.is_cut(b, a) {
                let at = self.now + self.net.travel(a.1, b.1) * 3 + 40_000 * peer as u64;
                self.schedule(at, Event::LeaderGone { node: peer, term });
            }
        }
    }

    pub(crate) fn leader_gone(&mut self, n: usize, term: u64) {
        let raft = &mut self.nodes[n].raft;
        if raft.term == term && !raft.leads() {
            raft.gone = term;
            if raft.role == Role::Follower {
                self.coverage.mark(Mark::LeaderNotWaitedFor);
                self.stand(n, true);
            }
        }
    }
}
