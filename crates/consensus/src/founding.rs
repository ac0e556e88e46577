//! How a cluster begins, and how an empty node finds out what it is.
//!
//! The problem: the nodes of a new cluster are started in any order from the same list, and each must found the same
//! cluster once; and a node whose data directory was emptied looks just as new, but has forgotten its votes. The
//! idea: an empty node takes no part until it knows. Either a majority of the list, itself included, answers that
//! there is no cluster yet; then each of them writes the same first entry. Or a node that holds the cluster's state
//! calls it by its data directory. One that calls it by another has found an emptied one.

use crate::context::{Core, Identity};
use crate::{Halted, Peer};
use futures::future::join_all;
use openraft::errors::{InitializeError, RaftError};
use primacy_core::NodeId;
use primacy_storage::NodeInfo;
use primacy_wire::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a peer may take to say who it is.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(1);

/// The wait between two rounds of questions, at least and at most.
const ROUND_MIN: Duration = Duration::from_millis(50);
const ROUND_MAX: Duration = Duration::from_millis(500);

/// How many rounds pass until an operator is told what is waited for.
const ROUNDS_QUIET: u32 = 20;

pub(crate) fn node_to(peer: &Peer) -> v1::RaftNode {
    v1::RaftNode { id: peer.id.0, site: peer.site.to_string(), address: peer.address.clone() }
}

/// What is known after a round of questions.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// A majority of the list answered, and there is no cluster yet.
    Found,
    /// There is a cluster; its leader will call.
    Founded,
    /// Not enough of them answered.
    Unclear { answered: usize },
    /// The cluster knows this node under another data directory.
    Emptied,
    /// A peer has another list.
    Differs { peer: NodeId },
}

impl Identity {
    pub(crate) async fn identify(&self, peer: &Peer) -> Result<v1::IdentifyResponse, tonic::Status> {
        let request = v1::IdentifyRequest { header: Some(self.header(peer.id)) };
        let answer = primacy_runtime::timeout(IDENTIFY_WITHIN, self.link(peer).identify(request)).await;
        let answer =
            answer.unwrap_or_else(|elapsed| Err(tonic::Status::deadline_exceeded(elapsed.to_string())))?;
        if answer.store_id == 0 {
            return Err(primacy_wire::WireError::new("store_id", "is 0").into());
        }
        Ok(answer)
    }

    /// Asks every other node of the list.
    async fn ask_around(&self) -> Finding {
        let others = self.config.founding.iter().filter(|peer| peer.id != self.node());
        let answers = join_all(others.map(|peer| async { (peer.id, self.identify(peer).await) })).await;
        for (peer, answer) in &answers {
            if let Err(status) = answer {
                tracing::debug!(%peer, code = ?status.code(), "did not identify itself: {}", status.message());
            }
        }
        let answers: Vec<_> =
            answers.into_iter().filter_map(|(id, answer)| Some((id, answer.ok()?))).collect();
        self.weigh(&answers)
    }

    fn weigh(&self, answers: &[(NodeId, v1::IdentifyResponse)]) -> Finding {
        let elsewhere = |answer: &v1::IdentifyResponse| {
            answer.registered_store_id.is_some_and(|known| known != self.store_id)
        };
        if answers.iter().any(|(_, answer)| elsewhere(answer)) {
            return Finding::Emptied;
        }
        if answers.iter().any(|(_, answer)| answer.founded) {
            return Finding::Founded;
        }
        let mut mine: Vec<_> = self.config.founding.iter().map(node_to).collect();
        mine.sort_by_key(|node| node.id);
        for (peer, answer) in answers {
            let mut theirs = answer.founding.clone();
            theirs.sort_by_key(|node| node.id);
            if theirs != mine {
                return Finding::Differs { peer: *peer };
            }
        }
        let answered = answers.len() + 1;
        if self.config.founds() && answered > self.config.founding.len() / 2 {
            Finding::Found
        } else {
            Finding::Unclear { answered }
        }
    }

    /// One quick look before an empty node starts, so that an emptied one is refused at once where that is known.
    pub(crate) async fn refuse_emptied(&self) -> Result<(), Halted> {
        match self.ask_around().await {
            Finding::Emptied => Err(Halted::KnownElsewhere { node: self.node() }),
            Finding::Found | Finding::Founded | Finding::Unclear { .. } | Finding::Differs { .. } => Ok(()),
        }
    }
}

/// Asks until this node knows what it is.
pub(crate) async fn settle(core: Arc<Core>) {
    let mut pause = ROUND_MIN;
    let mut round = 0_u32;
    while !core.is_open() && core.halt_reason().is_none() {
        let finding = core.identity.ask_around().await;
        match finding {
            Finding::Emptied => return core.halt(Halted::KnownElsewhere { node: core.node() }),
            Finding::Found => return found(&core).await,
            Finding::Founded | Finding::Unclear { .. } | Finding::Differs { .. } => {}
        }
        round = round.saturating_add(1);
        if round.is_multiple_of(ROUNDS_QUIET) {
            tell_waiting(&core, &finding);
        }
        let jitter = Duration::from_millis(primacy_runtime::random_u64() % 20);
        primacy_runtime::sleep(pause + jitter).await;
        pause = (pause * 2).min(ROUND_MAX);
    }
}

fn tell_waiting(core: &Core, finding: &Finding) {
    let (node, listed) = (core.node(), core.config().founding.len());
    match finding {
        Finding::Unclear { answered } if core.config().founds() => {
            tracing::warn!(%node, "{answered} of the {listed} nodes that found the cluster answer; a majority is waited for");
        }
        Finding::Differs { peer } => {
            tracing::warn!(%node, %peer, "its [[cluster.peer]] differs from this node's; both must be the same");
        }
        Finding::Founded | Finding::Unclear { .. } => {
            tracing::info!(%node, "waits to be added to the cluster, or to be called by its leader");
        }
        Finding::Found | Finding::Emptied => {}
    }
}

/// Writes the first entry. Every node of the list that does so writes the same.
async fn found(core: &Core) {
    let peers = core.config().founding.iter();
    let members: BTreeMap<u64, NodeInfo> = peers
        .map(|peer| (peer.id.0, NodeInfo { site: peer.site.to_string(), address: peer.address.clone() }))
        .collect();
    match core.raft.initialize(members).await {
        Ok(()) => tracing::info!(node = %core.node(), "founds the cluster"),
        // A leader called in between.
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
        Err(error) => return core.halt(Halted::Fatal { reason: error.to_string() }),
    }
    core.open();
}
