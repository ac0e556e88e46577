//! Links between sites, and connections over them.
//!
//! A message between nodes is lost when its way is cut. A connection keeps order: what is sent into a cut arrives, if the
//! connection lives so long, after the cut is over. Ends are seen as a kernel shows them: a process that dies closes its
//! connections, a host that loses power says nothing, and says "reset" when it is back.

use crate::dice::Dice;
use crate::message::Payload;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) type ConnId = u32;

/// Whoever has connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum End {
    Node(usize),
    Server(usize),
    Client(usize),
    Stranger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Control,
    Replication,
    Client,
}

#[derive(Clone, Debug)]
pub(crate) struct Conn {
    pub(crate) ends: [End; 2],
    pub(crate) kind: Kind,
    /// Whether the process at an end holds it.
    pub(crate) open: [bool; 2],
    /// When the last thing on its way to an end arrives.
    arrival: [u64; 2],
    /// What waits for a cut to end, on its way to an end.
    stalled: [VecDeque<Payload>; 2],
}

impl Conn {
    /// What was not sent yet towards an end never will be.
    pub(crate) fn drop_stalled(&mut self, to: usize) {
        self.stalled[to].clear();
    }
}

/// All links and connections.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    /// One way, in microseconds, between sites; within one on the diagonal.
    pub(crate) delay: Vec<Vec<u64>>,
    /// How many faults cut the way from a site to another.
    cut_sites: BTreeMap<(usize, usize), u32>,
    cut_ends: BTreeMap<(End, End), u32>,
    /// What faults add to the delay between two sites.
    pub(crate) slow: BTreeMap<(usize, usize), u64>,
    /// Of a hundred messages between two sites so many are lost, and so many come twice.
    pub(crate) loss: BTreeMap<(usize, usize), u64>,
    pub(crate) conns: Vec<Conn>,
    waiting: BTreeSet<ConnId>,
    pub(crate) dice: Dice,
}

/// What becomes of something that was sent.
pub(crate) enum Sent {
    At(u64),
    Never,
}

impl Net {
    pub(crate) fn new(delay: Vec<Vec<u64>>, dice: Dice) -> Net {
        Net {
            delay,
            cut_sites: BTreeMap::new(),
            cut_ends: BTreeMap::new(),
            slow: BTreeMap::new(),
            loss: BTreeMap::new(),
            conns: vec![],
            waiting: BTreeSet::new(),
            dice,
        }
    }

    pub(crate) fn cut_sites(&mut self, from: usize, to: usize, add: bool) {
        count(&mut self.cut_sites, (from, to), add);
    }

    pub(crate) fn cut_ends(&mut self, from: End, to: End, add: bool) {
        count(&mut self.cut_ends, (from, to), add);
    }

    pub(crate) fn any_cut(&self) -> bool {
        !self.cut_sites.is_empty() || !self.cut_ends.is_empty()
    }

    pub(crate) fn is_cut(&self, from: (End, usize), to: (End, usize)) -> bool {
        (!self.cut_sites.is_empty() && self.cut_sites.contains_key(&(from.1, to.1)))
            || (!self.cut_ends.is_empty() && self.cut_ends.contains_key(&(from.0, to.0)))
    }

    pub(crate) fn travel(&mut self, from: usize, to: usize) -> u64 {
        let base = self.delay[from][to] + self.slow.get(&(from, to)).copied().unwrap_or(0);
        let jitter = self.dice.below(base / 4 + 20);
        // One in a hundred is late.
        let late = if self.dice.below(100) == 0 { self.dice.below(base * 2 + 2_000) } else { 0 };
        base + jitter + late
    }

    /// When a message from node to node arrives.
    pub(crate) fn message(&mut self, now: u64, from: (End, usize), to: (End, usize)) -> (Sent, bool) {
        if self.is_cut(from, to) {
            return (Sent::Never, false);
        }
        let bad = self.loss.get(&(from.1, to.1)).copied().unwrap_or(0);
        if bad > 0 && self.dice.chance(bad) {
            return (Sent::Never, false);
        }
        let twice = bad > 0 && self.dice.chance(bad);
        (Sent::At(now + self.travel(from.1, to.1)), twice)
    }

