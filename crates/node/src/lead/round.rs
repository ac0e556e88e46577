//! The loop of the leader: news in, plan, commands and actions out, one leadership long.
//!
//! Each group goes its own way: its plan is worked out when it is due, its first proposal holds its further steps
//! until it is committed, and its actions run beside those of the others. Nothing on the way waits for a tick.

use super::actions::{self, Actions, Done};
use super::board::Board;
use super::fault::{self, Place, command_word};
use super::journal::Journal;
use super::verdicts::Verdicts;
use crate::guard::Guards;
use crate::observe::{Nudges, until};
use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use metrics::{counter, gauge, histogram};
use primacy_consensus::{Committed, Consensus, ProposeError};
use primacy_core::plan::{self, Plan, StepKind};
use primacy_core::{Action, Command, GroupName, Moment, NodeId, SiteName, Term};
use primacy_redis::Hand;
use primacy_runtime::{now, wall};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How long a command may take to be committed before its outcome counts as unknown.
const PROPOSE_WITHIN: Duration = Duration::from_secs(2);
/// How long a group rests after a command that was refused, or whose outcome is unknown.
const REST: Duration = Duration::from_millis(20);
/// How often the set of voting nodes is read again, besides at each change.
const NODES_EVERY: Duration = Duration::from_millis(200);

/// The leader's part of a node.
pub(crate) struct Lead {
    pub(crate) me: NodeId,
    pub(crate) consensus: Consensus,
    pub(crate) hand: Hand,
    pub(crate) board: Arc<Board>,
    pub(crate) nudges: Arc<Nudges>,
    pub(crate) guards: Arc<Guards>,
}

impl Lead {
    /// Leads whenever this node is the leader, until it is dropped.
    pub(crate) async fn run(mut self) {
        let consensus = self.consensus.clone();
        self.hand = self.hand.guarded(move |action| actions::authorised(&consensus, action).is_ok());
        let mut leadership = self.consensus.leadership();
        loop {
            let (leading, term) = {
                let view = leadership.borrow_and_update();
                (view.leading, view.term)
            };
            gauge!("primacy_node_leading").set(f64::from(u8::from(leading)));
            if !leading {
                if leadership.changed().await.is_err() {
                    return;
                }
                continue;
            }
            info!(term = term.0, "this node leads");
            self.board.take_seat(term, now(), &self.consensus);
            let lost = {
                let still = |v: &primacy_consensus::LeadershipView| v.leading && v.term == term;
                let over = leadership.wait_for(|v| !still(v));
                let mut round = Round::new(&self, term);
                tokio::select! {
                    biased;
                    over = over => over,
                    () = round.run() => return,
                }
            };
            self.board.leave_seat();
            info!(term = term.0, "this node leads no more");
            if lost.is_err() {
                return;
            }
        }
    }
}

/// What was proposed together, and what came of each.
struct Proposed {
    /// None: for the cluster as a whole.
    group: Option<GroupName>,
    each: Vec<(&'static str, Duration, Result<Committed, ProposeError>)>,
}

/// One leadership.
struct Round<'a> {
    lead: &'a Lead,
    term: Term,
    actions: Actions,
    proposals: FuturesUnordered<BoxFuture<'static, Proposed>>,
    /// Groups with a proposal under way.
    proposing: BTreeSet<GroupName>,
    assuming: bool,
    /// When a group needs another look though nothing happened.
    wake_at: BTreeMap<GroupName, Moment>,
    /// Until when a group, or with none the whole, is left alone.
    rest_until: BTreeMap<Option<GroupName>, Moment>,
    nodes_at: Moment,
    journal: Journal,
    verdicts: Verdicts,
}

impl<'a> Round<'a> {
    fn new(lead: &'a Lead, term: Term) -> Round<'a> {
        Round {
            lead,
            term,
            actions: Actions::default(),
            proposals: FuturesUnordered::new(),
            proposing: BTreeSet::new(),
            assuming: false,
            wake_at: BTreeMap::new(),
            rest_until: BTreeMap::new(),
            nodes_at: Moment(0),
            journal: lead.consensus.read(Journal::begin),
            verdicts: Verdicts::default(),
        }
    }

    async fn run(&mut self) {
        let mut revisions = self.lead.consensus.revision_watch();
        let lead = self.lead;
        self.follow_state();
        loop {
            self.refresh_nodes();
            self.plan_due();
            let wake_at = self.next_wake();
            tokio::select! {
                biased;
                changed = revisions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow_state();
                }
                Some(proposed) = self.proposals.next() => self.on_proposed(proposed),
                done = self.actions.next() => self.on_done(done),
                () = lead.board.woken() => {}
                () = until(wake_at) => self.mark_woken(),
            }
        }
    }

