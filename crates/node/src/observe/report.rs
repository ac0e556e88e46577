//! A follower's side of the way to the leader: one stream, each change at once, everything every 100 ms.
//!
//! What is on its way is never queued for long: a batch that finds no room is dropped, because the next one says it
//! all again, and newer. A new leader begins with an empty view, so a new stream begins with everything.

use super::News;
use crate::lead::Board;
use crate::peers::Peers;
use primacy_consensus::{Consensus, LeadershipView};
use primacy_core::{Moment, NodeId};
use primacy_runtime::{interval, now, sleep, watch};
use primacy_wire::v1::site_client::SiteClient;
use primacy_wire::{gate, holder, mirror, sighting, v1, witness};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const BATCH_EVERY: Duration = Duration::from_millis(100);
/// Batches on their way; more would only be old.
const BATCHES_MAX: usize = 4;
/// A time of the leader that came quickly is kept so long; after that, clocks may have drifted apart.
const LEADER_TIME_KEPT: Duration = Duration::from_secs(10);
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
        let call = client.report(ReceiverStream::new(outgoing));
        let mut times = tokio::select! {
            biased;
            ended = self.leads_no_more(address, leadership) => return ended,
            answer = call => match answer {
                Ok(answer) => answer.into_inner(),
                Err(status) => return refused(address, &status),
            },
        };
        let mut known: Option<LeaderTime> = None;
        let mut ticks = interval(BATCH_EVERY);
        loop {
            tokio::select! {
                biased;
                ended = self.leads_no_more(address, leadership) => return ended,
                time = times.message() => match time {
                    Ok(Some(time)) => {
                        let first = known.is_none();
                        let time = known.map_or(LeaderTime::new(time), |before| before.or(time));
                        known = Some(time);
                        if first {
                            self.send(&batches, time, true);
                        }
                    }
                    Ok(None) => return Ended::ByLeader,
                    Err(status) => return refused(address, &status),
                },
                () = self.news.heard() => if let Some(time) = known { self.send(&batches, time, false) },
                () = ticks.tick() => if let Some(time) = known { self.send(&batches, time, true) },
            }
        }
    }

    /// Returns when another node leads, or none.
    async fn leads_no_more(&self, address: &str, leadership: &mut watch::Receiver<LeadershipView>) -> Ended {
        loop {
            if leadership.changed().await.is_err() {
                return Ended::Stopped;
            }
            if leader_to_report_to(&leadership.borrow()).is_none_or(|a| a != address) {
                return Ended::AnotherLeader;
            }
        }
    }

    /// Sends what is new, or all that is known. Without room it is left to the next batch of all.
    fn send(&self, batches: &mpsc::Sender<v1::SightingBatch>, time: LeaderTime, everything: bool) {
        let Ok(room) = batches.try_reserve() else { return };
        let at = now();
        let sightings = self
            .board
            .take_unsent(everything, |group, member, seen| sighting::to_wire(group, member, seen, at));
        let witnesses = self.board.own_witnesses(|group, report| witness::to_wire(group, report, at));
        let gates = self.board.own_gates(|group, report| gate::to_wire(group, report, at));
        let holders = self.board.own_holders(|group, report| holder::to_wire(group, report, at));
        let mirrors =
            self.board.own_mirrors(|group, member, report| mirror::to_wire(group, member, report, at));
        room.send(v1::SightingBatch {
            node_id: self.me.0,
            sightings,
            witnesses,
            gates,
            holders,
            mirrors,
            leader_time: Some(v1::LeaderTime { at_us: time.theirs.0 }),
            leader_time_age_us: at.since(time.ours).as_micros() as u64,
        });
    }
}

/// A moment of the leader's clock, and when it came.
#[derive(Clone, Copy)]
struct LeaderTime {
    theirs: Moment,
    ours: Moment,
}

impl LeaderTime {
    fn new(time: v1::LeaderTime) -> LeaderTime {
        LeaderTime { theirs: Moment(time.at_us), ours: now() }
    }

    /// The one that says more: that came quicker, unless it is old.
    fn or(self, time: v1::LeaderTime) -> LeaderTime {
        let newer = LeaderTime::new(time);
        let between = newer.ours.since(self.ours);
        let quicker = newer.theirs.since(self.theirs) >= between;
        if quicker || between > LEADER_TIME_KEPT { newer } else { self }
    }
}

fn refused(leader: &str, status: &tonic::Status) -> Ended {
    tracing::debug!(leader, error = status.message(), "reports to the leader ended");
    Ended::ByLeader
}
