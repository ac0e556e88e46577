//! One replicated change of primary: what asked for it, how far it is, what it cost.

use super::{Epoch, Evidence, GroupName, Loss, LossBudget, MemberName, NodeId, Position, Proof, WallTime};
use std::fmt;

/// What a transition answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The group gets its first primary.
    Initial,
    /// The primary's process is certainly gone.
    Death,
    /// The primary answers nobody for longer than `down_after`.
    Silence,
    /// The primary was made a replica by somebody else.
    Demotion,
    /// Somebody asked.
    Operator,
    /// Somebody asked for the preferred member.
    Failback,
}

impl Cause {
    /// As the contract spells it.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Initial => "initial",
            Cause::Death => "death",
            Cause::Silence => "silence",
            Cause::Demotion => "demotion",
            Cause::Operator => "operator",
            Cause::Failback => "failback",
        }
    }

    /// Whether no person asked for it.
    pub fn automatic(self) -> bool {
        match self {
            Cause::Initial | Cause::Death | Cause::Silence | Cause::Demotion => true,
            Cause::Operator | Cause::Failback => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How far a transition is. Each phase is committed before its action runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The old primary is being closed, and the proof of it awaited.
    Fence,
    /// The candidate reads the last bytes that the old primary wrote.
    Rescue,
    /// The candidate becomes primary, still shut.
    Promote,
    /// The door of the new primary opens, the others are pointed at it.
    Redirect,
    /// The new primary serves; the old one is put under it when it is back.
    Settle,
    /// Given up before the promotion: the old primary is being opened again.
    RollBack,
}

impl Phase {
    /// As records and tables spell it.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Fence => "fence",
            Phase::Rescue => "rescue",
            Phase::Promote => "promote",
            Phase::Redirect => "redirect",
            Phase::Settle => "settle",
            Phase::RollBack => "roll_back",
        }
    }

    /// Whether the group has no open primary in this phase.
    pub fn closes_the_door(self) -> bool {
        match self {
            Phase::Fence | Phase::Rescue | Phase::Promote | Phase::Redirect | Phase::RollBack => true,
            Phase::Settle => false,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A phase that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseRecord {
    /// Which.
    pub phase: Phase,
    /// When it began.
    pub started_at: WallTime,
    /// How long it took, in microseconds.
    pub us: u64,
    /// What came out of it, in a few words.
    pub note: String,
}

/// How a transition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransitionOutcome {
    /// The new primary serves.
    Settled,
    /// The old primary serves again, or a new attempt follows.
    RolledBack,
}

impl TransitionOutcome {
    /// As the contract spells it.
    pub fn word(self) -> &'static str {
        match self {
            TransitionOutcome::Settled => "settled",
            TransitionOutcome::RolledBack => "rolled_back",
        }
    }
}

/// One replicated change of primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// In which group.
    pub group: GroupName,
    /// The log index of its intent: the authority of the new primary.
    pub epoch: Epoch,
    /// The primary before, if there was one.
    pub from: Option<MemberName>,
    /// The candidate.
    pub to: MemberName,
    /// What it answers to.
    pub cause: Cause,
    /// Whether it must lose nothing: a switchover, which rolls back when it cannot.
    pub planned: bool,
    /// Who asked, where somebody did.
    pub requested_by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// What was seen that started it.
    pub evidence: Vec<Evidence>,
    /// Why the old primary is shut, once that is proven.
    pub proof: Option<Proof>,
    /// The replication id that the candidate must hold; none when any history is accepted.
    pub expected: Option<String>,
    /// The process that the candidate is: what it holds was looked at, and another may hold less. None when any will do.
    pub to_run_id: Option<String>,
    /// Where the old primary's stream ended, as far as it is known.
    pub end: Option<Position>,
    /// The node whose tail the candidate must read before it is promoted.
    pub rescue: Option<NodeId>,
    /// What the candidate got from that tail.
    pub rescued_bytes: u64,
    /// What the old primary held beyond what the new one has, when it was back; none while that is not known.
    pub orphaned_bytes: Option<u64>,
    /// How far it is.
    pub phase: Phase,
    /// When the present phase began.
    pub phase_since: WallTime,
    /// The phases that are over, in order.
    pub phases: Vec<PhaseRecord>,
    /// When the trouble began, or the request came.
    pub detected_at: WallTime,
    /// When the intent was stamped.
    pub started_at: WallTime,
    /// From when the old primary accepted no writes, by the leader's clock.
    pub closed_at: Option<WallTime>,
    /// When the new primary was open.
    pub opened_at: Option<WallTime>,
    /// What it lost.
    pub lost: Loss,
    /// Whether an operator accepts any loss.
    pub loss_accepted: bool,
    /// How it ended; none while it is under way.
    pub outcome: Option<TransitionOutcome>,
    /// Why it was rolled back.
    pub failure: Option<String>,
}

impl Transition {
    /// Milliseconds from the first sign of trouble to the intent.
    pub fn detected_ms(&self) -> f64 {
        self.started_at.since(self.detected_at).as_secs_f64() * 1_000.0
    }

    /// Whether it may lose that much: within the budget of its group, or as an operator accepted.
    pub fn may_lose(&self, lost: Loss, budget: LossBudget) -> bool {
        self.loss_accepted || self.planned || self.cause == Cause::Initial || budget.allows(lost)
    }

    /// What is lost when the candidate gets no further than to `reach_bytes` of the old primary's stream, where the
    /// estimate had counted on what was known to have been written.
    pub fn lost_short_of(&self, reach_bytes: u64) -> Loss {
        self.short_of(self.lost, reach_bytes)
    }

    /// The same of another estimate.
    pub fn short_of(&self, estimate: Loss, reach_bytes: u64) -> Loss {
        let known = self.end.as_ref().map_or(0, |end| end.offset_bytes);
        match (estimate, known.saturating_sub(reach_bytes)) {
            (lost, 0) => lost,
            (Loss::Unknown, _) => Loss::Unknown,
            (Loss::Exact(n) | Loss::AtMost(n), missing) => Loss::AtMost(n.saturating_add(missing)),
        }
    }

    /// Milliseconds without an open primary, once it is over.
    pub fn outage_ms(&self) -> Option<f64> {
        let (from, to) = (self.closed_at?, self.opened_at?);
        Some(to.since(from).as_secs_f64() * 1_000.0)
    }
}