    fn follow_state(&mut self) {
        let consensus = &self.lead.consensus;
        self.lead.board.follow(now(), consensus);
        consensus.read(|state| {
            self.journal.follow(state);
            self.wake_at.retain(|group, _| state.groups.contains_key(group));
        });
        self.nodes_at = Moment(0);
    }

    /// The voting nodes: whose word counts in a verdict.
    fn refresh_nodes(&mut self) {
        let at = now();
        self.lead.board.heard_myself(at);
        if at < self.nodes_at {
            return;
        }
        self.nodes_at = at.after(NODES_EVERY);
        self.lead.board.set_nodes(voters(&self.lead.consensus), learners(&self.lead.consensus));
    }

    fn next_wake(&self) -> Option<Moment> {
        let planned = self.wake_at.iter().filter(|(group, _)| !self.proposing.contains(group));
        let rests = self.rest_until.values().copied();
        planned.map(|(_, at)| *at).chain(rests).chain([self.nodes_at]).min()
    }

    fn mark_woken(&mut self) {
        let at = now();
        for (group, _) in self.wake_at.iter().filter(|(_, wake)| **wake <= at) {
            self.lead.board.set_due(group);
        }
        let rested: Vec<_> = self.rest_until.extract_if(.., |_, until| *until <= at).collect();
        for group in rested.into_iter().filter_map(|(group, _)| group) {
            self.lead.board.set_due(&group);
        }
    }

    fn plan_due(&mut self) {
        if self.assuming || self.rest_until.contains_key(&None) {
            return;
        }
        let (at, stamp) = (now(), wall());
        if !self.assumed() {
            self.assume(at, stamp);
            return;
        }
        for group in self.lead.board.take_due() {
            let rests = self.rest_until.contains_key(&Some(group.clone()));
            if self.proposing.contains(&group) || rests {
                // It is looked at again when its proposal is over, or it has rested.
                continue;
            }
            self.plan_group(group, at, stamp);
        }
    }

    fn assumed(&self) -> bool {
        let (me, term) = (self.lead.me, self.term);
        self.lead.consensus.read(|state| state.leadership.is_some_and(|l| l.node == me && l.term == term))
    }

    fn assume(&mut self, at: Moment, stamp: primacy_core::WallTime) {
        let lead = self.lead;
        let plan = lead.board.read(|view| lead.consensus.read(|state| plan::plan(state, view, at, stamp)));
        let Some(Plan { steps, .. }) = plan else { return };
        if let Some(StepKind::Propose(command)) = steps.into_iter().next().map(|step| step.kind) {
            self.assuming = true;
            self.propose(None, vec![command]);
        }
    }

    fn plan_group(&mut self, group: GroupName, at: Moment, stamp: primacy_core::WallTime) {
        let lead = self.lead;
        let verdicts = &mut self.verdicts;
        let plan = lead.board.read(|view| {
            lead.consensus.read(|state| {
                verdicts.follow(state, &group, view, at);
                plan::plan_group(state, &group, view, at, stamp)
            })
        });
        let Some(plan) = plan else { return };
        match plan.wake_at {
            Some(wake) => self.wake_at.insert(group.clone(), wake),
            None => self.wake_at.remove(&group),
        };
        for step in plan.steps {
            counter!("primacy_plan_steps_total", "rule" => step.rule).increment(1);
            match step.kind {
                StepKind::Propose(command) => {
                    debug!(%group, rule = step.rule, command = command_word(&command), "proposing");
                    self.proposing.insert(group.clone());
                    self.propose(Some(group), vec![command]);
                    return;
                }
                StepKind::Perform(action) => self.perform(step.rule, action),
            }
        }
    }

    fn perform(&mut self, rule: &'static str, action: Action) {
        let (group, member, word) = (&action.group, &action.member, action.kind.word());
        if let Err(why) = actions::authorised(&self.lead.consensus, &action) {
            debug!(%group, %member, action = word, why, "not performed");
            return;
        }
        let span = self.journal.span(group, action.epoch);
        debug!(parent: &span, %group, %member, rule, action = word, "performing");
        self.lead.board.started(action.key());
        self.actions.begin(&self.lead.hand, &self.lead.guards, action, span);
    }

