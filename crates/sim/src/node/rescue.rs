//! A rescue on the node that does it: seal where the tail is kept, fetch it once, have the candidate read it.

use super::act::{holder_of, promoted};
use super::post::Tail;
use crate::coverage::Mark;
use crate::defect::Defect;
use crate::history::Place;
use crate::message::{Answer, Control, Message, Sealed};
use crate::setup::member_number;
use crate::world::World;
use primacy_core::{Action, ActionKind, Epoch, Moment, Phase, Promoted, Revision};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Sealing,
    Reaching,
    Fetching,
    Pointing,
    Reading,
    /// It has read all, and is promoted: looked at first.
    Looking,
    Promoting,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    id: u32,
    /// Who asked.
    from: usize,
    action: Action,
    deadline: Moment,
    step: Step,
    asked: u32,
    sealed: Option<Sealed>,
    fetched: u64,
    promoted: Option<Promoted>,
    again_at: Moment,
}

impl World {
    pub(crate) fn begin_rescue(&mut self, n: usize, from: usize, id: u32, action: Action, within_us: u64) {
        let at = self.clock(n);
        let ActionKind::Rescue { of, .. } = action.kind else { return };
        let Some(holder) = holder_of(&action) else { return };
        let asked = self.fresh_ask();
        let epoch = action.epoch;
        self.nodes[n].jobs.push(Job {
            id,
            from,
            action,
            deadline: at.after(Duration::from_micros(within_us)),
            step: Step::Sealing,
            asked,
            sealed: None,
            fetched: 0,
            promoted: None,
            again_at: at,
        });
        if holder == n {
            let sealed = self.seal_for(n, epoch, of);
            self.job_sealed(n, asked, sealed);
        } else {
            self.tell(n, holder, Message::Seal { id: asked, epoch, of });
        }
    }

    fn job(&self, n: usize, asked: u32) -> Option<usize> {
        self.nodes[n].jobs.iter().position(|j| j.asked == asked)
    }

    /// What this node keeps of the stream of `of` takes nothing more from here on.
    pub(crate) fn seal_for(&mut self, n: usize, epoch: Epoch, of: Epoch) -> Result<Sealed, String> {
        let sealed = self.seal(n, epoch, of)?;
        crate::invariant::sealed::sealed(self, n, epoch, of, sealed.end.offset);
        Ok(sealed)
    }

    pub(crate) fn job_sealed(&mut self, n: usize, asked: u32, sealed: Result<Sealed, String>) {
        let Some(i) = self.job(n, asked) else { return };
        match sealed {
            Ok(sealed) => {
                self.nodes[n].jobs[i].sealed = Some(sealed);
                self.nodes[n].jobs[i].step = Step::Reaching;
                self.ask_reach(n, i);
            }
            Err(why) => self.end_job(n, i, Err(why)),
        }
    }

    /// Only while the transition that it was asked for is not known to be over.
    fn may_go_on(&self, n: usize, epoch: Epoch) -> bool {
        let state = &self.nodes[n].state;
        let transition = state.groups.values().next().and_then(|g| g.transition.as_ref());
        let rescuing = transition.is_some_and(|t| t.epoch == epoch && t.phase <= Phase::Rescue);
        rescuing || state.revision < Revision(epoch.0)
    }

    fn ask_reach(&mut self, n: usize, i: usize) {
        let m = member_number(&self.nodes[n].jobs[i].action.member);
        let asked = self.ask_member(n, m, None, Control::Reach);
        if let Some((id, _)) = asked {
            self.nodes[n].jobs[i].asked = id;
        }
    }

    /// An answer that no action of a leader waits for.
    pub(crate) fn other_answer(&mut self, n: usize, m: usize, id: u32, answer: Answer) {
        if self.gate_offset_answered(n, id, &answer) {
            return;
        }
        let Some(i) = self.job(n, id) else { return };
        let _ = m;
        let job = self.nodes[n].jobs[i].clone();
        match (&job.step, answer) {
            (Step::Looking, Answer::Reach { run_id, .. }) => self.looked(n, i, &run_id),
            (Step::Promoting, answer) => self.end_promoted(n, i, promoted(answer)),
            (Step::Looking, _) => self.end_promoted(n, i, None),
            (Step::Reaching, Answer::Reach { replid, read, primary, second, .. }) => {
                match (primary, second) {
                    (false, _) => self.reached(n, i, &replid, read, false),
                    (true, Some((replid, read))) => self.reached(n, i, &replid, read, true),
                    (true, None) => self.end_job(n, i, Err("it is a primary already".to_owned())),
                }
            }
            (Step::Pointing, _) => {
                self.nodes[n].jobs[i].step = Step::Reading;
                self.ask_reach(n, i);
            }
            (Step::Reading, Answer::Reach { primary: true, .. }) => {
                self.end_job(n, i, Err("it was promoted meanwhile".to_owned()));
            }
            (Step::Reading, Answer::Reach { replid, read, .. }) => self.has_read(n, i, &replid, read),
            _ => {}
        }
    }

    fn reached(&mut self, n: usize, i: usize, replid: &str, read: u64, promoted: bool) {
        let job = self.nodes[n].jobs[i].clone();
        let Some(sealed) = job.sealed else { return };
        let same = replid == sealed.replid;
        if same && read >= sealed.end.offset {
            self.goes_on_to_promote(n, i);
        } else if promoted {
            self.end_job(n, i, Err("it is a primary already".to_owned()));
        } else if !same || read < sealed.start {
            self.coverage.mark(Mark::TailGap);
            self.end_job(n, i, Err("the tail does not join what the candidate holds".to_owned()));
        } else if self.has(Defect::RescueNotRead) {
            self.end_job(n, i, Ok(sealed));
        } else {
            self.nodes[n].jobs[i].fetched = sealed.end.offset - read;
            let holder = holder_of(&job.action).unwrap_or(n);
            let ActionKind::Rescue { of, .. } = job.action.kind else { return };
            let asked = self.fresh_ask();
            self.nodes[n].jobs[i].asked = asked;
            self.nodes[n].jobs[i].step = Step::Fetching;
            if holder == n {
                let end = self.kept_tail(n, of).map(|t| t.end);
                self.job_fetched(n, asked, end);
            } else {
                self.tell(n, holder, Message::Fetch { id: asked, of, from: read });
            }
        }
    }

