//! The loop of a prober: one closed set of events, one state.

use super::Sighting;
use super::ask::{self, Known};
use super::exit::{self, Claim};
use super::rate::RatePeak;
use crate::Link;
use crate::boot::{self, BootWatch};
use crate::link::{AskError, DialError, Quiet, Session};
use futures::future::{BoxFuture, OptionFuture};
use primacy_core::view::{ConnectFailure, LinkEnd, MemberStatus, Reach};
use primacy_core::{GroupName, MemberName, Moment};
use primacy_runtime::{Sleep, Task, now, sleep_until};
use redis::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// A connection attempt that got no answer for so long is given up.
const DIAL_WITHIN: Duration = Duration::from_secs(3);
const SILENCE_MIN: Duration = Duration::from_millis(300);
const FULL_EVERY: Duration = Duration::from_secs(1);
/// A quiet connection that ended by itself is not opened again sooner.
const QUIET_AGAIN: Duration = Duration::from_secs(1);

enum Event {
    Ended(LinkEnd),
    QuietEnded(LinkEnd),
    ProcessWatched(bool),
    Dialed(Result<Arc<Session>, DialError>),
    Installed,
    Answered(Result<Vec<Value>, AskError>),
    Delivered,
    Nudged,
    Woken,
    SinkClosed,
}

/// A question under way.
struct Question {
    asked_at: Moment,
    /// It counts as silence by now; an answer is welcome all the same.
    given_up: bool,
    answer: BoxFuture<'static, Result<Vec<Value>, AskError>>,
}

/// Why it does not answer, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Down {
    ended: Option<LinkEnd>,
    connect: Option<ConnectFailure>,
    exited_pid: Option<u32>,
    detail: String,
}

/// What is waited for all the time. Each is kept until it comes: a new one for each turn of the loop would be most of
/// the cost of a probe.
struct Waits {
    ended: Option<BoxFuture<'static, LinkEnd>>,
    quiet_ended: Option<BoxFuture<'static, LinkEnd>>,
    installed: BoxFuture<'static, ()>,
    nudged: BoxFuture<'static, ()>,
    woken: Option<(Moment, Sleep)>,
}

fn installed(link: Arc<Link>) -> BoxFuture<'static, ()> {
    Box::pin(async move { link.wait_installed().await })
}

fn nudged(nudge: Arc<Notify>) -> BoxFuture<'static, ()> {
    Box::pin(async move { nudge.notified().await })
}

pub(super) struct Watcher {
    link: Arc<Link>,
    group: GroupName,
    member: MemberName,
    every: Duration,
    sink: mpsc::Sender<Sighting>,
    nudge: Arc<Notify>,
    waits: Waits,

    session: Option<Arc<Session>>,
    quiet: Option<Quiet>,
    quiet_since: Moment,
    /// The process that is watched on this host, until it is known whether that is possible.
    process: Option<(u32, Option<Task<bool>>)>,
    /// The process whose configuration is looked at, by its run id.
    boot: Option<(String, BootWatch)>,
    question: Option<Question>,
    known: Option<Known>,
    full_at: Moment,
    dialing: Option<BoxFuture<'static, Result<Arc<Session>, DialError>>>,
    dial_at: Option<Moment>,
    pause: Duration,
    tick_at: Moment,
    /// Asked to probe while a question was under way.
    again: bool,

    down: Down,
    up: bool,
    /// Since when it is down, while it is.
    down_since: Moment,
    last_up: Option<(Moment, MemberStatus)>,
    rate: RatePeak,
    owed: Option<Sighting>,
}

