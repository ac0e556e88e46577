//! Looking at every member over a warm connection: answers, ends, refusals, silence, as the node's prober tells them.

use crate::defect::Defect;
use crate::message::{Answer, Control, Payload};
use crate::net::{ConnId, End, Kind};
use crate::redis::pid;
use crate::world::World;
use primacy_core::view::{ConnectFailure, LinkEnd, MemberRole, MemberStatus, Observation, Reach};
use primacy_core::{Epoch, Moment};
use std::rc::Rc;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_millis(300);
const DIAL_WITHIN: Duration = Duration::from_secs(3);
const RATE_SECONDS: u64 = 10;
/// Two answers further apart tell an average, and no peak.
const RATE_APART_MAX: Duration = Duration::from_secs(1);
/// So much of the last seconds must have been watched for a peak to be known.
const RATE_WATCHED_MIN: Duration = Duration::from_secs(1);
/// So long a standby that claims a link to a primary whose connection ended is asked again and again.
const RECHECK_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Question {
    id: u32,
    asked_at: Moment,
    given_up: bool,
}

#[derive(Default)]
pub(crate) struct Prober {
    pub(crate) session: Option<ConnId>,
    dialing: Option<(ConnId, Moment)>,
    question: Option<Question>,
    ask_at: Moment,
    dial_at: Moment,
    up: bool,
    down_since: Moment,
    ended: Option<LinkEnd>,
    connect: Option<ConnectFailure>,
    exited: Option<u32>,
    last_up: Option<(Moment, MemberStatus)>,
    rate: RatePeak,
}

/// How fast a process was seen to grow: the same as the prober that ships.
#[derive(Default)]
struct RatePeak {
    run_id: String,
    last: Option<(Moment, u64)>,
    /// The last seconds: which, the fastest growth in it, and how much of it was watched.
    seconds: Vec<(u64, u64, Duration)>,
}

impl RatePeak {
    fn record(&mut self, at: Moment, run_id: &str, offset: u64) {
        if self.run_id != run_id {
            *self = RatePeak { run_id: run_id.to_owned(), ..RatePeak::default() };
        }
        let Some((before, from)) = self.last else {
            self.last = Some((at, offset));
            return;
        };
        let apart = at.since(before);
        if apart < Duration::from_millis(20) {
            return;
        }
        self.last = Some((at, offset));
        let rate = offset.saturating_sub(from) * 1_000_000 / apart.as_micros() as u64;
        let watched = if apart <= RATE_APART_MAX { apart } else { Duration::ZERO };
        let second = at.0 / 1_000_000;
        self.seconds.retain(|(number, ..)| number + RATE_SECONDS > second);
        match self.seconds.iter_mut().find(|(number, ..)| *number == second) {
            Some((_, peak, so_far)) => (*peak, *so_far) = ((*peak).max(rate), *so_far + watched),
            None => self.seconds.push((second, rate, watched)),
        }
    }

    fn peak(&self, at: Moment) -> Option<u64> {
        let recent = || self.seconds.iter().filter(|(number, ..)| number + RATE_SECONDS > at.0 / 1_000_000);
        let watched: Duration = recent().map(|(_, _, watched)| *watched).sum();
        (watched >= RATE_WATCHED_MIN).then(|| recent().map(|(_, rate, _)| *rate).max().unwrap_or(0))
    }
}

impl Prober {
    fn observation(&self, at: Moment) -> Observation {
        let (reach, last_up) = match (&self.last_up, self.up) {
            (Some((_, status)), true) => (Reach::Up(status.clone()), None),
            (last_up, _) => {
                let reach = Reach::Down {
                    since: self.down_since,
                    ended: self.ended,
                    connect: self.connect,
                    exited_pid: self.exited,
                    detail: String::new(),
                };
                (reach, last_up.clone())
            }
        };
        // While it is silent its last seconds are those before its last answer.
        let answered = self.last_up.as_ref().map_or(at, |(at, _)| *at);
        Observation { at, reach, last_up, rate_peak_bytes: self.rate.peak(answered) }
    }

    fn go_down(&mut self, since: Moment) {
        if self.up {
            self.up = false;
            self.down_since = since;
        }
    }

    fn claims_link(&self) -> bool {
        let last = self.last_up.as_ref().filter(|_| self.up);
        last.is_some_and(|(_, s)| matches!(s.role, MemberRole::Replica { link_up: true, .. }))
    }
}

