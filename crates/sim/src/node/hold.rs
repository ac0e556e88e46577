//! A copy of the stream at another site, which replies may rely on, as `crates/node` keeps one.

use super::post::{Intent, Tail, intent};
use super::tail::GONE;
use crate::coverage::Mark;
use crate::defect::Defect;
use crate::message::{Chunk, Message, Sealed};
use crate::setup::{member_number, node_id, node_number};
use crate::world::World;
use primacy_core::detect::CURRENT_WITHIN;
use primacy_core::view::{HolderReport, Reach};
use primacy_core::{Durability, Epoch, Moment};
use std::time::Duration;

const SILENT_AFTER: Duration = Duration::from_millis(1_500);
const ASK_EVERY: Duration = Duration::from_millis(250);
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const TOLD_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Holding {
    pub(crate) epoch: Epoch,
    sealed_for: Option<Epoch>,
    pub(crate) tail: Option<Tail>,
    pub(crate) following: bool,
    pub(crate) acknowledged: u64,
    covers: (bool, Moment),
    fed_at: Moment,
    ask_at: Moment,
    told_at: Moment,
    gap: bool,
}

impl Holding {
    fn new(epoch: Epoch, at: Moment) -> Holding {
        Holding {
            epoch,
            sealed_for: None,
            tail: None,
            following: false,
            acknowledged: 0,
            covers: (false, at),
            fed_at: Moment(0),
            ask_at: at,
            told_at: at,
            gap: false,
        }
    }

    fn set_covers(&mut self, covers: bool, at: Moment) -> bool {
        let news = self.covers.0 != covers;
        if news {
            self.covers = (covers, at);
        }
        news
    }

    fn report(&self, at: Moment) -> HolderReport {
        let tail = self.tail.as_ref();
        HolderReport {
            at,
            epoch: self.epoch,
            replid: tail.map(|t| t.replid.clone()),
            start_bytes: tail.map_or(0, |t| t.start),
            end_bytes: tail.map_or(0, |t| t.end.offset),
            sealed: tail.is_some_and(|t| t.sealed),
            covers: self.covers.0,
            since: self.covers.1,
        }
    }
}

impl World {
    pub(crate) fn reconcile_holding(&mut self, n: usize) {
        let at = self.clock(n);
        let Some(group) = self.nodes[n].group() else { return };
        let Some(primary) = &group.primary else { return };
        let (epoch, last, intent) = (primary.epoch, group.epoch_last(), intent(group));
        let mine = group.spec.durability == Durability::Site && primary.holder == Some(node_id(n));
        let node = &mut self.nodes[n];
        if node.holding.as_ref().is_some_and(|h| h.epoch != epoch) {
            (node.holding, node.own_holder) = (None, None);
        }
        if mine && node.holding.is_none() {
            node.holding = Some(Holding::new(epoch, at));
        }
        let Some(holding) = node.holding.as_mut() else { return };
        let before = (holding.following, holding.sealed_for);
        match holding.sealed_for {
            Some(e) if e > last => {}
            _ if intent == Intent::Unplanned => {
                self.seal_copy(n, last);
            }
            _ if !mine => {
                holding.following = false;
                holding.set_covers(false, at);
            }
            _ => {
                holding.sealed_for = None;
                if let Some(tail) = holding.tail.as_mut() {
                    tail.sealed = false;
                }
                holding.following = true;
            }
        }
        let now = self.nodes[n].holding.as_ref().map(|h| (h.following, h.sealed_for));
        if now != Some(before) {
            self.note_holder(n);
        }
    }

    fn seal_copy(&mut self, n: usize, epoch: Epoch) {
        let at = self.clock(n);
        let unsealed = self.has(Defect::UnsealedTail);
        let Some(holding) = self.nodes[n].holding.as_mut() else { return };
        holding.sealed_for = holding.sealed_for.max(Some(epoch));
        if !unsealed {
            holding.following = false;
            holding.set_covers(false, at);
            if let Some(tail) = holding.tail.as_mut() {
                tail.sealed = true;
            }
        }
    }

    pub(crate) fn seal_holding(&mut self, n: usize, epoch: Epoch, of: Epoch) -> Result<Sealed, String> {
        if self.nodes[n].holding.as_ref().is_none_or(|h| h.epoch != of) {
            return Err("this node keeps no tail of that epoch".to_owned());
        }
        self.seal_copy(n, epoch);
        self.note_holder(n);
        let tail = self.nodes[n].holding.as_ref().and_then(|h| h.tail.clone());
        let tail = tail.ok_or("this node keeps no tail of that epoch")?;
        // What the primary sent last may never have left its site.
        Ok(Sealed { replid: tail.replid, start: tail.start, end: tail.end, complete: false })
    }

    fn note_holder(&mut self, n: usize) {
        let at = self.clock(n);
        let Some(report) = self.nodes[n].holding.as_mut().map(|h| {
            h.told_at = at;
            h.report(at)
        }) else {
            return;
        };
        let character = |r: &HolderReport| (r.epoch, r.sealed, r.covers);
        let before = self.nodes[n].own_holder.replace(report.clone());
        if before.is_none_or(|b| character(&b) != character(&report)) {
            self.has_news(n);
        }
        self.take_in_holder(n, n, report);
    }

