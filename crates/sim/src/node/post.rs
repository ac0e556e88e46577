//! A witness: attached to the primary as a replica while its lease holds, keeping what the primary sends.

use super::tail;
use crate::coverage::Mark;
use crate::defect::Defect;
use crate::history::Place;
use crate::invariant::sealed;
use crate::message::{Answer, Control, Payload, Sealed, Who};
use crate::net::{ConnId, End, Kind};
use crate::setup::{member_number, node_id};
use crate::world::World;
use primacy_core::view::{LinkEnd, MemberRole, MemberStatus, WitnessReport};
use primacy_core::{Epoch, FencePolicy, Group, Moment};
use std::time::Duration;

const ACK_EVERY: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of a stream as they came: those after `start`, up to a place.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub(crate) replid: String,
    pub(crate) start: u64,
    pub(crate) end: Place,
    pub(crate) sealed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Off,
    Dialing,
    Looking,
    Asking,
    Streaming,
}

pub(crate) struct Post {
    pub(crate) epoch: Epoch,
    pub(crate) m: usize,
    run_id: String,
    lineage_start: (String, u64),
    pub(crate) sealed_for: Option<Epoch>,
    pub(crate) until: Moment,
    pub(crate) tail: Option<Tail>,
    pub(crate) conn: Option<ConnId>,
    stage: Stage,
    stage_at: Moment,
    asked: u32,
    pub(crate) attached: bool,
    ended: Option<LinkEnd>,
    pub(crate) closed: bool,
    copies: u64,
    heard_at: Moment,
    ack_at: Moment,
    dial_at: Moment,
    pause: Duration,
}

impl Post {
    fn report(&self, at: Moment) -> WitnessReport {
        WitnessReport {
            at,
            epoch: self.epoch,
            attached: self.attached,
            ended: self.ended,
            closed: self.closed,
            replid: self.tail.as_ref().map(|t| t.replid.clone()),
            start_bytes: self.tail.as_ref().map_or(0, |t| t.start),
            end_bytes: self.tail.as_ref().map_or(0, |t| t.end.offset),
            heard_at: self.heard_at,
            copies: self.copies,
        }
    }
}

/// What is under way against the present primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    None,
    Planned,
    Unplanned,
}

pub(crate) fn intent(group: &Group) -> Intent {
    let epoch = group.primary.as_ref().map(|p| p.epoch);
    match group.transition.as_ref().filter(|t| Some(t.epoch) != epoch && t.phase.closes_the_door()) {
        Some(t) if t.planned => Intent::Planned,
        Some(_) => Intent::Unplanned,
        None => Intent::None,
    }
}

impl World {
    pub(crate) fn reconcile_post(&mut self, n: usize) {
        let at = self.clock(n);
        let Some(group) = self.nodes[n].group() else { return };
        let (intent, last) = (intent(group), group.epoch_last());
        let primary = group.primary.as_ref();
        let mine = group.spec.fence == FencePolicy::Witness
            && primary.is_some_and(|p| p.witness == Some(node_id(n)));
        let epoch = primary.map(|p| p.epoch);
        if self.nodes[n].post.as_ref().is_some_and(|post| Some(post.epoch) != epoch) {
            self.close_post(n);
            self.nodes[n].post = None;
            self.nodes[n].own_witness = None;
        }
        let lease = epoch.and_then(|e| self.nodes[n].leases.witness(e, at));
        let keeps_on = self.has(Defect::WitnessOutlivesLease);
        let Some(post) = self.nodes[n].post.as_mut() else {
            if mine && lease.is_some() && intent == Intent::None {
                self.open_post(n, lease);
            }
            return;
        };
        if post.sealed_for.is_some_and(|e| e > last) {
            return;
        }
        if intent == Intent::Unplanned {
            self.seal_post(n, last);
        } else if !mine || (lease.is_none() && !keeps_on) {
            self.close_post(n);
        } else if post.closed && intent == Intent::None {
            self.open_post(n, lease);
        } else if let Some(until) = lease {
            post.until = post.until.max(until);
        }
    }

    fn open_post(&mut self, n: usize, lease: Option<Moment>) {
        let at = self.clock(n);
        let Some((primary, until)) = self.nodes[n].group().and_then(|g| g.primary.clone()).zip(lease) else {
            return;
        };
        self.nodes[n].post = Some(Post {
            epoch: primary.epoch,
            m: member_number(&primary.member),
            run_id: primary.lineage.run_id.clone(),
            lineage_start: (primary.lineage.start.replid.clone(), primary.lineage.start.offset_bytes),
            sealed_for: None,
            until,
            tail: None,
            conn: None,
            stage: Stage::Off,
            stage_at: at,
            asked: 0,
            attached: false,
            ended: None,
            closed: false,
            copies: 0,
            heard_at: at,
            ack_at: at,
            dial_at: at,
            pause: Duration::ZERO,
        });
        self.post_tick(n);
    }