    /// Proposes commands that follow from each other, one behind the other without waiting: between sites each wait
    /// is the way there and back.
    fn propose(&mut self, group: Option<GroupName>, commands: Vec<Command>) {
        let one = |command: Command| {
            let consensus = self.lead.consensus.clone();
            async move {
                let (word, began) = (command_word(&command), now());
                let result = consensus.propose(command, PROPOSE_WITHIN).await;
                if result.is_ok() {
                    fault::reach(Place::Committed(word));
                }
                (word, now().since(began), result)
            }
        };
        let all = join_all(commands.into_iter().map(one));
        self.proposals.push(Box::pin(async move { Proposed { group, each: all.await } }));
    }

    fn on_proposed(&mut self, proposed: Proposed) {
        let Proposed { group, each } = proposed;
        match &group {
            Some(group) => {
                self.proposing.remove(group);
                self.lead.board.set_due(group);
            }
            None => self.assuming = false,
        }
        for (word, took, result) in each {
            self.tell_proposed(group.as_ref(), word, took, result);
        }
    }

    fn tell_proposed(
        &mut self,
        group: Option<&GroupName>,
        word: &'static str,
        took: Duration,
        result: Result<Committed, ProposeError>,
    ) {
        let about = group.map_or("cluster", GroupName::as_str);
        let label = match result {
            Ok(_) => {
                histogram!("primacy_commit_seconds").record(took.as_secs_f64());
                // What was committed is in the state now, also when the watch has not told of it yet.
                self.follow_state();
                "committed"
            }
            Err(ProposeError::Rejected(rejected)) => {
                debug!(group = about, command = word, rule = rejected.code(), %rejected, "rejected, planning anew");
                self.rest(group);
                "rejected"
            }
            Err(ProposeError::NotLeader { .. }) => {
                debug!(group = about, command = word, "this node does not lead any more");
                self.rest(group);
                "not_leader"
            }
            Err(ProposeError::OutcomeUnknown { reason }) => {
                warn!(group = about, command = word, reason, "not known to be committed, planning anew");
                self.rest(group);
                "unknown"
            }
            Err(ProposeError::Unavailable { reason }) => {
                warn!(group = about, command = word, reason, "not proposed, planning anew");
                self.rest(group);
                "unavailable"
            }
        };
        counter!("primacy_proposals_total", "command" => word, "result" => label).increment(1);
    }

    fn rest(&mut self, group: Option<&GroupName>) {
        self.rest_until.insert(group.cloned(), now().after(REST));
    }

    fn on_done(&mut self, done: Done) {
        let Done { action, started, took, result } = done;
        let (key, word, at) = (action.key(), action.kind.word(), now());
        let span = self.journal.span(&action.group, action.epoch);
        let (group, member) = (&action.group, &action.member);
        let label = match result {
            Ok(outcome) => {
                info!(parent: &span, %group, %member, action = word, ms = ms(took), "done");
                self.lead.board.worked(&key, at);
                self.lead.nudges.ask(group);
                let conclude = |state: &_| plan::conclude(state, &action, &outcome, started, wall());
                let commands = self.lead.consensus.read(conclude);
                if !commands.is_empty() {
                    self.proposing.insert(group.clone());
                    self.propose(Some(group.clone()), commands);
                }
                "done"
            }
            Err(error) => {
                let count = self.lead.board.failed(&key, at, error.message.clone(), error.permanent);
                // Told once, then again each time that the number of tries has doubled.
                if count.is_power_of_two() {
                    warn!(parent: &span, %group, %member, action = word, tries = count, error = error.message, "failed");
                }
                "failed"
            }
        };
        counter!("primacy_actions_total", "action" => word, "result" => label).increment(1);
        histogram!("primacy_action_seconds", "action" => word).record(took.as_secs_f64());
    }
}

/// The voting nodes and their sites.
pub(crate) fn voters(consensus: &Consensus) -> BTreeMap<NodeId, SiteName> {
    let nodes = consensus.membership().nodes;
    nodes.into_iter().filter(|(_, m)| m.voter).map(|(id, m)| (id, m.site)).collect()
}

/// The nodes that do not vote.
fn learners(consensus: &Consensus) -> BTreeSet<NodeId> {
    let nodes = consensus.membership().nodes;
    nodes.into_iter().filter(|(_, m)| !m.voter).map(|(id, _)| id).collect()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
