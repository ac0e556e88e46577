//! Why a command was refused: the rule, by name.

use crate::{Epoch, GroupName, MemberName, Phase, Term};

/// A refused command. The state did not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No such group.
    #[error("there is no group {group}; `primacy groups` lists them")]
    UnknownGroup {
        /// The name given.
        group: GroupName,
    },
    /// No such member.
    #[error("group {group} has no member {member}; `primacy status {group}` lists them")]
    UnknownMember {
        /// The group.
        group: GroupName,
        /// The name given.
        member: MemberName,
    },
    /// Planned against a primary or a transition that is gone.
    #[error("group {group} is at epoch {found}, not {given}: what was planned is out of date")]
    StaleEpoch {
        /// The group.
        group: GroupName,
        /// What the command named.
        given: Epoch,
        /// What is true.
        found: Epoch,
    },
    /// A leader of the past.
    #[error("term {term} is over, the present one is {current}")]
    StaleTerm {
        /// What the command named.
        term: Term,
        /// What is true.
        current: Term,
    },
    /// One at a time.
    #[error("group {group} is in a transition (epoch {epoch}); `primacy status {group} --watch` follows it")]
    TransitionInProgress {
        /// The group.
        group: GroupName,
        /// The one under way.
        epoch: Epoch,
    },
    /// The transition is not where this belongs.
    #[error("transition {epoch} of group {group} is in phase {found}, this belongs to {needed}")]
    WrongPhase {
        /// The group.
        group: GroupName,
        /// Of which transition.
        epoch: Epoch,
        /// Where it is.
        found: Phase,
        /// Where it would have to be.
        needed: Phase,
    },
    /// Nothing automatic happens to a paused group.
    #[error("group {group} is paused; `primacy resume {group}` lets automatic action go on")]
    Paused {
        /// The group.
        group: GroupName,
    },
    /// The candidate is the primary already.
    #[error("{member} is the primary of group {group} already")]
    AlreadyPrimary {
        /// The group.
        group: GroupName,
        /// The member.
        member: MemberName,
    },
    /// A member of priority 0.
    #[error(
        "{member} of group {group} has priority 0 and is never promoted; choose another, or change its priority"
    )]
    NeverPromoted {
        /// The group.
        group: GroupName,
        /// The member.
        member: MemberName,
    },
    /// The configuration is not usable.
    #[error("{key}: {reason}; {remedy}")]
    InvalidGroup {
        /// The key that is wrong, such as `redis.features.member`.
        key: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        remedy: String,
    },
}

impl Rejected {
    /// The rule's name, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Rejected::UnknownGroup { .. } => "unknown_group",
            Rejected::UnknownMember { .. } => "unknown_member",
            Rejected::StaleEpoch { .. } => "stale_epoch",
            Rejected::StaleTerm { .. } => "stale_term",
            Rejected::TransitionInProgress { .. } => "transition_in_progress",
            Rejected::WrongPhase { .. } => "wrong_phase",
            Rejected::Paused { .. } => "paused",
            Rejected::AlreadyPrimary { .. } => "already_primary",
            Rejected::NeverPromoted { .. } => "never_promoted",
            Rejected::InvalidGroup { .. } => "invalid_group",
        }
    }
}
