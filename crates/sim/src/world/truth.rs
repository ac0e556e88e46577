//! What really happened, for the invariants alone: what was committed, who accepted which write, who was promised what.

use super::World;
use crate::coverage::Mark;
use crate::history::Place;
use crate::invariant;
use crate::message::{Control, Entry, Who};
use crate::setup::member_number;
use primacy_core::{
    Action, Cause, Command, Epoch, Event, EventBatch, Group, Phase, Proof, State, Transition,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What a gate promised with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    Nothing,
    Local,
    Site,
}

/// One write of a client.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) bytes: u64,
    /// Where it is in the truth, once it was accepted, and by whom under which epoch.
    pub(crate) accepted: Option<(usize, u64, Place, u64)>,
    /// Accepted by a process that had just been thawed, or answered within the turn in which it died.
    pub(crate) residue: bool,
    pub(crate) promise: Promise,
    /// The node on whose word it was let go, and its boot.
    pub(crate) relied_on: Option<(usize, u32)>,
    /// The standbys that had completed their links then, and which process each was.
    pub(crate) joined: Vec<(usize, u32)>,
    pub(crate) acked_at: Option<u64>,
    pub(crate) counted: bool,
}

/// A promotion that was committed.
#[derive(Clone, Debug)]
pub(crate) struct Promotion {
    pub(crate) epoch: u64,
    pub(crate) start: Place,
    pub(crate) at: u64,
    /// Whether it was made while nothing was wrong with the network, and for how long before.
    pub(crate) quiet_since: u64,
    pub(crate) lost_bytes: u64,
}

#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) state: State,
    pub(crate) log: Vec<Entry>,
    pub(crate) founded: bool,
    pub(crate) writes: Vec<Write>,
    pub(crate) promotions: Vec<Promotion>,
    pub(crate) last_epoch_written: u64,
    pub(crate) epochs: BTreeSet<u64>,
    pub(crate) reached: BTreeSet<(u64, Phase)>,
    /// Who became primary under which epoch.
    pub(crate) primaries: BTreeMap<u64, usize>,
    pub(crate) events: Vec<EventBatch>,
    pub(crate) watched: usize,
    pub(crate) faults_now: u32,
    pub(crate) calm_since: u64,
    pub(crate) network_bad_at: u64,
    pub(crate) frozen_at: BTreeMap<usize, u64>,
    pub(crate) outage_alone_since: u64,
    pub(crate) helped_at: u64,
    pub(crate) commit_answered: usize,
    pub(crate) settled: bool,
    pub(crate) all_down: bool,
    /// How many replicas that are none of ours the leader knew of that waited a primary out.
    pub(crate) strangers_known: u64,
    /// Where in the truth each history that a promotion began has its start.
    pub(crate) begun: BTreeMap<u32, Place>,
    /// Whether the next candidate is started again when it is to be promoted.
    pub(crate) candidate_is_doomed: bool,
    /// By node and the epoch of the stream: for which transition it was sealed, and where.
    pub(crate) sealed: BTreeMap<(usize, u64), (u64, u64)>,
}

impl Truth {
    pub(crate) fn group(&self) -> Option<&Group> {
        self.state.groups.values().next()
    }

    /// The committed primary.
    pub(crate) fn primary(&self) -> Option<usize> {
        self.group()?.primary.as_ref().map(|p| member_number(&p.member))
    }

    pub(crate) fn new_write(&mut self, bytes: u64) -> u32 {
        self.writes.push(Write {
            bytes,
            accepted: None,
            residue: false,
            promise: Promise::Nothing,
            relied_on: None,
            joined: vec![],
            acked_at: None,
            counted: false,
        });
        self.writes.len() as u32 - 1
    }
}