    pub(crate) fn job_fetched(&mut self, n: usize, asked: u32, tail: Option<Place>) {
        let Some(i) = self.job(n, asked) else { return };
        let (Some(end), Some(sealed)) = (tail, self.nodes[n].jobs[i].sealed.clone()) else {
            self.end_job(n, i, Err("the tail could not be fetched".to_owned()));
            return;
        };
        if !self.may_go_on(n, self.nodes[n].jobs[i].action.epoch) {
            self.end_job(n, i, Err("the transition is over".to_owned()));
            return;
        }
        let start = sealed.start;
        self.nodes[n].offer = Some(Tail { replid: sealed.replid, start, end, sealed: true });
        self.nodes[n].jobs[i].step = Step::Pointing;
        let action = self.nodes[n].jobs[i].action.clone();
        let m = member_number(&action.member);
        match self.ask_member(n, m, Some(action.epoch), Control::ReadTail { node: n }) {
            Some((id, _)) => self.nodes[n].jobs[i].asked = id,
            None => self.end_job(n, i, Err("the candidate does not answer".to_owned())),
        }
    }

    fn has_read(&mut self, n: usize, i: usize, replid: &str, read: u64) {
        let Some(sealed) = self.nodes[n].jobs[i].sealed.clone() else { return };
        if replid != sealed.replid {
            self.end_job(n, i, Err("it holds another history".to_owned()));
        } else if read >= sealed.end.offset {
            self.coverage.mark(Mark::TailRead);
            self.goes_on_to_promote(n, i);
        } else {
            self.nodes[n].jobs[i].asked = 0;
            self.nodes[n].jobs[i].again_at = self.clock(n);
        }
    }

    /// All is read: it is promoted where that was asked for and the tail is all that there was.
    fn goes_on_to_promote(&mut self, n: usize, i: usize) {
        let job = &self.nodes[n].jobs[i];
        let complete = job.sealed.as_ref().is_some_and(|sealed| sealed.complete);
        let asked = matches!(&job.action.kind, ActionKind::Rescue { then: Some(_), .. });
        if asked && complete {
            self.say_to_candidate(n, i, Step::Looking, Control::Look);
        } else {
            self.end_promoted(n, i, None);
        }
    }

    fn say_to_candidate(&mut self, n: usize, i: usize, step: Step, control: Control) {
        let action = self.nodes[n].jobs[i].action.clone();
        if !self.may_go_on(n, action.epoch) {
            self.end_promoted(n, i, None);
            return;
        }
        match self.ask_member(n, member_number(&action.member), Some(action.epoch), control) {
            Some((id, _)) => (self.nodes[n].jobs[i].asked, self.nodes[n].jobs[i].step) = (id, step),
            None => self.end_promoted(n, i, None),
        }
    }

    fn looked(&mut self, n: usize, i: usize, run_id: &str) {
        let ActionKind::Rescue { then: Some(promotion), .. } = self.nodes[n].jobs[i].action.kind.clone()
        else {
            return;
        };
        match self.after_look(&promotion, run_id) {
            Some(control) => self.say_to_candidate(n, i, Step::Promoting, control),
            None => self.end_promoted(n, i, None),
        }
    }

    fn end_promoted(&mut self, n: usize, i: usize, promoted: Option<Promoted>) {
        if promoted.is_some() {
            self.coverage.mark(Mark::PromotedAtTailEnd);
        }
        let Some(sealed) = self.nodes[n].jobs[i].sealed.clone() else { return };
        self.nodes[n].jobs[i].promoted = promoted;
        self.end_job(n, i, Ok(sealed));
    }

    pub(crate) fn rescue_tick(&mut self, n: usize) {
        let at = self.clock(n);
        let mut i = 0;
        while i < self.nodes[n].jobs.len() {
            let job = &self.nodes[n].jobs[i];
            if at >= job.deadline {
                self.end_job(n, i, Err("not in the time given".to_owned()));
                continue;
            }
            if matches!(job.step, Step::Reading) && job.asked == 0 {
                self.ask_reach(n, i);
            }
            i += 1;
        }
    }

    pub(crate) fn job_conn_gone(&mut self, n: usize, m: usize) {
        let mut i = 0;
        while i < self.nodes[n].jobs.len() {
            let job = &self.nodes[n].jobs[i];
            let of_it = member_number(&job.action.member) == m;
            if of_it && matches!(job.step, Step::Looking | Step::Promoting) {
                self.end_promoted(n, i, None);
                continue;
            }
            let waits = matches!(job.step, Step::Reaching | Step::Pointing | Step::Reading);
            if waits && of_it {
                self.end_job(n, i, Err("the connection to the candidate ended".to_owned()));
                continue;
            }
            i += 1;
        }
    }

    fn end_job(&mut self, n: usize, i: usize, result: Result<Sealed, String>) {
        let job = self.nodes[n].jobs.remove(i);
        if self.nodes[n].jobs.is_empty() {
            self.nodes[n].offer = None;
        }
        let (id, result, promoted) = (job.id, result.map(Box::new), job.promoted.map(Box::new));
        let message = Message::Rescued { id, result, fetched: job.fetched, promoted };
        self.tell(n, job.from, message);
    }
}