impl World {
    pub(crate) fn probe_tick(&mut self, n: usize) {
        let at = self.clock(n);
        for m in 0..self.servers.len() {
            let p = &self.nodes[n].probers[m];
            let silent = p.question.is_some_and(|q| !q.given_up && at >= q.asked_at.after(SILENCE));
            if silent {
                self.fall_silent(n, m, at);
            }
            let p = &self.nodes[n].probers[m];
            let dial_over =
                p.dialing.filter(|(_, since)| at >= since.after(DIAL_WITHIN)).map(|(conn, _)| conn);
            if let Some(conn) = dial_over {
                self.close(conn, End::Node(n), Payload::Rst);
                self.dial_failed(n, m, ConnectFailure::Unreachable);
            }
            let p = &self.nodes[n].probers[m];
            if p.dialing.is_none()
                && at >= p.dial_at
                && (p.session.is_none() || p.question.is_some_and(|q| q.given_up))
            {
                self.dial_member(n, m);
            }
            if at >= self.nodes[n].probers[m].ask_at {
                self.nodes[n].probers[m].ask_at = at.after(EVERY);
                self.ask_status(n, m);
                if !self.nodes[n].probers[m].up {
                    self.tell_sighting(n, m);
                }
            }
        }
        self.recheck(n, at);
    }

    /// Standbys that have not noticed yet that their primary's connections end.
    fn recheck(&mut self, n: usize, at: Moment) {
        let ended = |p: &Prober| {
            !p.up
                && matches!(p.ended, Some(LinkEnd::Eof | LinkEnd::Reset))
                && at < p.down_since.after(RECHECK_FOR)
        };
        if self.nodes[n].probers.iter().any(ended) {
            for m in 0..self.servers.len() {
                if self.nodes[n].probers[m].claims_link() {
                    self.ask_status(n, m);
                }
            }
        }
    }

    pub(crate) fn ask_all(&mut self, n: usize) {
        for m in 0..self.servers.len() {
            self.ask_status(n, m);
        }
    }

    fn ask_status(&mut self, n: usize, m: usize) {
        let at = self.clock(n);
        let (Some(conn), None) = (self.nodes[n].probers[m].session, self.nodes[n].probers[m].question) else {
            return;
        };
        let id = self.fresh_ask();
        self.nodes[n].probers[m].question = Some(Question { id, asked_at: at, given_up: false });
        self.send(conn, End::Node(n), Payload::Ask { id, epoch: None, control: Control::Probe });
    }

    fn dial_member(&mut self, n: usize, m: usize) {
        let at = self.clock(n);
        let conn = self.dial(End::Node(n), End::Server(m), Kind::Control);
        self.nodes[n].probers[m].dialing = Some((conn, at));
    }

    fn dial_failed(&mut self, n: usize, m: usize, failure: ConnectFailure) {
        let at = self.clock(n);
        let p = &mut self.nodes[n].probers[m];
        p.dialing = None;
        p.dial_at = at.after(EVERY);
        let news = p.connect != Some(failure);
        p.connect = Some(failure);
        if news && !p.up {
            self.tell_sighting(n, m);
        }
    }

    fn fall_silent(&mut self, n: usize, m: usize, at: Moment) {
        let p = &mut self.nodes[n].probers[m];
        let Some(question) = p.question.as_mut() else { return };
        question.given_up = true;
        let asked_at = question.asked_at;
        p.ended = Some(LinkEnd::Unanswered);
        p.connect = None;
        p.go_down(asked_at);
        p.dial_at = at;
        self.tell_sighting(n, m);
    }

    /// Whatever arrives over a control connection.
    pub(crate) fn control_says(&mut self, n: usize, conn: ConnId, payload: Payload) {
        let End::Server(m) = self.net.conns[conn as usize].ends[1] else { return };
        match payload {
            Payload::Accepted => self.dialed(n, m, conn),
            Payload::Refused if self.nodes[n].probers[m].dialing.is_some_and(|(c, _)| c == conn) => {
                self.dial_failed(n, m, ConnectFailure::Refused);
            }
            Payload::Fin | Payload::Rst => self.session_ended(n, m, conn, matches!(payload, Payload::Fin)),
            Payload::Answer { id, answer } => {
                if self.nodes[n].probers[m].question.is_some_and(|q| q.id == id) {
                    self.status_answered(n, m, answer);
                } else {
                    self.answered(n, m, id, answer);
                }
            }
            _ => {}
        }
        self.lead(n);
    }

