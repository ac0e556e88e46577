//! What the leader proposes. A command is imperative and idempotent; `apply` accepts or rejects it by the log alone.

use super::{
    BlockReason, Cause, Epoch, Evidence, FenceQuorum, GroupName, GroupSpec, Lineage, Loss, MemberName,
    NodeId, Position, Proof, Term, WallTime,
};

/// The intent of a transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartTransition {
    /// In which group.
    pub group: GroupName,
    /// The primary and its epoch that this was planned against; anything else in the state rejects it.
    pub from: Option<(MemberName, Epoch)>,
    /// The candidate.
    pub to: MemberName,
    /// What it answers to.
    pub cause: Cause,
    /// Whether it must lose nothing.
    pub planned: bool,
    /// Who asked.
    pub requested_by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// What was seen.
    pub evidence: Vec<Evidence>,
    /// The proof of the fence, where it is in hand already.
    pub proof: Option<Proof>,
    /// The replication id that the candidate must hold; none accepts any history.
    pub expected: Option<String>,
    /// The process that the candidate is: what it holds was looked at, and another may hold less. None when any will do.
    pub to_run_id: Option<String>,
    /// The last position of the old primary that is known.
    pub end: Option<Position>,
    /// The node whose tail the candidate must read first, when `proof` is given.
    pub rescue: Option<NodeId>,
    /// What it will lose, by estimate.
    pub lost: Loss,
    /// Whether an operator accepts any loss.
    pub loss_accepted: bool,
    /// When the trouble began, or the request came.
    pub detected_at: WallTime,
    /// When it was proposed.
    pub at: WallTime,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the named groups equal to these; with `prune`, removes all others.
    ConfigureGroups {
        /// The wanted groups.
        groups: Vec<GroupSpec>,
        /// Whether groups that are not named are removed.
        prune: bool,
        /// Who asked.
        by: String,
        /// When.
        at: WallTime,
    },
    /// A new leader says that it plans from here on.
    AssumeLeadership {
        /// The leader.
        node: NodeId,
        /// Its term.
        term: Term,
        /// When.
        at: WallTime,
    },
    /// The intent of a transition.
    StartTransition(Box<StartTransition>),
    /// The old primary is proven shut; with `drained`, the candidate holds all it wrote.
    ConfirmFence {
        /// In which group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// Why it is shut.
        proof: Proof,
        /// Where its stream ended, where it could say so.
        end: Option<Position>,
        /// Set when the candidate has read up to `end`: after that many microseconds.
        drained_us: Option<u64>,
        /// When the fence was set.
        closed_at: WallTime,
        /// The node whose tail the candidate must read first.
        rescue: Option<NodeId>,
        /// What will be lost, where more is known of that than at the intent.
        lost: Option<Loss>,
        /// When.
        at: WallTime,
    },
    /// The candidate has read what the old primary's witness kept, or as much of it as could be had in time.
    ConfirmRescue {
        /// In which group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// Where the tail ended, where that is known.
        end: Option<Position>,
        /// What the candidate got from it.
        fetched_bytes: u64,
        /// What is lost all the same.
        lost: Loss,
        /// What came of it, in a few words.
        note: String,
        /// When.
        at: WallTime,
    },
    /// The candidate is primary, verified, and still shut. After this commit it may be opened.
    ConfirmPromotion {
        /// In which group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// The history that began.
        lineage: Lineage,
        /// Who will keep it open.
        fence: FenceQuorum,
        /// Its witness.
        witness: Option<NodeId>,
        /// When.
        at: WallTime,
    },
    /// Changes who keeps the present primary open.
    ChangeFence {
        /// In which group.
        group: GroupName,
        /// The primary's epoch.
        epoch: Epoch,
        /// From now on.
        fence: FenceQuorum,
        /// When.
        at: WallTime,
    },
    /// Appoints the witness of the present primary.
    AppointWitness {
        /// In which group.
        group: GroupName,
        /// The primary's epoch.
        epoch: Epoch,
        /// The node, or nobody.
        node: Option<NodeId>,
        /// When.
        at: WallTime,
    },
    /// The old primary is back and holds what the present one does not have; it is about to be dropped.
    RecordOrphaned {
        /// In which group.
        group: GroupName,
        /// The epoch of the transition that replaced it.
        epoch: Epoch,
        /// The old primary.
        member: MemberName,
        /// Bytes of its stream beyond the common offset.
        bytes: u64,
        /// When.
        at: WallTime,
    },
    /// Appoints the node at another site that holds the stream, or says that gates go on without one.
    AppointHolder {
        /// In which group.
        group: GroupName,
        /// The primary's epoch.
        epoch: Epoch,
        /// The node, or nobody.
        node: Option<NodeId>,
        /// Whether gates go on without a holder.
        degraded: bool,
        /// When.
        at: WallTime,
    },
    /// The new primary accepts writes, read back.
    ConfirmOpen {
        /// In which group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// When.
        at: WallTime,
    },
    /// Every member that can be reached follows the new primary.
    Settle {
        /// In which group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// What came out of it, in a few words.
        note: String,
        /// When.
        at: WallTime,
    },
    /// Gives a transition up, before its promotion was committed.
    RollBack {
        /// In which group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// Why.
        failure: String,
        /// When.
        at: WallTime,
    },
    /// The old primary is open again, or was gone anyway.
    ConfirmRollBack {
        /// In which group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// When.
        at: WallTime,
    },
    /// Stops automatic action.
    Pause {
        /// In which group.
        group: GroupName,
        /// Who asked.
        by: String,
        /// Why.
        reason: Option<String>,
        /// When.
        at: WallTime,
    },
    /// Lets automatic action go on.
    Resume {
        /// In which group.
        group: GroupName,
        /// Who asked.
        by: String,
        /// When.
        at: WallTime,
    },
    /// Says why a group needs an operator.
    Block {
        /// Which group.
        group: GroupName,
        /// The epoch that this was found under.
        epoch: Epoch,
        /// Why.
        reason: BlockReason,
        /// When.
        at: WallTime,
    },
    /// The reason is gone.
    Unblock {
        /// Which group.
        group: GroupName,
        /// When.
        at: WallTime,
    },
}