    /// The furthest that a candidate at another site than the primary's reaches, by this node's own fresh look.
    fn reach_elsewhere(&self, n: usize) -> Option<(u64, String)> {
        let at = self.clock(n);
        let group = self.nodes[n].group()?;
        let primary = group.primary.as_ref()?;
        let home = &group.spec.member(&primary.member)?.site;
        let replid = &primary.lineage.start.replid;
        let elsewhere = group.spec.members.iter().filter(|m| m.site != *home && m.priority > 0);
        let reach = |m: usize| {
            let seen = self.nodes[n].own.get(&m)?;
            match &seen.reach {
                Reach::Up(s) if at.since(seen.at) <= CURRENT_WITHIN => {
                    (s.replid == *replid && !s.loading).then(|| s.reach_bytes())
                }
                Reach::Up(_) | Reach::Down { .. } => None,
            }
        };
        let best = elsewhere.filter_map(|m| reach(member_number(&m.name))).max()?;
        Some((best, replid.clone()))
    }

    pub(crate) fn hold_tick(&mut self, n: usize) {
        let at = self.clock(n);
        if self.nodes[n].holding.as_ref().is_none_or(|h| !h.following) {
            return;
        }
        self.ask_for_stream(n, at);
        self.judge(n, at);
    }

    fn ask_for_stream(&mut self, n: usize, at: Moment) {
        let Some(holding) = self.nodes[n].holding.as_ref().filter(|h| at >= h.ask_at) else { return };
        let (epoch, gap, end) = (holding.epoch, holding.gap, holding.tail.as_ref().map(|t| t.end.offset));
        let witness = self.nodes[n].group().and_then(|g| g.primary.as_ref()).and_then(|p| p.witness);
        let Some(witness) = witness.map(node_number).filter(|w| *w != n) else { return };
        let from = match end {
            Some(end) if !gap => Some(end),
            _ => self.reach_elsewhere(n).map(|(reach, _)| reach).filter(|r| end.is_none_or(|end| *r >= end)),
        };
        if let Some(holding) = self.nodes[n].holding.as_mut() {
            holding.ask_at = at.after(if from.is_some() { ASK_EVERY } else { AGAIN_AFTER });
        }
        if let Some(from) = from {
            self.tell(n, witness, Message::Follow { of: epoch, from: Some(from), acknowledged: false });
        }
    }

    pub(crate) fn holding_takes(&mut self, n: usize, chunk: &Chunk) {
        let Chunk { of, ref replid, at: from, to, .. } = *chunk;
        let at = self.clock(n);
        let Some(holding) = self.nodes[n].holding.as_mut().filter(|h| h.epoch == of && h.following) else {
            return;
        };
        if from == GONE {
            holding.gap = true;
            holding.ask_at = at;
            return;
        }
        holding.fed_at = at;
        match holding.tail.as_mut() {
            Some(tail) if !holding.gap && from <= tail.end.offset => {
                if to.offset > tail.end.offset {
                    tail.end = to;
                }
            }
            Some(_) if !holding.gap => {
                // Something before it was lost on the way.
                holding.ask_at = at;
                return;
            }
            _ => {
                holding.gap = false;
                holding.tail = Some(Tail { replid: replid.clone(), start: from, end: to, sealed: false });
            }
        }
        let end = holding.tail.as_ref().map_or(0, |t| t.end.offset);
        crate::invariant::sealed::grew(self, n, of, end);
        self.judge(n, at);
    }

    /// Acknowledges what may be relied on.
    fn judge(&mut self, n: usize, at: Moment) {
        let Some(group) = self.nodes[n].group() else { return };
        let primary = group.primary.as_ref();
        let relied_on =
            primary.is_some_and(|p| p.holder == Some(node_id(n))) && intent(group) == Intent::None;
        let reach = self.reach_elsewhere(n).filter(|_| relied_on);
        let joins_not = self.has(Defect::HolderJoinsNobody);
        let ahead = if self.has(Defect::HolderAcksAhead) { 4_000 } else { 0 };
        let Some(holding) = self.nodes[n].holding.as_mut() else { return };
        let joins = holding.tail.as_ref().is_some_and(|t| {
            let reached = reach.as_ref().is_some_and(|(r, id)| *r >= t.start && t.replid == *id);
            (reached || joins_not) && !t.sealed
        });
        let fed = at.since(holding.fed_at) < SILENT_AFTER;
        let end = holding.tail.as_ref().map_or(0, |t| t.end.offset) + ahead;
        let grew = joins && end > holding.acknowledged;
        if grew {
            holding.acknowledged = end;
        }
        if holding.set_covers(joins && fed, at) || at >= holding.told_at.after(TOLD_EVERY) {
            self.note_holder(n);
        }
        if grew {
            self.coverage.mark(Mark::HolderAcknowledged);
            self.tail_grew(n);
        }
    }
}