impl Watcher {
    pub(super) fn new(
        link: Arc<Link>,
        group: GroupName,
        member: MemberName,
        every: Duration,
        sink: mpsc::Sender<Sighting>,
        nudge: Arc<Notify>,
    ) -> Self {
        let at = now();
        let (installed, nudged) = (installed(link.clone()), nudged(nudge.clone()));
        Watcher {
            waits: Waits { ended: None, quiet_ended: None, installed, nudged, woken: None },
            link,
            group,
            member,
            every,
            sink,
            nudge,
            session: None,
            quiet: None,
            quiet_since: Moment::default(),
            process: None,
            boot: None,
            question: None,
            known: None,
            full_at: at,
            dialing: None,
            dial_at: Some(at),
            pause: Duration::ZERO,
            tick_at: at.after(every),
            again: false,
            down: Down { detail: "not probed yet".to_owned(), ..Down::default() },
            up: false,
            down_since: at,
            last_up: None,
            rate: RatePeak::default(),
            owed: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.next().await {
                Event::Ended(end) => self.on_ended(end),
                Event::QuietEnded(end) => self.on_quiet_ended(end),
                Event::ProcessWatched(exited) => self.on_process_watched(exited),
                Event::Dialed(outcome) => self.on_dialed(outcome),
                Event::Installed => self.on_installed(),
                Event::Answered(answer) => self.on_answered(answer),
                Event::Delivered => {}
                Event::Nudged => self.on_nudged(),
                Event::Woken => self.on_woken(),
                Event::SinkClosed => return,
            }
        }
    }

    async fn next(&mut self) -> Event {
        let wake_at = self.wake_at();
        let Self { waits, process, question, dialing, sink, owed, .. } = self;
        let woken = match waits.woken.take() {
            Some((at, sleep)) if at == wake_at => sleep,
            _ => sleep_until(wake_at),
        };
        let (_, woken) = waits.woken.insert((wake_at, woken));
        let ended: OptionFuture<_> = waits.ended.as_mut().into();
        let quiet_ended: OptionFuture<_> = waits.quiet_ended.as_mut().into();
        let watched: OptionFuture<_> = process.as_mut().and_then(|(_, task)| task.as_mut()).into();
        let dialed: OptionFuture<_> = dialing.as_mut().into();
        let answered: OptionFuture<_> = question.as_mut().map(|q| &mut q.answer).into();
        let room: OptionFuture<_> = owed.as_ref().map(|_| sink.reserve()).into();
        tokio::select! {
            biased;
            Some(end) = ended => Event::Ended(end),
            Some(exited) = watched => Event::ProcessWatched(exited.unwrap_or(false)),
            Some(end) = quiet_ended => Event::QuietEnded(end),
            Some(outcome) = dialed => Event::Dialed(outcome),
            Some(answer) = answered => Event::Answered(answer),
            Some(permit) = room => match (permit, owed.take()) {
                (Ok(permit), Some(sighting)) => {
                    permit.send(sighting);
                    Event::Delivered
                }
                (Ok(_), None) => Event::Delivered,
                (Err(_), _) => Event::SinkClosed,
            },
            () = &mut waits.installed => Event::Installed,
            () = &mut waits.nudged => Event::Nudged,
            () = woken => Event::Woken,
        }
    }

    fn wake_at(&self) -> Moment {
        let silence_at = self.silence_at();
        let mut wake_at = self.tick_at;
        for at in [silence_at, self.dial_at].into_iter().flatten() {
            wake_at = wake_at.min(at);
        }
        wake_at
    }

    /// When the question under way becomes silence.
    fn silence_at(&self) -> Option<Moment> {
        let waiting = self.question.as_ref().filter(|q| !q.given_up);
        waiting.map(|q| q.asked_at.after(self.silence()))
    }

    /// How long an unanswered question is no silence yet.
    fn silence(&self) -> Duration {
        (self.every * 3).max(SILENCE_MIN)
    }

    fn on_woken(&mut self) {
        self.waits.woken = None;
        let at = now();
        if self.silence_at().is_some_and(|due| at >= due) {
            self.give_up_waiting(at);
        }
        if self.dial_at.is_some_and(|due| at >= due) {
            self.dial();
        }
        if at >= self.tick_at {
            self.tick_at = at.after(self.every);
            self.ask(at);
            if !self.up {
                self.tell(at);
            }
        }
    }

    /// The connection stays: its end is still news, and so is a late answer. Another one is tried beside it.
    fn give_up_waiting(&mut self, at: Moment) {
        let Some(question) = &mut self.question else { return };
        question.given_up = true;
        let asked_at = question.asked_at;
        self.down.ended = Some(LinkEnd::Unanswered);
        self.consult_quiet();
        self.down.connect = None;
        self.down.detail = format!("no answer for {} ms", self.silence().as_millis());
        self.go_down(asked_at);
        self.tell(at);
        self.dial_soon(at);
    }