    pub(crate) fn open(&mut self, from: End, to: End, kind: Kind) -> ConnId {
        self.conns.push(Conn {
            ends: [from, to],
            kind,
            open: [true, false],
            arrival: [0, 0],
            stalled: [VecDeque::new(), VecDeque::new()],
        });
        self.conns.len() as ConnId - 1
    }

    /// Sends towards side `to`. None when it waits for the end of a cut.
    pub(crate) fn segment(
        &mut self,
        now: u64,
        conn: ConnId,
        to: usize,
        sites: [usize; 2],
        payload: Payload,
    ) -> Option<(u64, Payload)> {
        let ends = self.conns[conn as usize].ends;
        let (from, target) = ((ends[1 - to], sites[1 - to]), (ends[to], sites[to]));
        let cut = self.is_cut(from, target);
        let c = &mut self.conns[conn as usize];
        if cut || !c.stalled[to].is_empty() {
            c.stalled[to].push_back(payload);
            self.waiting.insert(conn);
            return None;
        }
        let lossy = self.loss.get(&(from.1, target.1)).copied().unwrap_or(0);
        let again = if lossy > 0 && self.dice.chance(lossy) { self.dice.range(20_000, 250_000) } else { 0 };
        let at = now + self.travel(from.1, target.1) + again;
        let c = &mut self.conns[conn as usize];
        let at = at.max(c.arrival[to] + 1);
        c.arrival[to] = at;
        Some((at, payload))
    }

    /// What can go on its way now that a cut is over, in order.
    pub(crate) fn released(
        &mut self,
        now: u64,
        site_of: impl Fn(End) -> usize,
    ) -> Vec<(u64, ConnId, usize, Payload)> {
        let mut out = Vec::new();
        let waiting: Vec<ConnId> = self.waiting.iter().copied().collect();
        for conn in waiting {
            for to in 0..2 {
                let ends = self.conns[conn as usize].ends;
                let from = (ends[1 - to], site_of(ends[1 - to]));
                let target = (ends[to], site_of(ends[to]));
                if self.is_cut(from, target) {
                    continue;
                }
                // TCP finds out by retransmission, later the longer the cut was.
                let mut at = now + self.dice.range(1_000, 400_000);
                while let Some(payload) = self.conns[conn as usize].stalled[to].pop_front() {
                    at = at.max(self.conns[conn as usize].arrival[to] + 1);
                    self.conns[conn as usize].arrival[to] = at;
                    out.push((at, conn, to, payload));
                }
            }
            if self.conns[conn as usize].stalled.iter().all(VecDeque::is_empty) {
                self.waiting.remove(&conn);
            }
        }
        out
    }

    /// Which side of a connection an end is.
    pub(crate) fn side(&self, conn: ConnId, end: End) -> usize {
        usize::from(self.conns[conn as usize].ends[1] == end)
    }

    /// Whether the process at `end` holds the connection.
    pub(crate) fn holds(&self, conn: ConnId, end: End) -> bool {
        self.conns[conn as usize].open[self.side(conn, end)]
    }

    /// The connections that the process at `end` holds, oldest first.
    pub(crate) fn held_by(&self, end: End) -> Vec<ConnId> {
        let all = self.conns.iter().enumerate();
        let held = all.filter(|(_, c)| (c.ends[0] == end && c.open[0]) || (c.ends[1] == end && c.open[1]));
        held.map(|(id, _)| id as ConnId).collect()
    }
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K, add: bool) {
    if add {
        *counts.entry(key).or_insert(0) += 1;
    } else if let Some(n) = counts.get_mut(&key) {
        *n -= 1;
        if *n == 0 {
            counts.remove(&key);
        }
    }
}
