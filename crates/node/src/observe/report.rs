//! A follower's side of the way to the leader: one stream, each change at once, everything every 100 ms.
//!
//! What is on its way is never queued for long: a batch that finds no room is dropped, because the next one says it
//! all again, and newer. A new leader begins with an empty view, so a new stream begins with everything.

use super::News;
use crate::lead::Board;
use crate::peers::Peers;
use primacy_consensus::{Consensus, LeadershipView};
use primacy_core::NodeId;
use primacy_runtime::{interval, now, sleep, watch};
use primacy_wire::v1::site_client::SiteClient;
use primacy_wire::{gate, holder, sighting, v1, witness};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const BATCH_EVERY: Duration = Duration::from_millis(100);
/// Batches on their way; more would only be old.
const BATCHES_MAX: usize = 4;
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Streams to whoever leads, until it is dropped.
pub(crate) async fn run(
    consensus: Consensus,
    me: NodeId,
    board: Arc<Board>,
    news: Arc<News>,
    peers: Arc<Peers>,
) {
    let mut leadership = consensus.leadership();
    loop {
        let leader = leader_to_report_to(&leadership.borrow_and_update());
        let Some(address) = leader else {
            if leadership.changed().await.is_err() {
                return;
            }
            continue;
        };
        if let Some(channel) = peers.channel(&address) {
            let reporter = Reporter { me, board: &board, news: &news };
            match reporter.stream(SiteClient::new(channel), &address, &mut leadership).await {
                Ended::AnotherLeader => continue,
                Ended::ByLeader => {}
                Ended::Stopped => return,
            }
        }
        // A leader that refuses, or cannot be reached, is asked again soon; a change of leader ends the wait.
        tokio::select! {
            biased;
            changed = leadership.changed() => if changed.is_err() { return },
            () = sleep(AGAIN_AFTER) => {}
        }
    }
}

fn leader_to_report_to(view: &LeadershipView) -> Option<String> {
    view.leader.as_ref().filter(|_| !view.leading).map(|leader| leader.address.clone())
}

enum Ended {
    AnotherLeader,
    ByLeader,
    /// Consensus is over on this node.
    Stopped,
}

struct Reporter<'a> {
    me: NodeId,
    board: &'a Board,
    news: &'a News,
}

impl Reporter<'_> {
    async fn stream(
        &self,
        mut client: SiteClient<tonic::transport::Channel>,
        address: &str,
        leadership: &mut watch::Receiver<LeadershipView>,
    ) -> Ended {
        let (batches, outgoing) = mpsc::channel(BATCHES_MAX);
        self.send(&batches, true);
        let call = client.report(ReceiverStream::new(outgoing));
        let mut call = std::pin::pin!(call);
        let mut ticks = interval(BATCH_EVERY);
        loop {
            tokio::select! {
                biased;
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return Ended::Stopped;
                    }
                    if leader_to_report_to(&leadership.borrow()).is_none_or(|a| a != address) {
                        return Ended::AnotherLeader;
                    }
                }
                ended = &mut call => {
                    if let Err(status) = ended {
                        tracing::debug!(leader = address, error = status.message(), "reports to the leader ended");
                    }
                    return Ended::ByLeader;
                }
                () = self.news.heard() => self.send(&batches, false),
                () = ticks.tick() => self.send(&batches, true),
            }
        }
    }

    /// Sends what is new, or all that is known. Without room it is left to the next batch of all.
    fn send(&self, batches: &mpsc::Sender<v1::SightingBatch>, everything: bool) {
        let Ok(room) = batches.try_reserve() else { return };
        let at = now();
        let sightings = self
            .board
            .take_unsent(everything, |group, member, seen| sighting::to_wire(group, member, seen, at));
        let witnesses = self.board.own_witnesses(|group, report| witness::to_wire(group, report, at));
        let gates = self.board.own_gates(|group, report| gate::to_wire(group, report, at));
        let holders = self.board.own_holders(|group, report| holder::to_wire(group, report, at));
        room.send(v1::SightingBatch { node_id: self.me.0, sightings, witnesses, gates, holders });
    }
}
