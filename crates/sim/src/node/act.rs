//! Actions under way: each once at a time, with authority before each write, with a deadline, gone with the leadership.

use crate::coverage::Mark;
use crate::defect::Defect;
use crate::message::{Answer, Control, Message, Sealed};
use crate::net::ConnId;
use crate::setup::{member, member_number, node_number};
use crate::world::World;
use primacy_core::plan::conclude;
use primacy_core::{Action, ActionKind, Lineage, Moment, Outcome, Position, Promoted, Promotion, WallTime};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(1);
/// How long a pause of writes outlives the time given for a fence.
const PAUSE_BEYOND: Duration = Duration::from_millis(500);

/// Where an action is.
#[derive(Clone, Debug)]
enum Step {
    /// Waits for a session, then says this.
    Say(Control),
    Asked {
        id: u32,
        conn: ConnId,
        control: Control,
    },
    Drain {
        id: Option<u32>,
        again_at: Moment,
    },
    /// Another node does it.
    Elsewhere {
        id: u32,
        left: Vec<usize>,
    },
}

/// An action under way.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    action: Action,
    started: WallTime,
    deadline: Moment,
    /// Who is asked.
    m: usize,
    step: Step,
    fenced: Option<(Fenced, Moment)>,
}

impl World {
    pub(crate) fn begin_action(&mut self, n: usize, action: Action) {
        let at = self.clock(n);
        self.coverage.action(action.kind.word());
        self.action_begins(n, &action);
        let lane = self.lane_of_node(n);
        self.say(Some(lane), || {
            format!("n{} {} {} (epoch {})", n + 1, action.kind.word(), action.member, action.epoch)
        });
        let m = member_number(&action.member);
        let within = match &action.kind {
            ActionKind::Fence { within, .. } | ActionKind::Rescue { within, .. } => *within,
            _ => WITHIN,
        };
        let deadline = at.after(within);
        let step = self.first_words(&action.kind, within).map(Step::Say);
        let mut run = Run {
            action,
            started: self.wall(),
            deadline,
            m,
            step: Step::Drain { id: None, again_at: at },
            fenced: None,
        };
        match step {
            Some(step) => run.step = step,
            None => run.step = self.ask_elsewhere(n, &run),
        }
        self.put_run(n, run);
        self.push_runs(n);
    }

    fn first_words(&self, kind: &ActionKind, within: Duration) -> Option<Control> {
        let numbers =
            |names: &[primacy_core::MemberName]| names.iter().map(member_number).collect::<Vec<_>>();
        Some(match kind {
            ActionKind::Fence { .. } => {
                Control::Fence { pause_us: (within + PAUSE_BEYOND).as_micros() as u64 }
            }
            ActionKind::Lift { min_replicas } => Control::Lift { min_replicas: *min_replicas },
            ActionKind::Detach => Control::Detach,
            ActionKind::SetFence { min_replicas, admit, refuse } => Control::SetFence {
                min_replicas: *min_replicas,
                admit: numbers(admit),
                refuse: numbers(refuse),
            },
            ActionKind::Promote(_) => Control::Look,
            ActionKind::Open { min_replicas } => {
                Control::Open { min_replicas: crate::defect::bend_min(self.defect, *min_replicas) }
            }
            ActionKind::Follow { primary, evict } => {
                Control::Follow { primary: number_of(&primary.host), evict: *evict }
            }
            ActionKind::Kill { .. } | ActionKind::Rescue { .. } => return None,
        })
    }

    fn put_run(&mut self, n: usize, run: Run) {
        if let Some(seat) = self.nodes[n].seat.as_mut() {
            seat.runs.push(run);
        }
    }