    fn dialed(&mut self, n: usize, m: usize, conn: ConnId) {
        let p = &mut self.nodes[n].probers[m];
        if p.dialing.is_none_or(|(c, _)| c != conn) {
            self.close(conn, End::Node(n), Payload::Fin);
            return;
        }
        p.dialing = None;
        p.question = None;
        p.rate.last = None;
        let before = p.session.replace(conn);
        if let Some(old) = before {
            self.close(old, End::Node(n), Payload::Fin);
            self.conn_gone(n, m, old);
        }
        self.ask_status(n, m);
        self.session_opened(n, m);
    }

    fn session_ended(&mut self, n: usize, m: usize, conn: ConnId, eof: bool) {
        let at = self.clock(n);
        self.conn_gone(n, m, conn);
        let takes_reset = self.has(Defect::ResetIsDeath);
        let p = &mut self.nodes[n].probers[m];
        if p.dialing.is_some_and(|(c, _)| c == conn) {
            self.dial_failed(n, m, ConnectFailure::Unreachable);
            return;
        }
        if p.session != Some(conn) {
            return;
        }
        p.session = None;
        p.question = None;
        p.ended = Some(if eof || takes_reset { LinkEnd::Eof } else { LinkEnd::Reset });
        p.connect = if takes_reset { Some(ConnectFailure::Refused) } else { None };
        p.go_down(at);
        p.dial_at = at;
        self.tell_sighting(n, m);
        if self.nodes[n].probers[m].dialing.is_none() {
            self.dial_member(n, m);
        }
        self.ask_all(n);
    }

    /// Gives a session up on which an action got no answer.
    pub(crate) fn abandon(&mut self, n: usize, m: usize, conn: ConnId) {
        let at = self.clock(n);
        self.close(conn, End::Node(n), Payload::Fin);
        let p = &mut self.nodes[n].probers[m];
        if p.session == Some(conn) {
            p.session = None;
            p.question = None;
            p.ended = Some(LinkEnd::Unanswered);
            p.connect = None;
            p.go_down(at);
            p.dial_at = at;
            self.tell_sighting(n, m);
        }
    }

    fn status_answered(&mut self, n: usize, m: usize, answer: Answer) {
        let Answer::Status(status) = answer else { return };
        let p = &mut self.nodes[n].probers[m];
        let Some(question) = p.question.take() else { return };
        // It says how the server was when it answered, and the network may have kept the answer since.
        let at = question.asked_at;
        p.rate.record(at, &status.run_id, status.reach_bytes());
        (p.ended, p.connect, p.exited) = (None, None, None);
        p.up = true;
        p.last_up = Some((at, *status));
        if let Some((conn, _)) = p.dialing.take() {
            self.close(conn, End::Node(n), Payload::Fin);
        }
        self.tell_sighting_of(n, m, at);
    }

    /// The process on this node's host has exited, and the kernel has told this node.
    pub(crate) fn exit_seen(&mut self, n: usize, m: usize) {
        let at = self.clock(n);
        let exited = pid(&self.servers[m]);
        let p = &mut self.nodes[n].probers[m];
        p.exited = Some(exited);
        p.question = None;
        p.go_down(at);
        p.dial_at = at;
        self.tell_sighting(n, m);
    }

    fn tell_sighting(&mut self, n: usize, m: usize) {
        self.tell_sighting_of(n, m, self.clock(n));
    }

    /// Says how the member was at a moment.
    fn tell_sighting_of(&mut self, n: usize, m: usize, at: Moment) {
        let (now, observation) = (self.clock(n), self.nodes[n].probers[m].observation(at));
        if let Some(seat) = self.nodes[n].seat.as_mut() {
            seat.hear(n, now);
            self.take_in(n, n, m, observation.clone());
        }
        let before = self.nodes[n].own.get(&m);
        self.nodes[n].news |= before.is_none_or(|b| observation.reach.is_news_after(&b.reach));
        self.nodes[n].own.insert(m, Rc::new(observation));
    }

    /// Asks a member over the warm session. None without one.
    pub(crate) fn ask_member(
        &mut self,
        n: usize,
        m: usize,
        epoch: Option<Epoch>,
        control: Control,
    ) -> Option<(u32, ConnId)> {
        let conn = self.nodes[n].probers[m].session?;
        let id = self.fresh_ask();
        self.send(conn, End::Node(n), Payload::Ask { id, epoch, control });
        Some((id, conn))
    }
}
