//! Mistakes that can be made around the rules, for a test of the simulation itself: each must be found.
//!
//! They are made in the adapters here and never in `primacy-core`, which is simulated as it ships. What bends an
//! argument or a result of core stands below; the rest is asked for where the adapter would be wrong.

use crate::setup::{group, member, member_number, node_number};
use crate::world::World;
use primacy_core::view::{MemberRole, Observation, Reach, SafetyTimes};
use primacy_core::{Command, Group, GroupName, Loss, LossBudget, Moment, Outcome, State};
use std::time::Duration;

macro_rules! defects {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// One mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Defect { $($(#[doc = $doc])+ $name,)* }
        impl Defect {
            /// All of them.
            pub const ALL: &[Defect] = &[$(Defect::$name,)*];
            /// What is wrong, in words.
            pub fn words(self) -> &'static str {
                match self { $(Defect::$name => concat!($($doc,)+).trim_ascii_start(),)* }
            }
        }
    };
}

defects! {
    /// The fence of a switchover is reported and was never set.
    LostFence,
    /// A lease is granted after an intent, and the leader does not remember it.
    LeaseAfterIntent,
    /// A lease is granted and the leader does not remember it.
    GrantForgotten,
    /// Leases are granted without the quorum's.
    GrantWithoutQuorum,
    /// A new leader does not wait for the leases that the one before it granted.
    NewLeaderWaitsForNobody,
    /// No time is left for clocks, nor for a primary to notice who is silent.
    NoMargin,
    /// A lease counts from its answer and twice as long.
    LeaseFromReceipt,
    /// Two nodes may be the witness at once.
    TwoWitnesses,
    /// A witness goes on when its lease is over.
    WitnessOutlivesLease,
    /// The door opens with one less than the committed number.
    MinOffByOne,
    /// An action carries the term instead of the epoch.
    TermAsEpoch,
    /// What a leader was about to do is done without asking again whether it may.
    ResumedLeaderActs,
    /// Every leader believes in its quorum.
    NoQuorumLease,
    /// A door opens before its promotion is committed.
    OpensBeforeCommit,
    /// A paused group moves.
    PausedMoves,
    /// Offsets of standbys are said to be further than they are.
    StaleOffset,
    /// Offsets are compared whatever their history.
    OffsetsAcrossLineages,
    /// A candidate's history is not looked at.
    HistoryNotChecked,
    /// A switchover does not wait for the candidate.
    NoDrain,
    /// A tail that goes on growing counts as sealed.
    UnsealedTail,
    /// A tail is said to be complete whatever ended it.
    RescueCutShort,
    /// A rescue is reported that was not read.
    RescueNotRead,
    /// A loss is reported as nothing.
    LossHidden,
    /// A group may lose anything, whatever its budget.
    BudgetIgnored,
    /// A reset is taken for death.
    ResetIsDeath,
    /// Members that are away are admitted at a promotion though they are not in the quorum.
    NotRefusedAtPromotion,
    /// A reply is released before its barrier.
    ReplyBeforeBarrier,
    /// The witness's count stands for the barrier.
    BarrierIsWitnessCount,
    /// A holder acknowledges what joins nobody's data.
    HolderJoinsNobody,
    /// A gate stays open through a transition.
    GateIgnoresIntent,
    /// A gate needs no lease.
    GateWithoutLease,
    /// A gate says that it is shut and is not.
    GateLiesShut,
    /// A gate leads to a candidate before its promotion is committed.
    GateOpensEarly,
    /// A holder acknowledges bytes before it has received them.
    HolderAcksAhead,
}

pub(crate) fn bend_times(defect: Option<Defect>, times: SafetyTimes) -> SafetyTimes {
    match defect {
        Some(Defect::NoMargin) => {
            SafetyTimes { lease_margin: Duration::ZERO, passive_bound: Duration::from_millis(100), ..times }
        }
        _ => times,
    }
}

pub(crate) fn bend_leading(defect: Option<Defect>, at: Moment) -> Moment {
    if defect == Some(Defect::NewLeaderWaitsForNobody) { Moment(0) } else { at }
}

pub(crate) fn bend_min(defect: Option<Defect>, min: u64) -> u64 {
    if defect == Some(Defect::MinOffByOne) { min.saturating_sub(1) } else { min }
}

pub(crate) fn bend_observation(
    defect: Option<Defect>,
    group: &Group,
    m: usize,
    mut seen: Observation,
) -> Observation {
    let Some(primary) = &group.primary else { return seen };
    let Reach::Up(status) = &mut seen.reach else { return seen };
    match defect {
        Some(Defect::StaleOffset) => {
            if let MemberRole::Replica { read_offset_bytes, .. } = &mut status.role {
                *read_offset_bytes += 5_000 * m as u64;
            }
        }
        Some(Defect::OffsetsAcrossLineages) => status.replid.clone_from(&primary.lineage.start.replid),
        _ => {}
    }
    seen
}

pub(crate) fn bend_state(defect: Option<Defect>, state: &State, name: &GroupName) -> Option<State> {
    if !matches!(defect, Some(Defect::PausedMoves | Defect::BudgetIgnored)) {
        return None;
    }
    let mut bent = state.clone();
    let group = bent.groups.get_mut(name)?;
    match defect {
        Some(Defect::PausedMoves) => drop(group.paused.take()?),
        Some(Defect::BudgetIgnored) => group.spec.max_loss = LossBudget::Any,
        _ => return None,
    }
    Some(bent)
}

pub(crate) fn bend_command(world: &World, n: usize, command: Command) -> Command {
    match (world.defect, command) {
        (Some(Defect::LossHidden), Command::StartTransition(mut start)) => {
            start.lost = Loss::Exact(0);
            Command::StartTransition(start)
        }
        (
            Some(Defect::LossHidden),
            Command::ConfirmFence { group, epoch, proof, end, drained_us, closed_at, rescue, at, .. },
        ) => {
            let lost = Some(Loss::Exact(0));
            Command::ConfirmFence { group, epoch, proof, end, drained_us, closed_at, rescue, lost, at }
        }
        (
            Some(Defect::LossHidden),
            Command::ConfirmRescue { group, epoch, end, fetched_bytes, note, at, .. },
        ) => Command::ConfirmRescue { group, epoch, end, fetched_bytes, lost: Loss::Exact(0), note, at },
        (_, command) => {
            let _ = n;
            command
        }
    }
}

pub(crate) fn bend_outcome(_: Option<Defect>, outcome: Outcome) -> Outcome {
    outcome
}

impl World {
    /// What an impatient adapter does before a command is committed.
    pub(crate) fn early_effects(&mut self, n: usize, command: &Command) {
        if let (true, Command::ConfirmPromotion { group: name, epoch, .. }) =
            (self.has(Defect::OpensBeforeCommit), command)
        {
            let to = self.nodes[n]
                .state
                .groups
                .get(name)
                .and_then(|g| g.transition.as_ref())
                .map(|t| t.to.clone());
            if let Some(m) = to.map(|to| member_number(&to)) {
                let control = crate::message::Control::Open { min_replicas: 1 };
                self.ask_member(n, m, Some(*epoch), control);
            }
        }
    }

    /// The epoch that an action carries.
    pub(crate) fn bend_action(&self, n: usize, mut action: primacy_core::Action) -> primacy_core::Action {
        if self.has(Defect::TermAsEpoch) {
            action.epoch = primacy_core::Epoch(self.nodes[n].raft.term);
        }
        let _ = (group(), member(0), node_number(primacy_core::NodeId(1)));
        action
    }
}