impl World {
    /// A node has applied an entry: the first to do so makes it the truth, the others must agree.
    pub(crate) fn committed(&mut self, n: usize, index: usize, entry: &Entry) {
        if index <= self.truth.log.len() {
            invariant::agreement::check(self, n, index, entry);
            return;
        }
        self.truth.log.push(entry.clone());
        let Some(command) = entry.command.clone() else { return };
        let before = self.truth.group().cloned();
        let applied = self.truth.state.apply(index as u64, &command);
        let Ok(events) = applied else { return };
        if let Some(batch) = self.truth.state.events.back().filter(|b| b.revision.0 == index as u64) {
            self.truth.events.push(batch.clone());
        }
        self.note_committed(index, &command, before.as_ref(), &events);
    }

    fn note_committed(
        &mut self,
        index: usize,
        command: &Rc<Command>,
        before: Option<&Group>,
        events: &[Event],
    ) {
        for event in events {
            self.count_event(event);
            self.say(None, || words(index, event));
        }
        if let Command::StartTransition(_) = &**command {
            self.truth.epochs.insert(index as u64);
        }
        let after = self.truth.group().cloned();
        if let Some(t) = after.as_ref().and_then(|g| g.transition.as_ref()) {
            for phase in [Phase::Fence, Phase::Rescue, Phase::Promote, Phase::Redirect, Phase::Settle] {
                if phase <= t.phase && t.phase != Phase::RollBack {
                    self.truth.reached.insert((t.epoch.0, phase));
                }
            }
            self.truth.reached.insert((t.epoch.0, t.phase));
            let rescued = matches!(t.phase, Phase::Rescue | Phase::Promote) && t.cause != Cause::Initial;
            if self.truth.candidate_is_doomed && came_to(t, before) && rescued {
                self.strike_candidate(member_number(&t.to));
            }
        }
        if let Some(proof) = proof_of(command) {
            self.coverage.count("proof", proof.word());
            invariant::lease::proven(self, proof, before);
        }
        invariant::paused::started(self, command, before);
        if events.iter().any(|e| matches!(e, Event::PrimaryChanged { .. })) {
            self.note_promotion(before, after.as_ref());
        }
        if events.iter().any(|e| matches!(e, Event::TransitionEnded { .. })) {
            invariant::acknowledged::settle(self);
        }
        self.quorum_changed();
    }

    fn note_promotion(&mut self, before: Option<&Group>, after: Option<&Group>) {
        let Some(primary) = after.and_then(|g| g.primary.as_ref()) else { return };
        let (m, epoch) = (member_number(&primary.member), primary.epoch.0);
        invariant::epochs::primary_changed(self, before, epoch);
        invariant::fenced::promoted(self, epoch);
        if let Some(group) = after {
            invariant::budget::promoted(self, group);
        }
        self.truth.primaries.insert(epoch, m);
        if self.servers[m].promoted < epoch {
            // Endpoints know of no promotion; a server that was restarted since does not either.
            self.servers[m].promoted = if self.is_endpoint() { epoch } else { self.servers[m].promoted };
        }
        let lineage = &primary.lineage.start;
        // The process may be another one by the time that its promotion is committed.
        let begun = self.truth.begun.get(&crate::redis::id_of(&lineage.replid)).copied();
        let start = Place { offset: lineage.offset_bytes, ..begun.unwrap_or(self.servers[m].place) };
        let quiet_since = self.truth.network_bad_at;
        self.truth.promotions.push(Promotion { epoch, start, at: self.now, quiet_since, lost_bytes: 0 });
    }

    fn count_event(&mut self, event: &Event) {
        match event {
            Event::PhasePassed { phase, .. } => self.coverage.count("phase", phase.word()),
            Event::TransitionStarted { cause, .. } => self.coverage.count("cause", cause.word()),
            Event::TransitionEnded { outcome, .. } => self.coverage.count("outcome", outcome.word()),
            Event::GroupBlocked { reason, .. } => self.coverage.count("blocked", reason.code()),
            Event::OrphanedFound { .. } => self.coverage.mark(Mark::Orphaned),
            _ => {}
        }
    }