    /// Says what waits to be said, where there is a session.
    fn push_runs(&mut self, n: usize) {
        let mut i = 0;
        while let Some(run) = self.nodes[n].seat.as_ref().and_then(|s| s.runs.get(i)).cloned() {
            if let Step::Say(control) = &run.step {
                match self.say_it(n, &run, control) {
                    Ok(Some(step)) => self.set_step(n, i, step),
                    Ok(None) => {}
                    Err(why) => {
                        self.end_run(n, i, Err((why.to_owned(), false)));
                        continue;
                    }
                }
            }
            i += 1;
        }
    }

    fn say_it(&mut self, n: usize, run: &Run, control: &Control) -> Result<Option<Step>, &'static str> {
        if self.nodes[n].probers[run.m].session.is_none() {
            return Ok(None);
        }
        self.authorised(n, &run.action)?;
        if self.has(Defect::LostFence) && matches!(control, Control::Fence { .. }) {
            let control = Control::Reach;
            let asked = self.ask_member(n, run.m, Some(run.action.epoch), control.clone());
            return Ok(asked.map(|(id, conn)| Step::Asked {
                id,
                conn,
                control: Control::Fence { pause_us: 0 },
            }));
        }
        let asked = self.ask_member(n, run.m, Some(run.action.epoch), control.clone());
        Ok(asked.map(|(id, conn)| Step::Asked { id, conn, control: control.clone() }))
    }

    fn set_step(&mut self, n: usize, i: usize, step: Step) {
        if let Some(run) = self.nodes[n].seat.as_mut().and_then(|s| s.runs.get_mut(i)) {
            run.step = step;
        }
    }

    pub(crate) fn session_opened(&mut self, n: usize, m: usize) {
        let _ = m;
        self.push_runs(n);
    }

    /// What shuts is said again over another connection; what opens is not.
    pub(crate) fn conn_gone(&mut self, n: usize, m: usize, gone: ConnId) {
        let mut i = 0;
        while let Some(run) = self.nodes[n].seat.as_ref().and_then(|s| s.runs.get(i)).cloned() {
            match &run.step {
                Step::Asked { conn, control, .. } if run.m == m && *conn == gone => match control {
                    Control::Fence { .. } | Control::Follow { .. } | Control::Detach => {
                        self.set_step(n, i, Step::Say(control.clone()));
                    }
                    _ => {
                        self.end_run(n, i, Err(("the connection ended".to_owned(), false)));
                        continue;
                    }
                },
                Step::Drain { .. } => {
                    let again_at = self.clock(n);
                    self.set_step(n, i, Step::Drain { id: None, again_at });
                }
                _ => {}
            }
            i += 1;
        }
        self.job_conn_gone(n, m);
    }

    /// A member has answered something that is no probe.
    pub(crate) fn answered(&mut self, n: usize, m: usize, id: u32, answer: Answer) {
        let runs = self.nodes[n].seat.as_ref().map_or(&[][..], |s| &s.runs);
        let mine = runs.iter().position(|r| match &r.step {
            Step::Asked { id: asked, .. } | Step::Drain { id: Some(asked), .. } => *asked == id,
            _ => false,
        });
        match mine {
            Some(i) => self.run_answered(n, i, answer),
            None => self.other_answer(n, m, id, answer),
        }
    }

    fn run_answered(&mut self, n: usize, i: usize, answer: Answer) {
        let Some(run) = self.nodes[n].seat.as_ref().and_then(|s| s.runs.get(i)).cloned() else { return };
        let at = self.clock(n);
        if let Answer::Refused(why, permanent) = answer {
            self.end_run(n, i, Err((why, permanent)));
            return;
        }
        match (&run.action.kind, &run.step, answer) {
            (ActionKind::Fence { drain, .. }, Step::Asked { .. }, answer) => {
                let Some(fenced) = fenced(answer) else { return };
                match drain {
                    Some(_) => {
                        if let Some(r) = self.nodes[n].seat.as_mut().and_then(|s| s.runs.get_mut(i)) {
                            r.fenced = Some((fenced, at));
                            r.step = Step::Drain { id: None, again_at: at };
                        }
                        self.drain(n, i);
                    }
                    None => self.end_run(n, i, Ok(fenced.outcome(None))),
                }
            }
            (
                ActionKind::Fence { .. },
                Step::Drain { .. },
                Answer::Reach { replid, applied, syncing, .. },
            ) => {
                let Some((fenced, since)) = run.fenced.clone() else { return };
                let end = &fenced.end;
                let same = replid == end.replid && !syncing || self.has(Defect::OffsetsAcrossLineages);
                if same && applied >= end.offset_bytes || self.has(Defect::NoDrain) {
                    let drained_us = Some(at.since(since).as_micros() as u64);
                    self.end_run(n, i, Ok(fenced.outcome(drained_us)));
                } else {
                    self.set_step(
                        n,
                        i,
                        Step::Drain { id: None, again_at: at.after(Duration::from_millis(1)) },
                    );
                }
            }
            (
                ActionKind::Promote(promotion),
                Step::Asked { control: Control::Look, .. },
                Answer::Reach { run_id, .. },
            ) => match self.after_look(promotion, &run_id) {
                Some(control) => {
                    self.set_step(n, i, Step::Say(control));
                    self.push_runs(n);
                }
                None => self.end_run(n, i, Err(("it was restarted".to_owned(), true))),
            },
            (_, Step::Asked { .. }, answer) => {
                let outcome = World::outcome(&run.action, answer);
                self.end_run(n, i, outcome);
            }
            _ => {}
        }
    }

    /// What is said to a candidate that was looked at; none where it is another process than the one that was chosen.
    pub(crate) fn after_look(&self, promotion: &Promotion, run_id: &str) -> Option<Control> {
        let checked = !self.has(Defect::HistoryNotChecked);
        if checked && promotion.run_id.as_ref().is_some_and(|chosen| chosen != run_id) {
            return None;
        }
        let numbers = |names: &[primacy_core::MemberName]| names.iter().map(member_number).collect();
        let expected = promotion.expected.clone().filter(|_| checked);
        Some(Control::Promote {
            expected,
            admit: numbers(&promotion.admit),
            refuse: numbers(&promotion.refuse),
        })
    }

    fn outcome(action: &Action, answer: Answer) -> Result<Outcome, (String, bool)> {
        Ok(match (&action.kind, answer) {
            (ActionKind::Promote(_), answer @ Answer::Promoted { .. }) => {
                let promoted = promoted(answer).map(Outcome::Promoted);
                return promoted.ok_or_else(|| ("an answer to another question".to_owned(), false));
            }
            (ActionKind::Lift { .. }, _) => Outcome::Lifted,
            (ActionKind::Detach, _) => Outcome::Detached,
            (ActionKind::SetFence { min_replicas, refuse, .. }, _) => {
                Outcome::FenceSet { min_replicas: *min_replicas, refused: refuse.clone() }
            }
            (ActionKind::Open { .. }, _) => Outcome::Opened,
            (ActionKind::Follow { .. }, _) => Outcome::Following,
            _ => return Err(("an answer to another question".to_owned(), false)),
        })
    }

    fn drain(&mut self, n: usize, i: usize) {
        let Some(run) = self.nodes[n].seat.as_ref().and_then(|s| s.runs.get(i)).cloned() else { return };
        let (ActionKind::Fence { drain: Some((to, _)), .. }, Step::Drain { id: None, again_at }) =
            (&run.action.kind, &run.step)
        else {
            return;
        };
        if self.clock(n) >= *again_at {
            let asked = self.ask_member(n, member_number(to), None, Control::Reach);
            self.set_step(n, i, Step::Drain { id: asked.map(|(id, _)| id), again_at: *again_at });
        }
    }

    pub(crate) fn act_tick(&mut self, n: usize) {
        let at = self.clock(n);
        self.push_runs(n);
        let mut i = 0;
        while let Some(run) = self.nodes[n].seat.as_ref().and_then(|s| s.runs.get(i)).cloned() {
            if at >= run.deadline {
                self.run_is_late(n, i, &run);
                continue;
            }
            self.drain(n, i);
            i += 1;
        }
    }

    fn run_is_late(&mut self, n: usize, i: usize, run: &Run) {
        self.coverage.mark(Mark::ActionUnanswered);
        if let (Some((fenced, _)), Step::Drain { .. }) = (&run.fenced, &run.step) {
            self.end_run(n, i, Ok(fenced.outcome(None)));
            return;
        }
        self.end_run(n, i, Err(("no answer in time".to_owned(), false)));
        let opens = matches!(
            run.action.kind,
            ActionKind::Lift { .. }
                | ActionKind::Promote(_)
                | ActionKind::Open { .. }
                | ActionKind::SetFence { .. }
        );
        if let Step::Asked { conn, .. } = run.step
            && opens
        {
            self.abandon(n, run.m, conn);
        }
    }

    fn end_run(&mut self, n: usize, i: usize, result: Result<Outcome, (String, bool)>) {
        let at = self.clock(n);
        let Some(seat) = self.nodes[n].seat.as_mut() else { return };
        if i >= seat.runs.len() {
            return;
        }
        let run = seat.runs.remove(i);
        let key = run.action.key();
        match result {
            Ok(outcome) => {
                seat.worked(&key, at);
                self.ask_all(n);
                let outcome = crate::defect::bend_outcome(self.defect, outcome);
                let wall = self.wall();
                for command in conclude(&self.nodes[n].state, &run.action, &outcome, run.started, wall) {
                    let command = crate::defect::bend_command(self, n, command);
                    self.propose(n, command);
                }
            }
            Err((why, permanent)) => {
                let lane = self.lane_of_node(n);
                let word = run.action.kind.word();
                let told = why.clone();
                self.say(Some(lane), || format!("n{} {word} {} fails: {told}", n + 1, run.action.member));
                if let Some(seat) = self.nodes[n].seat.as_mut() {
                    seat.failed(&key, at, why, permanent);
                }
            }
        }
    }

    /// A rescue by the nodes at the candidate's site, or by this one; a kill by those at the member's.
    fn ask_elsewhere(&mut self, n: usize, run: &Run) -> Step {
        let at = self.setup.members.get(run.m).copied().unwrap_or(0);
        let mut left: Vec<usize> = (0..self.nodes.len()).filter(|i| self.setup.nodes[*i] == at).collect();
        left.sort_by_key(|i| *i != n);
        if matches!(run.action.kind, ActionKind::Rescue { .. }) && !left.contains(&n) {
            left.push(n);
        }
        self.ask_next(n, run, left)
    }

    fn ask_next(&mut self, n: usize, run: &Run, mut left: Vec<usize>) -> Step {
        let id = self.fresh_ask();
        if left.is_empty() {
            return Step::Elsewhere { id, left };
        }
        let to = left.remove(0);
        let within_us = run.deadline.since(self.clock(n)).as_micros() as u64;
        let message = match &run.action.kind {
            ActionKind::Kill { run_id, .. } => {
                Message::Kill { id, epoch: run.action.epoch, member: run.m, run_id: run_id.clone() }
            }
            _ => Message::Rescue { id, action: Box::new(run.action.clone()), within_us },
        };
        self.tell(n, to, message);
        Step::Elsewhere { id, left }
    }

    fn elsewhere(&self, n: usize, id: u32) -> Option<usize> {
        let runs = &self.nodes[n].seat.as_ref()?.runs;
        runs.iter().position(|r| matches!(&r.step, Step::Elsewhere { id: asked, .. } if *asked == id))
    }

    fn elsewhere_failed(&mut self, n: usize, i: usize, why: String) {
        let Some(run) = self.nodes[n].seat.as_ref().and_then(|s| s.runs.get(i)).cloned() else { return };
        let Step::Elsewhere { left, .. } = &run.step else { return };
        if left.is_empty() {
            self.end_run(n, i, Err((why, false)));
        } else {
            let step = self.ask_next(n, &run, left.clone());
            self.set_step(n, i, step);
        }
    }

    pub(crate) fn rescue_answered(
        &mut self,
        n: usize,
        id: u32,
        result: Result<Sealed, String>,
        fetched_bytes: u64,
        promoted: Option<Promoted>,
    ) {
        let Some(i) = self.elsewhere(n, id) else { return };
        match result {
            Ok(sealed) => {
                let end = Position { replid: sealed.replid, offset_bytes: sealed.end.offset };
                let complete = sealed.complete;
                let promoted = promoted.map(|promoted| (promoted, Duration::ZERO));
                self.end_run(n, i, Ok(Outcome::Rescued { end, fetched_bytes, complete, promoted }));
            }
            Err(why) => self.elsewhere_failed(n, i, why),
        }
    }

    pub(crate) fn kill_answered(&mut self, n: usize, id: u32, result: Result<(), String>) {
        let Some(i) = self.elsewhere(n, id) else { return };
        match result {
            Ok(()) => self.end_run(n, i, Ok(Outcome::Killed)),
            Err(why) => self.elsewhere_failed(n, i, why),
        }
    }

    /// Ends a primary on this host that does not answer, where its group allows it and a transition has given it up.
    pub(crate) fn kill_here(
        &mut self,
        n: usize,
        epoch: primacy_core::Epoch,
        m: usize,
        run_id: &str,
    ) -> Result<(), String> {
        let group = self.nodes[n].group().ok_or("there is no such group")?;
        let meant = group.transition.as_ref().is_none_or(|t| t.epoch <= epoch);
        let primary = group.primary.as_ref().is_some_and(|p| p.member == member(m) && p.epoch < epoch);
        let here = self.setup.same_host[n] == Some(m);
        if !(group.spec.may_kill && meant && primary && here && self.servers[m].run_id(m) == run_id) {
            return Err("it is not to be killed from here".to_owned());
        }
        self.coverage.mark(Mark::KilledByUs);
        self.kill_server(m, false);
        Ok(())
    }
}

