//! Who belongs to the cluster, as this node sees it, and how that is changed.

pub(crate) mod change;

use crate::context::{Core, Metrics};
use primacy_core::{Moment, NodeId, SiteName};
use std::collections::BTreeMap;
use std::time::Duration;

/// The nodes of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// By id.
    pub nodes: BTreeMap<NodeId, Member>,
    /// The last index of this node's log.
    pub last_index: Option<u64>,
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its site.
    pub site: SiteName,
    /// Where it is reached.
    pub address: String,
    /// Whether it votes; a learner only follows the log.
    pub voter: bool,
    /// Up to which index it is known to hold the log. Only a leader knows that of others.
    pub matched_index: Option<u64>,
    /// How long ago it was sent something that it has answered. Only a leader knows that of others.
    pub last_ack_age: Option<Duration>,
}

impl Membership {
    /// How many entries `node` lacks, as far as this node knows.
    pub(crate) fn lag(&self, node: NodeId) -> Option<u64> {
        let matched = self.nodes.get(&node)?.matched_index?;
        Some(self.last_index.unwrap_or(0).saturating_sub(matched))
    }
}

impl Core {
    pub(crate) fn membership(&self) -> Membership {
        let now = primacy_runtime::now();
        self.metrics(|metrics| self.membership_in(metrics, now))
    }

    fn membership_in(&self, metrics: &Metrics, now: Moment) -> Membership {
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let member = |(id, info): (&u64, _)| {
            let peer = crate::context::peer(*id, info)?;
            let mine = peer.id == self.node();
            let matched = if mine {
                metrics.last_log_index
            } else {
                metrics.replication.as_ref().and_then(|of| *of.get(id)?).map(|log_id| log_id.index)
            };
            let acked = metrics.heartbeat.as_ref().and_then(|of| *of.get(id)?);
            let age = acked.map(|at| now.since(at.into_inner().moment()));
            let voter = voters.contains(id);
            Some((
                peer.id,
                Member {
                    site: peer.site,
                    address: peer.address,
                    voter,
                    matched_index: matched,
                    last_ack_age: if mine { Some(Duration::ZERO) } else { age },
                },
            ))
        };
        Membership {
            nodes: membership.nodes().filter_map(member).collect(),
            last_index: metrics.last_log_index,
        }
    }
}