    pub(crate) fn post_tick(&mut self, n: usize) {
        let at = self.clock(n);
        let keeps_on = self.has(Defect::WitnessOutlivesLease);
        let Some(post) = self.nodes[n].post.as_mut() else { return };
        if post.closed {
            return;
        }
        if at >= post.until && !keeps_on {
            self.close_post(n);
            return;
        }
        let (stage, conn, m) = (post.stage, post.conn, post.m);
        match stage {
            Stage::Off if at >= post.dial_at => {
                let conn = self.dial(End::Node(n), End::Server(m), Kind::Replication);
                self.post_stage(n, Stage::Dialing, Some(conn));
            }
            Stage::Dialing | Stage::Looking | Stage::Asking if at >= post.stage_at.after(CONNECT_WITHIN) => {
                self.post_off(n, None);
            }
            Stage::Streaming if at >= post.heard_at.after(SILENCE) => {
                self.post_off(n, Some(LinkEnd::Unanswered));
            }
            Stage::Streaming if at >= post.ack_at => {
                post.ack_at = at.after(ACK_EVERY);
                if let Some(conn) = conn {
                    self.send(conn, End::Node(n), Payload::Ack { offset: 0 });
                }
                self.note_witness(n);
            }
            _ => {}
        }
    }

    fn post_stage(&mut self, n: usize, stage: Stage, conn: Option<ConnId>) {
        let at = self.clock(n);
        if let Some(post) = self.nodes[n].post.as_mut() {
            (post.stage, post.conn, post.stage_at) = (stage, conn, at);
        }
    }