/// What a member said when it was fenced.
#[derive(Clone, Debug)]
struct Fenced {
    code: &'static str,
    run_id: String,
    end: Position,
}

impl Fenced {
    fn outcome(&self, drained_us: Option<u64>) -> Outcome {
        let (code, run_id, end) = (self.code.to_owned(), self.run_id.clone(), self.end.clone());
        Outcome::Fenced { code, run_id, end, drained_us }
    }
}

fn fenced(answer: Answer) -> Option<Fenced> {
    let (code, run_id, replid, offset_bytes) = match answer {
        Answer::Fenced { code, run_id, replid, end } => (code, run_id, replid, end),
        Answer::Reach { run_id, replid, read, .. } => ("NOREPLICAS", run_id, replid, read),
        _ => return None,
    };
    Some(Fenced { code, run_id, end: Position { replid, offset_bytes } })
}

/// What a member says once it has become primary.
pub(crate) fn promoted(answer: Answer) -> Option<Promoted> {
    let Answer::Promoted { run_id, replid, start, previous, refused } = answer else { return None };
    let previous = previous.filter(|id| *id != replid);
    let start = Position { replid, offset_bytes: start };
    let refused = refused.into_iter().map(member).collect();
    Some(Promoted { lineage: Lineage { run_id, start, previous }, refused })
}

/// The number of the member at a host.
fn number_of(host: &str) -> usize {
    let last = host.rsplit('.').next().and_then(|n| n.parse::<usize>().ok());
    last.unwrap_or(1).saturating_sub(1)
}

/// The node that is to hold a tail.
pub(crate) fn holder_of(action: &Action) -> Option<usize> {
    match &action.kind {
        ActionKind::Rescue { holder, .. } => Some(node_number(*holder)),
        _ => None,
    }
}