    fn on_ended(&mut self, end: LinkEnd) {
        let at = now();
        self.waits.ended = None;
        self.session = None;
        self.question = None;
        self.down.ended = Some(end);
        self.consult_quiet();
        self.down.connect = None;
        self.down.detail = match self.down.ended {
            Some(LinkEnd::Eof) => "it closed the connection".to_owned(),
            Some(LinkEnd::Reset) | None => "the connection was reset".to_owned(),
            Some(LinkEnd::Unanswered) => "the connection was given up".to_owned(),
        };
        self.go_down(at);
        self.tell(at);
        self.dial_soon(at);
        self.dial();
    }

    fn on_quiet_ended(&mut self, end: LinkEnd) {
        self.waits.quiet_ended = None;
        let waiting = matches!(self.down.ended, Some(LinkEnd::Reset | LinkEnd::Unanswered));
        if end == LinkEnd::Eof && !self.up && waiting {
            let at = now();
            self.consult_quiet();
            self.tell(at);
            self.dial_soon(at);
            self.dial();
        }
    }

    /// A reset, or silence, is an EOF when the connection without unread requests ended by one.
    fn consult_quiet(&mut self) {
        if self.quiet.as_ref().and_then(Quiet::ended) == Some(LinkEnd::Eof) {
            self.down.ended = Some(LinkEnd::Eof);
        }
    }

    fn on_process_watched(&mut self, exited: bool) {
        let Some((pid, task)) = &mut self.process else { return };
        *task = None;
        if !exited {
            return;
        }
        let at = now();
        self.down.exited_pid = Some(*pid);
        self.down.detail = format!("its process {pid} has exited");
        self.question = None;
        self.go_down(at);
        self.tell(at);
        self.dial_soon(at);
        self.dial();
    }

    fn dial_soon(&mut self, at: Moment) {
        self.dial_at = Some(at);
        self.pause = Duration::ZERO;
    }

    fn dial(&mut self) {
        self.dial_at = None;
        if self.dialing.is_none() {
            let link = self.link.clone();
            self.dialing = Some(Box::pin(async move { link.reopen(DIAL_WITHIN).await }));
        }
    }

    fn on_dialed(&mut self, outcome: Result<Arc<Session>, DialError>) {
        self.dialing = None;
        let at = now();
        match outcome {
            Ok(session) => self.adopt(session, at),
            Err(error) => {
                // The first pauses are short: a server that restarts is back soon.
                let longest = self.every;
                self.pause = (self.pause * 2).clamp(longest / 8, longest);
                self.dial_at = Some(at.after(self.pause));
                let connect = Some(error.failure());
                let changed = self.down.connect != connect;
                self.down.connect = connect;
                self.down.detail = error.to_string();
                if changed && !self.up {
                    self.tell(at);
                }
            }
        }
    }

    fn on_installed(&mut self) {
        self.waits.installed = installed(self.link.clone());
        if let Some(session) = self.link.live() {
            self.adopt(session, now());
        }
    }

    fn adopt(&mut self, session: Arc<Session>, at: Moment) {
        if self.session.as_ref().is_some_and(|held| Arc::ptr_eq(held, &session)) {
            return;
        }
        self.waits.ended = Some(session.wait_end());
        self.session = Some(session);
        self.dial_at = None;
        self.dialing = None;
        self.known = None;
        self.question = None;
        self.rate.forget_offset();
        self.ask(at);
    }

    fn on_nudged(&mut self) {
        self.waits.nudged = nudged(self.nudge.clone());
        match self.question {
            Some(_) => self.again = true,
            None => self.ask(now()),
        }
    }

    fn ask(&mut self, at: Moment) {
        let (Some(session), None) = (&self.session, &self.question) else { return };
        let full = self.known.is_none() || at >= self.full_at;
        if full {
            self.full_at = at.after(FULL_EVERY);
        }
        let session = session.clone();
        let answer = Box::pin(async move { session.ask(ask::questions(full)).await });
        self.again = false;
        self.question = Some(Question { asked_at: at, given_up: false, answer });
    }