    pub(crate) fn is_endpoint(&self) -> bool {
        self.setup.spec.kind == primacy_core::GroupKind::Endpoint
    }

    /// A server has accepted a write and answers it now.
    pub(crate) fn accepted(&mut self, m: usize, id: u32, _: u64) {
        let (promoted, place) = (self.servers[m].promoted, self.servers[m].place);
        let residue = invariant::residue::frozen_turn(self, m);
        let write = &mut self.truth.writes[id as usize];
        write.accepted = Some((m, promoted, place, self.now));
        write.residue = residue;
        invariant::one_writer::accepted(self, m, residue);
    }

    /// A gate has let a reply go.
    pub(crate) fn released(&mut self, n: usize, id: u32, promise: Promise) {
        let relied_on = match promise {
            Promise::Nothing => None,
            Promise::Local => self.nodes[n].group().and_then(|g| g.primary.as_ref()).and_then(|p| p.witness),
            Promise::Site => self.nodes[n].group().and_then(|g| g.primary.as_ref()).and_then(|p| p.holder),
        };
        let relied_on = relied_on.map(crate::setup::node_number).map(|n| (n, self.nodes[n].boot));
        let by = self.truth.writes[id as usize].accepted.map_or(0, |(m, ..)| m);
        let online = self.servers[by].replicas.values().filter(|r| r.online);
        let members = online.filter_map(|r| match r.who {
            Who::Member(o) => Some((o, self.servers[o].run)),
            Who::Witness(_) | Who::Stranger => None,
        });
        let joined = members.collect();
        let write = &mut self.truth.writes[id as usize];
        (write.promise, write.relied_on, write.joined) = (promise, relied_on, joined);
    }

    /// A client has its answer.
    pub(crate) fn acknowledged(&mut self, id: u32, gate: bool) {
        let now = self.now;
        let Some(write) = self.truth.writes.get_mut(id as usize) else { return };
        write.acked_at = Some(now);
        let mark = match write.promise {
            _ if !gate => Mark::AckDirect,
            Promise::Nothing => Mark::AckAsync,
            Promise::Local => Mark::AckLocal,
            Promise::Site => Mark::AckSite,
        };
        self.coverage.mark(mark);
    }

    /// Something is about to be done to a server.
    pub(crate) fn control_reaches(&mut self, m: usize, epoch: Option<Epoch>, control: &Control) {
        invariant::intent::effect(self, m, epoch, control);
        if let (Control::Promote { .. }, Some(epoch)) = (control, epoch) {
            self.servers[m].promoted = self.servers[m].promoted.max(epoch.0);
        }
    }

    pub(crate) fn action_begins(&mut self, n: usize, action: &Action) {
        invariant::paused::acts(self, n, action);
    }

    pub(crate) fn server_changed(&mut self, m: usize) {
        if self.truth.primary() == Some(m) {
            self.quorum_changed();
        }
    }

    fn quorum_changed(&mut self) {
        invariant::quorum::check(self);
    }

    /// A server went on with a stream that does not continue what it has.
    pub(crate) fn diverged(&mut self, m: usize, before: Place, to: Place) {
        let text = format!("m{m} goes on from {before:?} with a stream that leads to {to:?}");
        self.violate("one_history", text);
    }
}

fn words(index: usize, event: &Event) -> String {
    let detail = format!("{event:?}");
    format!("#{index} {}", detail.chars().take(160).collect::<String>())
}

/// Whether a transition has just come to the phase that it is in.
fn came_to(t: &Transition, before: Option<&Group>) -> bool {
    before.and_then(|g| g.transition.as_ref()).is_none_or(|b| (b.epoch, b.phase) != (t.epoch, t.phase))
}

fn proof_of(command: &Command) -> Option<&Proof> {
    match command {
        Command::StartTransition(start) => start.proof.as_ref(),
        Command::ConfirmFence { proof, .. } => Some(proof),
        _ => None,
    }
}