    /// The connection is over; another follows.
    fn post_off(&mut self, n: usize, end: Option<LinkEnd>) {
        let at = self.clock(n);
        let Some(post) = self.nodes[n].post.as_mut() else { return };
        let conn = post.conn.take();
        (post.stage, post.attached) = (Stage::Off, false);
        if end.is_some() {
            post.ended = end;
        }
        post.dial_at = at.after(post.pause);
        post.pause = (post.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        if let Some(conn) = conn {
            self.close(conn, End::Node(n), Payload::Fin);
        }
        self.note_witness(n);
    }

    /// Whatever arrives over a replication connection of a node: as witness, or as the server of a tail.
    pub(crate) fn witness_says(&mut self, n: usize, conn: ConnId, payload: Payload) {
        let at = self.clock(n);
        let Some(post) = self.nodes[n].post.as_mut().filter(|p| p.conn == Some(conn)) else {
            self.tail_asked(n, conn, payload);
            return;
        };
        // What arrived before its time was over belongs to the tail, and nothing after.
        let over = post.closed;
        match payload {
            Payload::Accepted => {
                let id = self.fresh_ask();
                self.post_stage(n, Stage::Looking, Some(conn));
                if let Some(post) = self.nodes[n].post.as_mut() {
                    post.asked = id;
                }
                self.send(conn, End::Node(n), Payload::Ask { id, epoch: None, control: Control::Probe });
            }
            Payload::Answer { answer: Answer::Status(status), .. } => self.post_looked(n, conn, &status),
            Payload::Continue { replid, from } if !over => self.post_streams(n, &replid, from, None),
            Payload::Copy { replid, at: place } if !over => {
                post.copies += 1;
                self.coverage.mark(Mark::WitnessCopy);
                self.post_streams(n, &replid, place.offset, Some(place));
            }
            Payload::Stream { from, to } => {
                let of = post.epoch;
                if let Some(tail) = post.tail.as_mut().filter(|t| !t.sealed && t.end.offset == from) {
                    tail.end = to;
                    post.heard_at = at;
                    sealed::grew(self, n, of, to.offset);
                    self.tail_grew(n);
                }
            }
            Payload::Fin => self.post_off(n, Some(LinkEnd::Eof)),
            Payload::Rst => self.post_off(n, Some(LinkEnd::Reset)),
            Payload::Refused | Payload::Declined => self.post_off(n, None),
            _ => {}
        }
    }

    fn post_looked(&mut self, n: usize, conn: ConnId, status: &MemberStatus) {
        let Some(post) = self.nodes[n].post.as_mut() else { return };
        if status.run_id != post.run_id || !status.is_primary() {
            self.post_off(n, None);
            return;
        }
        let (replid, from) = wanted(post, status);
        self.post_stage(n, Stage::Asking, Some(conn));
        self.send(conn, End::Node(n), Payload::Psync { who: Who::Witness(n), replid, from });
    }

    fn post_streams(&mut self, n: usize, replid: &str, from: u64, copy: Option<Place>) {
        let at = self.clock(n);
        let place = copy.unwrap_or_else(|| self.place_at(n, from));
        let Some(post) = self.nodes[n].post.as_mut() else { return };
        let goes_on = post.tail.as_ref().is_some_and(|t| t.end.offset == from && copy.is_none());
        match post.tail.as_mut() {
            Some(tail) if goes_on => replid.clone_into(&mut tail.replid),
            _ => post.tail = Some(Tail { replid: replid.to_owned(), start: from, end: place, sealed: false }),
        }
        (post.attached, post.ended, post.heard_at, post.ack_at) = (true, None, at, at);
        post.pause = Duration::ZERO;
        let conn = post.conn;
        self.post_stage(n, Stage::Streaming, conn);
        self.coverage.mark(Mark::WitnessAttached);
        self.note_witness(n);
        self.post_tick(n);
    }

    /// Where in the truth an offset of the primary's present stream is.
    fn place_at(&self, n: usize, offset: u64) -> Place {
        let place = self.nodes[n].post.as_ref().map(|p| self.servers[p.m].place);
        place.map_or(Place { branch: 0, offset }, |p| Place { offset, ..p })
    }

    fn note_witness(&mut self, n: usize) {
        let at = self.clock(n);
        let Some(report) = self.nodes[n].post.as_ref().map(|p| p.report(at)) else { return };
        let character = |r: &WitnessReport| (r.epoch, r.attached, r.ended, r.closed, r.copies);
        let before = self.nodes[n].own_witness.replace(report.clone());
        if before.is_none_or(|b| character(&b) != character(&report)) {
            self.has_news(n);
        }
        if let Some(seat) = self.nodes[n].seat.as_mut() {
            seat.hear(n, at);
            self.take_in_witness(n, n, report);
        }
    }

    pub(crate) fn close_post(&mut self, n: usize) {
        let at = self.clock(n);
        let Some(post) = self.nodes[n].post.as_mut().filter(|p| !p.closed) else { return };
        if at >= post.until {
            self.coverage.mark(Mark::WitnessLetGo);
        }
        (post.closed, post.attached) = (true, false);
        post.stage = Stage::Off;
        // Kept, so that what had arrived is told from what comes after.
        let conn = post.conn.take();
        if let Some(conn) = conn {
            self.close(conn, End::Node(n), Payload::Fin);
        }
        self.note_witness(n);
    }

    pub(crate) fn seal_post(&mut self, n: usize, epoch: Epoch) {
        let unsealed = self.has(Defect::UnsealedTail);
        if !unsealed {
            self.close_post(n);
        }
        let Some(post) = self.nodes[n].post.as_mut() else { return };
        post.sealed_for = post.sealed_for.max(Some(epoch));
        if let Some(tail) = post.tail.as_mut().filter(|_| !unsealed) {
            tail.sealed = true;
        }
    }

    /// Seals what this node keeps of the stream of `of`, for the transition of `epoch`.
    pub(crate) fn seal(&mut self, n: usize, epoch: Epoch, of: Epoch) -> Result<Sealed, String> {
        let Some(post) = self.nodes[n].post.as_ref().filter(|p| p.epoch == of) else {
            return self.seal_holding(n, epoch, of);
        };
        let complete = post.ended == Some(LinkEnd::Eof) || self.has(Defect::RescueCutShort);
        self.seal_post(n, epoch);
        let tail = self.nodes[n].post.as_ref().and_then(|p| p.tail.clone());
        let tail = tail.ok_or("it has nothing")?;
        Ok(Sealed { replid: tail.replid, start: tail.start, end: tail.end, complete })
    }

    /// What this node keeps of the stream of an epoch, as witness or for another site.
    pub(crate) fn kept_tail(&self, n: usize, of: Epoch) -> Option<Tail> {
        let own = self.nodes[n].post.as_ref().filter(|p| p.epoch == of).and_then(|p| p.tail.clone());
        own.or_else(|| tail::held(self, n, of))
    }
}

/// The history and the offset to go on from: the tail's end where the primary still has what follows, else what the
/// slowest standby lacks.
fn wanted(post: &Post, status: &MemberStatus) -> (String, u64) {
    if let Some(tail) =
        post.tail.as_ref().filter(|t| t.replid == status.replid && t.end.offset <= status.offset_bytes)
    {
        return (tail.replid.clone(), tail.end.offset);
    }
    let behind = match &status.role {
        MemberRole::Primary { replicas } => replicas.iter().map(|r| r.offset_bytes).filter(|o| *o > 0).min(),
        MemberRole::Replica { .. } | MemberRole::Endpoint | MemberRole::Cluster(_) => None,
    };
    let (replid, start) = &post.lineage_start;
    let promoted = (*replid == status.replid).then_some(*start);
    let first = behind.into_iter().chain(promoted).fold(status.offset_bytes, u64::min);
    (status.replid.clone(), first)
}
