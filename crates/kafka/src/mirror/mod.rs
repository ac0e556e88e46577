//! The mirror: from the active cluster to one standby, every record at its own offset.

mod plan;
mod status;

pub use plan::{Authority, Gaps, MirrorPlan};
pub use status::{
    GroupStatus, Lag, MirrorStatus, Mode, PartitionStatus, Progress, Side, TopicState, TopicStatus, Unaligned,
};
