//! What came of a command, in the past tense. Watchers read these; they are the same on every node.

use super::{
    Address, BlockReason, Cause, Epoch, FenceQuorum, GroupName, Loss, MemberName, NodeId, Phase, Revision,
    SiteName, Term, TransitionOutcome, WallTime,
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A leader began to plan.
    LeadershipAssumed {
        /// The leader.
        node: NodeId,
        /// Its term.
        term: Term,
    },
    /// A group was created or its settings changed.
    GroupConfigured {
        /// Which.
        group: GroupName,
    },
    /// A group was removed.
    GroupRemoved {
        /// Which.
        group: GroupName,
    },
    /// A transition began.
    TransitionStarted {
        /// In which group.
        group: GroupName,
        /// Its epoch.
        epoch: Epoch,
        /// The old primary.
        from: Option<MemberName>,
        /// The candidate.
        to: MemberName,
        /// Why.
        cause: Cause,
    },
    /// A phase of a transition is over.
    PhasePassed {
        /// In which group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// Which phase.
        phase: Phase,
        /// How long it took, in microseconds.
        us: u64,
        /// What came out of it, in a few words.
        note: String,
    },
    /// A group has a new primary. It may take a moment until it is open.
    PrimaryChanged {
        /// In which group.
        group: GroupName,
        /// Under which authority.
        epoch: Epoch,
        /// The new primary.
        member: MemberName,
        /// Its site.
        site: SiteName,
        /// Where clients reach it.
        address: Address,
        /// The one before.
        previous: Option<(MemberName, Address)>,
    },
    /// Who keeps the primary open has changed.
    FenceChanged {
        /// In which group.
        group: GroupName,
        /// The primary's epoch.
        epoch: Epoch,
        /// From now on.
        fence: FenceQuorum,
    },
    /// The primary has another witness.
    WitnessAppointed {
        /// In which group.
        group: GroupName,
        /// The primary's epoch.
        epoch: Epoch,
        /// The node, or nobody.
        node: Option<NodeId>,
    },
    /// Another node holds the stream for gates, or they go on without one.
    HolderAppointed {
        /// In which group.
        group: GroupName,
        /// The primary's epoch.
        epoch: Epoch,
        /// The node, or nobody.
        node: Option<NodeId>,
        /// Whether gates go on without a holder.
        degraded: bool,
    },
    /// An old primary came back with data that the present one does not have.
    OrphanedFound {
        /// In which group.
        group: GroupName,
        /// The epoch of the transition that replaced it.
        epoch: Epoch,
        /// The old primary.
        member: MemberName,
        /// Bytes of its stream beyond the common offset.
        bytes: u64,
    },
    /// A transition ended.
    TransitionEnded {
        /// In which group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// How.
        outcome: TransitionOutcome,
        /// What it lost.
        lost: Loss,
        /// Why it was rolled back.
        failure: Option<String>,
    },
    /// Automatic action was stopped.
    GroupPaused {
        /// In which group.
        group: GroupName,
        /// Who asked.
        by: String,
    },
    /// Automatic action goes on.
    GroupResumed {
        /// In which group.
        group: GroupName,
        /// Who asked.
        by: String,
    },
    /// A group needs an operator.
    GroupBlocked {
        /// Which group.
        group: GroupName,
        /// Why.
        reason: BlockReason,
    },
    /// It no longer does.
    GroupUnblocked {
        /// Which group.
        group: GroupName,
    },
}

impl Event {
    /// The group that it is about; none for the cluster as a whole.
    pub fn group(&self) -> Option<&GroupName> {
        match self {
            Event::LeadershipAssumed { .. } => None,
            Event::GroupConfigured { group }
            | Event::GroupRemoved { group }
            | Event::TransitionStarted { group, .. }
            | Event::PhasePassed { group, .. }
            | Event::PrimaryChanged { group, .. }
            | Event::FenceChanged { group, .. }
            | Event::WitnessAppointed { group, .. }
            | Event::HolderAppointed { group, .. }
            | Event::OrphanedFound { group, .. }
            | Event::TransitionEnded { group, .. }
            | Event::GroupPaused { group, .. }
            | Event::GroupResumed { group, .. }
            | Event::GroupBlocked { group, .. }
            | Event::GroupUnblocked { group } => Some(group),
        }
    }

    /// Its name for programs and counters.
    pub fn word(&self) -> &'static str {
        match self {
            Event::LeadershipAssumed { .. } => "leadership_assumed",
            Event::GroupConfigured { .. } => "group_configured",
            Event::GroupRemoved { .. } => "group_removed",
            Event::TransitionStarted { .. } => "transition_started",
            Event::PhasePassed { .. } => "phase_passed",
            Event::PrimaryChanged { .. } => "primary_changed",
            Event::FenceChanged { .. } => "fence_changed",
            Event::WitnessAppointed { .. } => "witness_appointed",
            Event::HolderAppointed { .. } => "holder_appointed",
            Event::OrphanedFound { .. } => "orphaned_found",
            Event::TransitionEnded { .. } => "transition_ended",
            Event::GroupPaused { .. } => "group_paused",
            Event::GroupResumed { .. } => "group_resumed",
            Event::GroupBlocked { .. } => "group_blocked",
            Event::GroupUnblocked { .. } => "group_unblocked",
        }
    }
}

/// The events of one committed entry. A watcher gets a batch whole, so a revision is seen once or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The entry's log index.
    pub revision: Revision,
    /// The leader's stamp of the command.
    pub at: WallTime,
    /// At least one.
    pub events: Vec<Event>,
}
