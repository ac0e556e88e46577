//! The words of Primacy as types: names, times, groups, transitions, commands, events, actions.

mod action;
mod address;
mod command;
mod event;
mod fence;
mod group;
mod lineage;
mod loss;
mod mirror;
mod name;
mod proof;
mod time;
mod transition;

pub use action::{Action, ActionKey, ActionKind, Outcome, Promoted, Promotion};
pub use address::{Address, AddressError};
pub use command::{Command, StartTransition};
pub use event::{Event, EventBatch};
pub use fence::FenceQuorum;
pub use group::{
    BlockReason, Blocked, Durability, FailoverMode, FencePolicy, Group, GroupKind, GroupSpec, GroupState,
    MemberSpec, OnNoSite, Pause, Primary, Probe, RepliesOn, StandbyLag,
};
pub use lineage::{Lineage, Position};
pub use loss::{Loss, LossBudget, LossBudgetError};
pub use mirror::{GapPolicy, LagBudget, LagBudgetError, MirrorEngine, MirrorSpec};
pub use name::{Epoch, GroupName, MemberName, NameError, NodeId, Revision, SiteName, Term};
pub use proof::{Evidence, Finding, Proof};
pub use time::{Moment, WallTime};
pub use transition::{Cause, Phase, PhaseRecord, Transition, TransitionOutcome};
