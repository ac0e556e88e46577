//! Groups of Kafka clusters: one is active, and mirrors make the others like it.
//!
//! The first active cluster is the most preferred one that answers. What was copied to another is of use only once
//! clients can be led there, which this version does not do, so nothing replaces it: when it is silent the group waits
//! for it, and says so.

use super::fail_over::{block, unblock};
use super::{Context, Step};
use crate::detect::{self, Health};
use crate::{BlockReason, Command, Primary};

pub(super) fn steps(c: &Context<'_>) -> Vec<Step> {
    super::endpoint::steps_of(c, watch)
}

/// Says that the active cluster is silent, and that it is not any more.
fn watch(c: &Context<'_>, primary: &Primary) -> Option<(&'static str, Command)> {
    let command = match detect::verdict(c.group, &primary.member, c.view, c.now).health {
        Health::Up => unblock(c),
        Health::Suspected | Health::Unseen => None,
        Health::Silent | Health::Dead | Health::Restarted | Health::Demoted => {
            block(c, BlockReason::ClusterDown { member: primary.member.clone() })
        }
    };
    Some(("watch_cluster", command?))
}