    fn on_answered(&mut self, answer: Result<Vec<Value>, AskError>) {
        let Some(question) = self.question.take() else { return };
        let at = now();
        // The end of the connection comes as an event of its own.
        let Ok(replies) = answer else { return };
        match ask::status(&replies, &mut self.known, at.since(question.asked_at)) {
            // It says how the server was when it answered, and the network may have kept the answer since.
            Ok(status) => {
                let status = self.with_boot(status);
                self.on_status(status, question.asked_at);
            }
            Err(unusable) => {
                self.down = Down { connect: unusable.failure, detail: unusable.detail, ..Down::default() };
                self.go_down(question.asked_at);
                self.tell(at);
            }
        }
        if self.again {
            self.ask(at);
        }
    }

    fn on_status(&mut self, status: MemberStatus, at: Moment) {
        self.rate.record(at, &status.run_id, status.reach_bytes());
        self.down = Down::default();
        self.dialing = None;
        self.dial_at = None;
        self.up = true;
        self.watch_process(&status);
        self.watch_end(now());
        self.last_up = Some((at, status));
        self.tell(at);
    }

    /// Completed by what its configuration says; each process may have been started with another one.
    fn with_boot(&mut self, status: MemberStatus) -> MemberStatus {
        let Some(known) = &self.known else { return status };
        if self.boot.as_ref().is_none_or(|(run_id, _)| *run_id != status.run_id) {
            let watch = BootWatch::start(known.server.clone(), self.link.address().clone());
            self.boot = Some((status.run_id.clone(), watch));
        }
        let verdict = self.boot.as_ref().map(|(_, watch)| watch.verdict());
        MemberStatus { boot: verdict.unwrap_or_else(boot::unread), ..status }
    }

    /// Once for each process.
    fn watch_process(&mut self, status: &MemberStatus) {
        let Some(known) = &self.known else { return };
        if self.process.as_ref().is_none_or(|(pid, _)| *pid != status.pid) {
            let claim = Claim {
                address: self.link.address().clone(),
                pid: status.pid,
                uptime_s: status.uptime_s,
                executable: known.server.executable.clone(),
            };
            self.process = Some((status.pid, Some(exit::watch(claim))));
        }
    }

    fn watch_end(&mut self, at: Moment) {
        let open = self.quiet.as_ref().is_some_and(|q| q.ended().is_none());
        if !open && (self.quiet.is_none() || at >= self.quiet_since.after(QUIET_AGAIN)) {
            let quiet = self.link.open_quiet(DIAL_WITHIN);
            self.waits.quiet_ended = Some(quiet.wait_end());
            self.quiet = Some(quiet);
            self.quiet_since = at;
        }
    }

    fn go_down(&mut self, since: Moment) {
        if self.up {
            self.up = false;
            self.down_since = since;
        }
    }

    /// Hands out what is known now; a sighting that was not taken yet is replaced.
    fn tell(&mut self, at: Moment) {
        let (reach, last_up) = match (&self.last_up, self.up) {
            (Some((_, status)), true) => (Reach::Up(status.clone()), None),
            (last_up, _) => {
                let Down { ended, connect, exited_pid, detail } = self.down.clone();
                let since = self.down_since;
                (Reach::Down { since, ended, connect, exited_pid, detail }, last_up.clone())
            }
        };
        // While it is silent its last seconds are those before its last answer.
        let answered = self.last_up.as_ref().map_or(at, |(at, _)| *at);
        let sighting = Sighting {
            group: self.group.clone(),
            member: self.member.clone(),
            at,
            reach,
            last_up,
            rate_peak_bytes: self.rate.peak(answered),
        };
        self.owed = None;
        if let Err(mpsc::error::TrySendError::Full(sighting) | mpsc::error::TrySendError::Closed(sighting)) =
            self.sink.try_send(sighting)
        {
            self.owed = Some(sighting);
        }
    }
}
